"""Who waits for whose wheel: a build that would wait for itself, by way of others, is refused instead of waited for."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator

from pytest_spip.provision.sdists import build_failed

__all__ = ["RING", "BuildCycles"]

RING = "its build requirements lead back to it or to each other: "
"""Begins the detail of a ring, which reads the same for each of its members and for all that need one of them."""


class BuildCycles:
    """Sdists that need each other's wheels to be built. Of this process: two that meet such a ring wait for the first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: dict[str, str] = {}
        self._waits: Counter[tuple[str, str]] = Counter()
        self._here = threading.local()

    @contextlib.contextmanager
    def waiting_for(self, key: str, name: str) -> Iterator[None]:
        """Say that what this thread builds needs the wheel of another sdist; raises ``Failure`` where that needs ours."""
        needing: str = getattr(self._here, "key", "")
        with self._lock:
            self._names[key] = name
            if needing and needing in (reached := self._reached(key)):
                members = sorted(self._names[one] for one in reached if needing in self._reached(one))
                raise build_failed(RING + ", ".join(members))
            self._waits[needing, key] += 1
        self._here.key = key
        try:
            yield
        finally:
            self._here.key = needing
            with self._lock:
                self._waits[needing, key] -= 1

    def _reached(self, key: str) -> set[str]:
        """Return all that an sdist waits for, itself included."""
        reached, waiting = {key}, [key]
        while waiting:
            last = waiting.pop()
            further = {
                needed for (needing, needed), times in self._waits.items() if needing == last and times
            } - reached
            reached |= further
            waiting += further
        return reached
