"""Which combinations of a run can be run, as provisioning says from its own threads."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterable, Sequence

from pytest_spip.common.waits import wait_for
from pytest_spip.errors import HarnessProblem

__all__ = ["Listener", "Readiness"]


def _ignore(_: object) -> None:
    """Do nothing about it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Listener:
    """Whom a run calls, from other threads, with ordinals of combinations.

    ``ready`` gets those that can be run by now, ``withdrawn`` those that are not to be run for the time being, ``elsewhere``
    those that other hosts have judged; ``fault`` gets the reason why no more of them can get ready.
    """

    ready: Callable[[Sequence[int]], None] = _ignore
    withdrawn: Callable[[Sequence[int]], None] = _ignore
    elsewhere: Callable[[Sequence[int]], None] = _ignore
    fault: Callable[[str], None] = _ignore


class Readiness:
    """The ordinals of combinations that are provisioned or need not be. Threads may share it."""

    def __init__(self, ready: Iterable[int]) -> None:
        self._ready = set(ready)
        self._changed = threading.Condition()
        self._fault = ""

    def __contains__(self, ordinal: int) -> bool:
        return ordinal in self._ready

    def missing(self, wanted: Iterable[int]) -> list[int]:
        """Return those of some ordinals that are not ready, sorted."""
        return sorted(set(wanted) - self._ready)

    def add(self, ordinals: Iterable[int]) -> None:
        """Let combinations be run."""
        with self._changed:
            self._ready.update(ordinals)
            self._changed.notify_all()

    def break_off(self, fault: str) -> None:
        """Wake all who wait: no more combinations get ready, for the reason given."""
        with self._changed:
            self._fault = fault
            self._changed.notify_all()

    def wait_for(self, ordinal: int, what: str) -> None:
        """Block until a combination is ready; ``what`` names the wait. Raises ``HarnessProblem`` when it cannot be."""
        with self._changed:
            wait_for(self._changed, lambda: ordinal in self._ready or self._fault, what)
        if ordinal not in self._ready:
            raise HarnessProblem(self._fault)
