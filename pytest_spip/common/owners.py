"""Who owns what on disk: processes by name and start, locks that the kernel gives back, and the debris of the dead."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import filelock
import psutil

from pytest_spip.common.trees import remove_tree, replace_text
from pytest_spip.common.waits import PATIENCE
from pytest_spip.errors import HarnessProblem

__all__ = ["OwnerLock", "acquire_some", "dead_entries", "locked", "owner_alive", "owner_tag", "sweep_dead"]

OWNED = re.compile(r"\d+-")
"""How the names of all begin that processes of ours own."""
POLL = 0.02
"""Seconds between two tries to take what others have; locks that can be given up have no queue."""


def owner_tag() -> str:
    """Name this process for good: a pid alone is reused, a pid with its start time is not."""
    return f"{os.getpid()}-{_start_time(os.getpid())}"


def owner_alive(tag: str) -> bool:
    """Return True if the process that :func:`owner_tag` named still runs."""
    pid, _, started = tag.partition("-")
    return pid.isdigit() and started != "" and _start_time(int(pid)) == started


class OwnerLock:
    """Keeps a directory for this process until it lets go or dies: the lock is the kernel's, the tag beside it says whose.

    Raises ``BlockingIOError``, with the owner's process id where it is known, while another process has it.
    """

    def __init__(self, directory: Path) -> None:
        tag = directory / "owner"
        self._lock = filelock.FileLock(directory / "lock", is_singleton=False, thread_local=False)
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout as error:
            owner = tag.read_text("utf-8").partition("-")[0] if tag.exists() else ""
            raise BlockingIOError(errno.EWOULDBLOCK, f"process {owner}" if owner else "another process") from error
        replace_text(tag, owner_tag())

    def release(self) -> None:
        """Let go."""
        self._lock.release()


@contextlib.contextmanager
def acquire_some(directory: Path, total: int, count: int) -> Iterator[list[int]]:
    """Wait for ``count`` of ``total`` things that processes share, and yield the numbers, from 0, of those that were free.

    They are locks in the directory, so the kernel gives them back when the process dies. Who gathers is alone in that: two
    who have one each and need two would wait for each other.
    """
    directory.mkdir(parents=True, exist_ok=True)
    locks = [_lock(directory / f"{number}.lock") for number in range(total)]
    with contextlib.ExitStack() as stack:
        taken: list[int] = []
        until = time.monotonic() + PATIENCE
        with locked(directory / "gathering.lock", f"its turn to take {count} of {total} in {directory}"):
            while len(taken) < count:
                if time.monotonic() > until:
                    raise HarnessProblem(
                        f"{count} of {total} in {directory} were not free within {PATIENCE / 3600:g} h"
                    )
                found = next((n for n in range(total) if n not in taken and _is_taken(locks[n])), None)
                if found is None:
                    time.sleep(POLL)
                else:
                    stack.callback(locks[found].release)
                    taken.append(found)
        yield sorted(taken)


@contextlib.contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold a lock of ours. Raises ``HarnessProblem`` when others do not give it back."""
    lock = _lock(path)
    try:
        lock.acquire(timeout=PATIENCE, poll_interval=POLL)
    except filelock.Timeout as error:
        raise HarnessProblem(f"{what}: another process has held {lock.lock_file} for {PATIENCE / 3600:g} h") from error
    try:
        yield
    finally:
        lock.release()


def _lock(path: Path) -> filelock.BaseFileLock:
    return filelock.FileLock(path, is_singleton=False, thread_local=False)


def _is_taken(lock: filelock.BaseFileLock) -> bool:
    """Take a lock, if it is free, and tell whether it was."""
    with contextlib.suppress(filelock.Timeout):
        lock.acquire(blocking=False)
    return lock.is_locked


def _start_time(pid: int) -> str:
    # Clock ticks since boot do not move when somebody sets the wall clock; psutil's create_time does.
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    with contextlib.suppress(psutil.Error):
        return f"{psutil.Process(pid).create_time():.2f}".replace(".", "")
    return ""


def dead_entries(directory: Path) -> list[Path]:
    """Return the entries of a directory whose owners, named by the entries, are dead; what names no process is nobody's of ours."""
    entries = sorted(directory.iterdir()) if directory.is_dir() else []
    return [entry for entry in entries if OWNED.match(entry.name) and not owner_alive(entry.name)]


def sweep_dead(directory: Path) -> list[Path]:
    """Remove the entries of a directory whose owners are dead; return what was removed."""
    swept = dead_entries(directory)
    for entry in swept:
        remove_tree(entry)
    return swept
