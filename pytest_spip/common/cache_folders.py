"""The folders of the user's cache and their entries: what is made, used and removed as a whole."""

from __future__ import annotations

import dataclasses
import os
import stat
import time
from collections.abc import Iterable, Iterator

__all__ = ["FOLDERS", "CacheEntry", "entry_of", "last_use", "list_entries", "mark_used", "tree_size"]

EVERY_FILE = -1
FOLDERS = {
    "environments": 1,
    "layers": 1,
    "trees": 1,
    "locks": 2,
    "builds/environments": 1,
    "builds/requirements": 1,
    "builds": 1,
    "builds/stand-ins": 2,
    "builds/projects": 2,
    "builds/sdists": 2,
    "wheels": 2,
    "base.git": 0,
    "interpreters": 1,
    "index": 1,
    "pycache": EVERY_FILE,
}
"""Folders, dependants before what they depend on, and how many levels below each its entries are; ``base.git`` is one itself."""
_BUILDS = frozenset(name.partition("/")[2] for name in FOLDERS if "/" in name)


@dataclasses.dataclass(eq=False, slots=True)
class CacheEntry:
    """One entry: bytes on the disk, and its last use in nanoseconds since the epoch.

    A file that several entries have, as links, counts for the one that is removed last; ``shares`` are the entries that have such
    files of this one's. They were used whenever this one was.
    """

    folder: str
    path: str
    used: int
    size: int = 0
    shares: set[CacheEntry] = dataclasses.field(default_factory=set)


def entry_of(root: str, path: str) -> str:
    """Return the entry below a cache's root that a path belongs to; the path itself where it lies elsewhere."""
    parts = path.removeprefix(root).strip("/").split("/")
    if not path.startswith(f"{root}/") or parts[0] not in FOLDERS:
        return path
    below = 1 if parts[0] == "builds" and parts[1:] and parts[1] in _BUILDS else 0
    depth = FOLDERS["/".join(parts[: below + 1])]
    return path if depth == EVERY_FILE else "/".join([root, *parts[: below + 1 + depth]])


def mark_used(root: str, path: str) -> bool:
    """Note that something in a cache is used now, and return True if it is there.

    A directory's times say nothing else. A file's modification time does: it may be a listing's age, so only the access is set.
    """
    if not path.startswith(f"{root}/"):  # the same cache by another name, as entries of other sessions may have it
        root, path = os.path.realpath(root), os.path.realpath(path)
        if not path.startswith(f"{root}/"):
            return os.path.exists(path)
    entry, now = entry_of(root, path), time.time_ns()
    try:
        state = os.stat(entry)
        os.utime(entry, ns=(now, now if stat.S_ISDIR(state.st_mode) else state.st_mtime_ns))
    except PermissionError:  # another user's: it is there
        return os.path.exists(path)
    except OSError:
        return False
    return entry == path or os.path.exists(path)


def last_use(path: str) -> int:
    """Return when an entry was used last, in nanoseconds since the epoch; raises ``OSError`` where it is gone."""
    state = os.lstat(path)
    return state.st_mtime_ns if stat.S_ISDIR(state.st_mode) else max(state.st_atime_ns, state.st_mtime_ns)


def tree_size(path: str) -> int:
    """Return the bytes on the disk of a file or a tree."""
    return sum(state.st_blocks * 512 for state in _states(path))


def list_entries(root: str) -> list[CacheEntry]:
    """Return all entries, those that others depend on before these. What goes meanwhile is left out."""
    found: list[CacheEntry] = []
    owners: dict[int, CacheEntry] = {}
    for folder in reversed(FOLDERS):
        for path in _paths(f"{root}/{folder}", folder, FOLDERS[folder]):
            try:
                entry = CacheEntry(folder, path, last_use(path))
            except OSError:
                continue
            entry.size = sum(_own_sizes(entry, owners))
            found.append(entry)
    for entry in reversed(found):
        for owner in entry.shares:
            owner.used = max(owner.used, entry.used)
    return found


def _paths(place: str, folder: str, depth: int) -> Iterator[str]:
    """Yield the paths of a folder's entries, in order."""
    if depth == 0:
        yield from [place] if os.path.isdir(place) else []
    elif depth == EVERY_FILE:
        yield from sorted(os.path.join(top, name) for top, _, names in os.walk(place) for name in names)
    else:
        for name in _names(place):
            if folder != "builds" or name not in _BUILDS:
                yield from _paths(f"{place}/{name}", "", depth - 1) if depth > 1 else [f"{place}/{name}"]


def _names(place: str) -> list[str]:
    try:
        return sorted(os.listdir(place))
    except OSError:
        return []


def _own_sizes(entry: CacheEntry, owners: dict[int, CacheEntry]) -> Iterable[int]:
    """Yield the bytes of what no other entry had before; note who had the rest."""
    for state in _states(entry.path):
        if state.st_nlink > 1 and not stat.S_ISDIR(state.st_mode):
            owner = owners.get(state.st_ino)
            if owner is not None:
                if owner is not entry:
                    entry.shares.add(owner)
                continue
            owners[state.st_ino] = entry
        yield state.st_blocks * 512


def _states(path: str) -> Iterator[os.stat_result]:
    """Yield the states of a file, or of a tree and all in it, as far as they can be read."""
    waiting = [path]
    while waiting:
        path = waiting.pop()
        try:
            state = os.lstat(path)
            if stat.S_ISDIR(state.st_mode):
                waiting += (f"{path}/{name}" for name in os.listdir(path))
        except OSError:
            continue
        yield state
