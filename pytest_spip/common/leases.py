"""Who uses a directory and who removes from it: leases of running sessions, and a gate between use and removal (flock(2))."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from pytest_spip.common.owners import owner_tag
from pytest_spip.common.waits import PATIENCE
from pytest_spip.errors import HarnessProblem

__all__ = ["Gate", "Lease", "oldest_lease"]

FIRST_PAUSE, LONGEST_PAUSE = 0.0005, 0.02
"""Seconds between two tries to pass a gate: who holds it does so for microseconds."""


class Gate:
    """A lock that many users hold together, or one remover alone; the kernel gives it back when a process dies.

    Each hold has a descriptor of its own, for the kernel's lock belongs to that: threads do not know of one another.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """Hold the gate beside other users. Where there can be no lock there is nothing that a remover would dare to touch."""
        try:
            descriptor = self._open()
        except OSError:
            yield
            return
        try:
            with contextlib.suppress(OSError):
                _acquire(descriptor, fcntl.LOCK_SH, self._path)
            yield
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def exclusive(self, *, wait: bool = True) -> Iterator[None]:
        """Hold the gate alone. Raises ``OSError`` where it cannot be locked, ``HarnessProblem`` where others keep it.

        Who does not ``wait`` meets ``BlockingIOError`` where somebody else holds it.
        """
        descriptor = self._open()
        try:
            if wait:
                _acquire(descriptor, fcntl.LOCK_EX, self._path)
            elif not _is_acquired(descriptor, fcntl.LOCK_EX):
                raise BlockingIOError(errno.EWOULDBLOCK, "somebody else holds it", self._path)
            yield
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        return os.open(self._path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _acquire(descriptor: int, mode: int, path: str) -> None:
    until, pause = time.monotonic() + PATIENCE, FIRST_PAUSE
    while not _is_acquired(descriptor, mode):
        if time.monotonic() > until:
            raise HarnessProblem(f"another process has held {path} for {PATIENCE / 3600:g} h")
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def _is_acquired(descriptor: int, mode: int) -> bool:
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Lease:
    """Says, until it is released or its process dies, that a session runs, and since when: the file's name has the nanoseconds."""

    def __init__(self, directory: Path, gate: Gate) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        with gate.shared():  # a file that is not locked yet would be taken for a dead session's
            self._path = directory / f"{time.time_ns()}-{owner_tag()}"
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            with contextlib.suppress(OSError):
                _is_acquired(self._descriptor, fcntl.LOCK_EX)

    def release(self) -> None:
        """End the lease. It may be ended more than once."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                self._path.unlink()
            os.close(self._descriptor)
            self._descriptor = -1


def oldest_lease(directory: Path) -> int | None:
    """Return when the oldest session began that still runs, in nanoseconds since the epoch; None where none runs.

    What dead sessions have left is removed. Call it while the gate is held alone.
    """
    running = [_started(path) for path in (directory.iterdir() if directory.is_dir() else ())]
    return min((started for started in running if started is not None), default=None)


def _started(path: Path) -> int | None:
    text = path.name.partition("-")[0]
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # it ends just now, or is somebody else's, whom nobody can ask
        return int(text) if text.isdecimal() and path.exists() else None
    try:
        if not _is_acquired(descriptor, fcntl.LOCK_EX):
            return int(text) if text.isdecimal() else 0
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    finally:
        os.close(descriptor)
