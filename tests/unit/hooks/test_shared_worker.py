"""xdist's loop in workers of a run that hosts share."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_spip.hooks.shared_worker import run_at_once

SHUTDOWN = "shutdown"


class Waiting:
    """Stands for xdist's queue of a worker; who takes from it when it is empty would wait for ever."""

    def __init__(self, *indices: int | str) -> None:
        self.indices = deque(indices)

    @contextlib.contextmanager
    def lock(self) -> Iterator[deque[int | str]]:
        """Let somebody look."""
        yield self.indices

    def get(self) -> int | str:
        """Return the next index."""
        return self.indices.popleft() if self.indices else SHUTDOWN


class Interactor:
    """Stands for xdist's part of a worker; ``ran`` are the items with the next one that pytest was told of."""

    def __init__(self, *waiting: int | str) -> None:
        self.ran: list[tuple[str, str | None]] = []
        self.finished: list[int] = []
        self.torun = Waiting(*waiting)
        self.nextitem_index: Any = self.torun.get()
        self.item_index: Any = None
        self.session = SimpleNamespace(items=["a", "b", "c"], shouldfail=False, shouldstop=False)
        hook = SimpleNamespace(pytest_runtest_protocol=self._run)
        plugins = SimpleNamespace(get_plugins=lambda: [object(), self])
        self.config: Any = SimpleNamespace(hook=hook, pluginmanager=plugins)

    def _run(self, item: str, nextitem: str | None) -> None:
        self.ran.append((item, nextitem))

    def sendevent(self, _: str, *, item_index: int, duration: float) -> None:
        """Take what the controller is told."""
        assert duration >= 0
        self.finished.append(item_index)

    def run_one_test(self) -> None:
        """Run an item as xdist does, when the next one is known."""
        self.item_index, self.nextitem_index = self.nextitem_index, self.torun.get()
        self._run(self.session.items[self.item_index], self.session.items[self.nextitem_index])


def test_worker_runs_what_it_has() -> None:
    """The last item that a worker was given is run before another one comes, for two hosts might wait for each other."""
    interactor = Interactor(0, 1)
    run_at_once(interactor.config)
    interactor.run_one_test()
    interactor.run_one_test()
    assert interactor.ran == [("a", "b"), ("b", None)]
    assert interactor.finished == [1]
    assert interactor.nextitem_index == SHUTDOWN


@pytest.mark.parametrize("name", ["shouldfail", "shouldstop"])
def test_worker_that_is_to_end(name: str) -> None:
    """It does not wait for another item."""
    interactor = Interactor(2)
    run_at_once(interactor.config)
    setattr(interactor.session, name, "stop")
    interactor.run_one_test()
    assert interactor.ran == [("c", None)]
    assert interactor.nextitem_index == 2
