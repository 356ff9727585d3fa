"""Who provisions what next: quick work always flows, and builds, the smallest first, are a bounded number.

A combination begins in the quick lane. Where it turns out to need a build it is put aside under that build's key; the build
lane takes one combination for each key, and when that is done all others of the key come back to the quick lane, where they
find the wheel. Of the build lane's threads half take small builds alone, so that long ones never hold up short ones.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pytest_spip.common.waits import wait_for
from pytest_spip.model import Combo, Provisioned

__all__ = ["BIG", "BuildNeeded", "Lanes", "Work"]

BIG = 1 << 20
"""Bytes from which on an sdist counts as big; so does one whose size nobody knows."""
Work = Combo | list[Provisioned]


class BuildNeeded(Exception):
    """Raised in the quick lane where a build would begin. ``size`` is the sdist's, 0 where that is not known."""

    def __init__(self, key: str, size: int) -> None:
        self.key = key
        self.size = size or BIG
        super().__init__(key)


class _Turn(NamedTuple):
    size: int
    number: int
    key: str


class Lanes:
    """Two queues for the threads of a pool. Each waits until there is something for it, or nothing will come any more."""

    def __init__(self, quick: Iterator[Work], count: int) -> None:
        self._quick = quick
        self._left = count
        self._taking = threading.Lock()
        self._changed = threading.Condition()
        self._again: deque[Combo] = deque()
        self._staging: dict[str, deque[Combo]] = {}
        self._turns: list[_Turn] = []
        self._numbers = itertools.count()
        self._exhausted = False

    @property
    def waiting(self) -> int:
        """How many combinations wait for a build."""
        with self._changed:
            return sum(map(len, self._staging.values()))

    def next_quick(self) -> Work | None:
        """Return what comes next in the quick lane, or None at the end."""
        while True:
            with self._changed:
                wait_for(
                    self._changed,
                    lambda: self._again or not self._exhausted or not self._left,
                    f"the builds that {self._left} combinations need",
                )
                if not self._left:
                    return None
                if self._again:
                    return self._again.popleft()
            with self._taking:  # who looks into what is remembered does so while others work
                work = next(self._quick, None)
            if work is not None:
                return work
            with self._changed:
                self._exhausted = True

    def next_build(self, *, small: bool) -> tuple[str, Combo] | None:
        """Return a combination whose build may begin, with the build's key, or None at the end."""

        def ready() -> bool:
            return bool(self._turns) and (not small or self._turns[0].size < BIG)

        with self._changed:
            wait_for(
                self._changed, lambda: ready() or not self._left, f"{self._left} combinations that are provisioned"
            )
            if not self._left:
                return None
            key = heapq.heappop(self._turns).key
            return key, self._staging[key].popleft()

    def defer(self, combo: Combo, needed: BuildNeeded) -> None:
        """Have a combination wait for the build that it needs."""
        with self._changed:
            if needed.key not in self._staging:
                self._staging[needed.key] = deque()
                heapq.heappush(self._turns, _Turn(needed.size, next(self._numbers), needed.key))
            self._staging[needed.key].append(combo)
            self._changed.notify_all()

    def built(self, key: str) -> None:
        """Have all come back that wait for a build which has ended."""
        with self._changed:
            self._again += self._staging.pop(key, ())
            self._changed.notify_all()

    def add(self, combos: Iterable[Combo]) -> None:
        """Have combinations provisioned that were counted from the beginning."""
        with self._changed:
            self._again += combos
            self._changed.notify_all()

    def done(self, count: int) -> None:
        """Count combinations that are done with."""
        with self._changed:
            self._left = max(self._left - count, 0)  # stopped, there are none left, whatever is still being finished
            if not self._left:
                self._changed.notify_all()

    def stop(self) -> None:
        """Have nobody begin anything any more."""
        with self._changed:
            self._left = 0
            self._changed.notify_all()
