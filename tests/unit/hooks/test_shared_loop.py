"""The loop over items of a session without workers, which shares its run."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_spip.hooks.items import MatrixItem
from pytest_spip.hooks.shared_loop import SharedLoop


class Session:
    """Stands for pytest's session with combinations by ordinal; ``ran`` are those that were run."""

    Interrupted = Failed = KeyboardInterrupt

    def __init__(self, *ordinals: int, on_run: Callable[[int], object] = bool) -> None:
        self.ran: list[int] = []
        self._on_run = on_run
        self.testsfailed = 0
        self.shouldfail = self.shouldstop = ""
        self._setupstate = SimpleNamespace(teardown_exact=lambda _: None)
        self.items = [self._item(ordinal) for ordinal in ordinals]

    def _item(self, ordinal: int) -> MatrixItem:
        item: Any = MatrixItem.__new__(MatrixItem)
        item.combo = SimpleNamespace(ordinal=ordinal)
        item.config = SimpleNamespace(hook=SimpleNamespace(pytest_runtest_protocol=self._run))
        return item  # type: ignore[no-any-return]  # as far as the loop needs one

    def _run(self, item: MatrixItem, nextitem: MatrixItem | None) -> None:
        assert nextitem is not None
        self.ran.append(item.combo.ordinal)
        self._on_run(item.combo.ordinal)


def ran(loop: SharedLoop, session: Any) -> list[int]:
    """Have a loop run a session's items, and return those that it ran."""
    loop.pytest_runtestloop(session)
    return session.ran  # type: ignore[no-any-return]  # as above


def test_claimed_items() -> None:
    """Each that was claimed is run once, those that others have judged are not, and then the loop ends."""
    loop = SharedLoop(may_judge=lambda _: True)
    loop.listener.ready([2, 0])
    loop.listener.ready([2])
    loop.listener.elsewhere([1])
    assert ran(loop, Session(0, 1, 2)) == [2, 0]


def test_given_up_item() -> None:
    """One that is given up, for its hosts were lost, does not end the loop: more can be claimed."""
    loop = SharedLoop(may_judge=lambda _: True)
    loop.listener.elsewhere([1])
    loop.listener.ready([0])
    assert ran(loop, Session(0, 1)) == [0]


def test_withdrawn_item() -> None:
    """One that was taken away is run only when it is claimed again."""
    loop = SharedLoop(may_judge=lambda _: True)
    loop.listener.ready([0, 1])
    loop.listener.withdrawn([0, 1])
    loop.listener.ready([1])
    loop.listener.elsewhere([0])
    assert ran(loop, Session(0, 1)) == [1]


def test_provisioned_for_functions() -> None:
    """What is provisioned for test functions is run when this host has claimed it, and not at all if it is not selected."""
    claimed = {1}
    loop = SharedLoop(may_judge=claimed.__contains__)
    loop.listener.ready([0, 1, 7])
    loop.listener.elsewhere([0])
    assert ran(loop, Session(0, 1)) == [1]
    loop = SharedLoop(may_judge=lambda _: True)
    loop.listener.ready([7, 0])
    assert ran(loop, Session(0)) == [0]


def test_nothing_to_run() -> None:
    """Where all was judged before, the loop lasts until it is known to be shared."""
    loop = SharedLoop(may_judge=lambda _: True)
    stopping: Any = Session()
    stopping.shouldstop = "stopped while it waited"
    with pytest.raises(KeyboardInterrupt, match="stopped while it waited"):
        loop.pytest_runtestloop(stopping)
    loop.listener.elsewhere([])
    assert ran(loop, Session()) == []


def test_fault() -> None:
    """When no more can get ready the session is interrupted, with the reason."""
    loop = SharedLoop(may_judge=lambda _: True)
    loop.listener.fault("the database is gone")
    session: Any = Session(0)
    with pytest.raises(KeyboardInterrupt, match="the database is gone"):
        loop.pytest_runtestloop(session)
    assert session.ran == []
