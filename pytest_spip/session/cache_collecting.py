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
from pytest_spip.common.owners import dead_entries, owner_tag
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
    now = time.time_ns()
    with _alone(cache) as began:
        before = min(now, now if began is None else began) // SECOND * SECOND
        debris = list(_debris(cache, in_use=began is not None))
        gone, stay = _collect(cache, now=now, before=before, older=older, size=size, dry_run=dry_run)
        if not dry_run:
            _remove_debris(cache, debris)
        over = sum(entry.size for entry in stay) - size
        gone += (entry for entry in debris if dry_run or not os.path.lexists(entry.path))
        return Collected(tuple(gone), tuple(stay), math.ceil(over) if over > 0 else 0)


def _collect(
    cache: Cache, *, now: int, before: int, older: float, size: float, dry_run: bool
) -> tuple[list[CacheEntry], list[CacheEntry]]:
    """Remove entries; return those that went, and those that stay."""
    gone: list[CacheEntry] = []
    refused: set[str] = set()
    while True:
        entries = list_entries(str(cache.root))
        doomed = doomed_entries(entries, now=now, before=before, older=older, size=size)
        if not dry_run:
            _remove_all(cache, doomed, before)
        kept = {entry.path for entry in doomed if not dry_run and os.path.lexists(entry.path)}
        went = {entry.path for entry in doomed if entry.path not in kept}
        gone += (entry for entry in doomed if entry.path in went)
        if kept <= refused:  # else others go for those that somebody came to use
            return gone, [entry for entry in entries if entry.path not in went]
        refused |= kept


@contextlib.contextmanager
def _alone(cache: Cache) -> Iterator[int | None]:
    """Be the only process that removes entries; yield when the oldest session began that runs, None where none does."""
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(cache.collector.exclusive(wait=False))
            with cache.gate.exclusive():
                began = oldest_lease(cache.sessions)
        except BlockingIOError as error:
            raise UsageProblem("gc", f"another one is at work on {cache.root}", "wait for it") from error
        except OSError as error:
            what = f"cannot lock {cache.root} ({error.strerror})"
            raise UsageProblem("--spip-cache", what, "see its rights") from error
        yield began


def _debris(cache: Cache, *, in_use: bool) -> Iterator[CacheEntry]:
    """Yield what dead processes left, and locks: while a session runs, somebody may just be about to take one."""
    for path in dead_entries(cache.root / DEBRIS):
        yield CacheEntry(DEBRIS, str(path), 0, tree_size(str(path)))
    for path in () if in_use else _below(cache.guards):
        yield CacheEntry(LOCKS, str(path), 0, tree_size(str(path)))


def _below(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _remove_all(cache: Cache, doomed: Sequence[CacheEntry], before: int) -> None:
    """Remove entries, but for those that somebody came to use, or that cannot be removed."""
    names = {entry.path for entry in doomed}
    for path in _below(cache.environments):
        if str(path) not in names:
            forget_lost(cache, path, names)
    staging = cache.root / DEBRIS
    with contextlib.suppress(OSError):
        staging.mkdir(exist_ok=True)
    for number, entry in enumerate(doomed):
        # No directory is made for it, which a full disk may have no room for. To others it looks like what a dead process
        # left: they may help to remove it.
        aside = staging / f"{owner_tag()}.{number}"
        with contextlib.suppress(OSError):
            _move_aside(cache, entry, aside, before)
        remove_tree(aside)


def _remove_debris(cache: Cache, debris: Sequence[CacheEntry]) -> None:
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
