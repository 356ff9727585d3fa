"""Keeps the user's cache small: what was used least recently goes first, and nothing that a running session uses."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_spip.common.cache import Cache
from pytest_spip.common.cache_folders import FOLDERS, CacheEntry, last_use, list_entries, tree_size
from pytest_spip.common.leases import oldest_lease
from pytest_spip.common.owners import OwnerLock, owner_alive
from pytest_spip.common.trees import remove_tree
from pytest_spip.errors import UsageProblem
from pytest_spip.provision.provision_cache import forget_lost

__all__ = ["OTHERS", "Collected", "collect_cache", "doomed_entries"]

SECOND = 1_000_000_000
"""Nanoseconds. Times are compared by the second: there are file systems that keep no more of them."""
OTHERS = LOCKS, DEBRIS = "guards", "staging"
"""Folders that hold no entries: locks, and what dead processes left half-made."""


@dataclasses.dataclass(frozen=True, slots=True)
class Collected:
    """What went, and what stays, of a cache; ``over`` are the bytes above its bound, which are in use or cannot be removed."""

    gone: tuple[CacheEntry, ...]
    stay: tuple[CacheEntry, ...]
    over: int


def doomed_entries(
    entries: Sequence[CacheEntry], *, now: int, before: int, older: float, size: float
) -> list[CacheEntry]:
    """Return the entries that are to go, in the order in which they go.

    They were not used for more than ``older`` seconds, or are beyond ``size`` bytes, the least recently used first; what was used
    since ``before`` stays. Of those with one last use, dependants, which come later in ``entries``, go first.
    """
    total, oldest = sum(entry.size for entry in entries), now - older * SECOND
    gone = []
    for _, entry in sorted(enumerate(entries), key=lambda pair: (pair[1].used, -pair[0])):
        if entry.used >= before or (entry.used >= oldest and total <= size):
            break
        gone.append(entry)
        total -= entry.size
    return gone


def collect_cache(cache: Cache, *, older: float, size: float, dry_run: bool = False) -> Collected:
    """Remove what is older, or more, than a cache is to hold, and what dead processes left; ``dry_run`` removes nothing.

    A session that runs keeps what it uses: all that was used since the oldest one began stays. Who is killed in between leaves a
    sound cache. Raises ``UsageProblem`` while another process does it, and where the cache cannot be written.
    """
    with _alone(cache):
        now = time.time_ns()
        began = _oldest_session(cache)
        before = min(now, now if began is None else began) // SECOND * SECOND
        entries, debris = list_entries(str(cache.root)), list(_debris(cache, in_use=began is not None))
        doomed = doomed_entries(entries, now=now, before=before, older=older, size=size)
        if not dry_run:
            _remove_all(cache, doomed, debris, before)
        there = {entry.path for entry in (*doomed, *debris) if not dry_run and os.path.lexists(entry.path)}
        gone = tuple(entry for entry in (*doomed, *debris) if entry.path not in there)
        going = {entry.path for entry in gone}
        stay = tuple(entry for entry in entries if entry.path not in going)
        over = sum(entry.size for entry in stay) - size
        return Collected(gone, stay, math.ceil(over) if over > 0 else 0)


@contextlib.contextmanager
def _alone(cache: Cache) -> Iterator[None]:
    try:
        (cache.root / "gc").mkdir(exist_ok=True)
        lock = OwnerLock(cache.root / "gc")
    except BlockingIOError as error:
        raise UsageProblem("gc", f"{error.strerror} is at work on {cache.root}", "wait for it") from error
    except OSError as error:
        raise UsageProblem("--spip-cache", f"cannot write {cache.root} ({error.strerror})", "see its rights") from error
    try:
        yield
    finally:
        lock.release()


def _oldest_session(cache: Cache) -> int | None:
    with cache.gate.exclusive():
        return oldest_lease(cache.sessions)


def _debris(cache: Cache, *, in_use: bool) -> Iterator[CacheEntry]:
    """Yield what dead processes left, and locks: while a session runs, somebody may just be about to take one."""
    for path in _below(cache.root / DEBRIS):
        if not owner_alive(path.name):
            yield CacheEntry(DEBRIS, str(path), 0, tree_size(str(path)))
    for path in () if in_use else _below(cache.guards):
        yield CacheEntry(LOCKS, str(path), 0, tree_size(str(path)))


def _below(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _remove_all(cache: Cache, doomed: Sequence[CacheEntry], debris: Sequence[CacheEntry], before: int) -> None:
    """Remove entries, but for those that somebody came to use, or that cannot be removed."""
    names = {entry.path for entry in doomed}
    for path in _below(cache.environments):
        if str(path) not in names:
            forget_lost(cache, path, names)
    with cache.workshop() as staging:
        for number, entry in enumerate(doomed):
            with contextlib.suppress(OSError):
                _move_aside(cache, entry, staging / str(number), before)
            remove_tree(staging / str(number))
    cache.release()
    for entry in debris:
        if entry.folder == DEBRIS:
            remove_tree(Path(entry.path))
    _remove_locks(cache, [entry.path for entry in debris if entry.folder == LOCKS])


def _move_aside(cache: Cache, entry: CacheEntry, aside: Path, before: int) -> None:
    """Move an entry aside in one step, so that nobody sees a part of it, unless it is used by now. Raises ``OSError``."""
    with cache.gate.exclusive():
        if last_use(entry.path) < before:
            os.rename(entry.path, aside)
            _remove_empty(cache, entry)


def _remove_empty(cache: Cache, entry: CacheEntry) -> None:
    """Remove directories that an entry was alone in. Those of all entries stay: they are written to without the gate."""
    if entry.folder != "pycache" and not (entry.folder.startswith("builds/") and FOLDERS[entry.folder] > 1):
        return
    top, place = cache.root / entry.folder, Path(entry.path).parent
    with contextlib.suppress(OSError):
        while place != top:
            place.rmdir()
            place = place.parent


def _remove_locks(cache: Cache, paths: Sequence[str]) -> None:
    """Remove locks of the cache, unless a session has begun: two processes with two files for one lock would both have it."""
    with cache.gate.exclusive():
        if oldest_lease(cache.sessions) is None:
            for path in paths:
                with contextlib.suppress(OSError):
                    os.unlink(path)
