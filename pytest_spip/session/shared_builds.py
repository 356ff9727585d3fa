"""Builds that hosts with one cache make once: who builds holds a reservation, and the others wait for what comes of it."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from pytest_spip.errors import QueueProblem
from pytest_spip.hosts.record_kinds import Kind, Record
from pytest_spip.hosts.reservations import Reservations
from pytest_spip.hosts.status import BUILD

__all__ = ["BuildTurns"]

LOOK = 1.0
"""Seconds between two looks whether another host has finished a build."""
LONGEST = 3600.0
"""Seconds for which a host waits for another one's build: past them it builds itself."""


class BuildTurns:
    """Lets one host at a time make a build that several of them look for in one cache. Threads may share it.

    Locks of files do that on one host, and on file systems that have them for several. Where the database is away, or
    ``is_ended`` says that the session ends, nobody waits: then a build may be made twice.
    """

    def __init__(
        self, reservations: Reservations, cache: Path, *, host: str, lease: float, is_ended: Callable[[], bool]
    ) -> None:
        self._reservations = reservations
        self._cache = _identity(cache)
        self._host = host
        self._lease = lease
        self._is_ended = is_ended

    @contextlib.contextmanager
    def __call__(self, key: str, what: str) -> Iterator[None]:
        """Hold a build's turn; ``key`` is the same on all hosts, ``what`` says to people what is built."""
        name = f"{BUILD}{self._cache}/{key}"
        held = self._cache and self._taken(name, what)
        try:
            yield
        finally:
            if held:
                with contextlib.suppress(QueueProblem):  # it expires
                    self._reservations.release(name)
                    self._reservations.records.delete(Kind.INTENT, [name])

    def _taken(self, name: str, what: str) -> bool:
        """Wait for the turn; return False where there is none to be had."""
        body, until = {"what": what, "host": self._host}, time.monotonic() + LONGEST
        with contextlib.suppress(QueueProblem):
            while not self._is_ended() and time.monotonic() < until:
                if self._reservations.reserve(name, ttl=self._lease, body=body):
                    with contextlib.suppress(QueueProblem):  # it is for people; what is held must be released
                        self._reservations.records.push([Record(Kind.INTENT, name, body, LONGEST)])
                    return True
                time.sleep(LOOK)
        return False


def _identity(cache: Path) -> str:
    """Return what hosts know a cache by that they share; empty where it cannot be written."""
    path = cache / "id"
    try:
        with contextlib.suppress(FileExistsError), path.open("x", encoding="ascii") as file:
            file.write(uuid.uuid4().hex)
        return path.read_text("ascii")
    except (OSError, ValueError):
        return ""
