"""What provisioning came to, remembered: a warm run reads one file for each package, not five for each combination."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pytest_spip.common.cache import Cache
from pytest_spip.common.cache_folders import entry_of
from pytest_spip.common.trees import replace_text
from pytest_spip.model import Combo, Interpreter, Release, StoredWheel, digest
from pytest_spip.provision.store import WheelStore

__all__ = ["UNDATED_KEPT", "ProvisionCache", "Remembered", "forget_lost"]

UNDATED_KEPT = 86400.0
"""Seconds a resolution counts when no date pins the index: new releases of dependencies appear."""
FORM = 7
"""Raise it when entries are written in another form."""


class Remembered(NamedTuple):
    """A lock, the wheels that it selects, in the store, the tree beside them and the words for a suite, if there are any.

    ``place`` is where in the tree the suite is run. ``warnings`` are those of the whole; each wheel has its own. ``replaces`` is as
    in ``Environment``.
    """

    lock: str
    wheels: tuple[StoredWheel, ...]
    tree: str = ""
    suite: tuple[str, ...] = ()
    place: str = ""
    warnings: tuple[str, ...] = ()
    replaces: bool = False


class ProvisionCache:
    """Successful provisions by what could change them; ``circumstances`` are those that all combinations of a run share.

    Only a shortcut: what is not remembered, or no longer true, is provisioned from the locks and wheels of the cache. Where
    ``ages``, as resolutions do that no date pins, it is forgotten when these are made again.
    """

    def __init__(self, cache: Cache, store: WheelStore, circumstances: Sequence[object], *, ages: bool) -> None:
        self._cache = cache
        self._store = store
        self._circumstances = digest(FORM, *circumstances)[:16]
        self._oldest = time.time() - UNDATED_KEPT if ages else 0.0
        self._known: dict[str, dict[str, Any]] = {}
        self._learned: dict[str, dict[str, Any]] = {}
        self._there: set[str] = set()
        self._releases: dict[int, str] = {}
        self._interpreters: dict[int, str] = {}

    def find(self, combo: Combo, interpreter: Interpreter, releases: Sequence[Release]) -> Remembered | None:
        """Return what a combination of releases was provisioned with, if that is still all there."""
        if combo.package not in self._known:
            self._known[combo.package] = self._read(combo.package)
        entry = self._known[combo.package].get(self._key(combo, interpreter))
        if entry is None:
            return None
        identity, made, lock, hashes, needs, tree, suite, place, warnings, replaces = entry
        if identity != self._identities(releases) or made < self._oldest or not self._are_there(lock, tree, *needs):
            return None
        wheels = tuple(filter(None, map(self._store.get, hashes)))
        known = Remembered(lock, wheels, tree, tuple(suite), place, tuple(warnings), replaces)
        return known if len(wheels) == len(hashes) else None

    def _are_there(self, lock: str, *others: str) -> bool:
        """Return True if files are there, which are used by that; what many combinations share is looked for once."""
        asked = [path for path in others if path and path not in self._there]
        if not self._cache.use(lock, *asked):
            return False
        self._there.update(asked)
        return True

    def learn(
        self, combo: Combo, interpreter: Interpreter, releases: Sequence[Release], it: Remembered, needs: Sequence[str]
    ) -> None:
        """Remember a provision, for runs to come; ``needs`` are files without which the lock would be made again."""
        with contextlib.suppress(OSError):
            made = os.stat(it.lock).st_mtime
            entry = [
                self._identities(releases),
                made,
                it.lock,
                [wheel.sha256 for wheel in it.wheels],
                list(needs),
                it.tree,
                it.suite,
                it.place,
                it.warnings,
                it.replaces,
            ]
            self._learned.setdefault(combo.package, {})[self._key(combo, interpreter)] = entry

    def save(self) -> None:
        """Write what was learned beside what others have written since."""
        while self._learned:
            package, entries = self._learned.popitem()
            path = self._path(package)
            with self._cache.guard(str(path)):
                replace_text(path, json.dumps({**self._read(package), **entries}))

    def _path(self, package: str) -> Path:
        return self._cache.environments / f"{package}-{self._circumstances}.json"

    def _read(self, package: str) -> dict[str, Any]:
        try:
            return dict(json.loads(self._path(package).read_text("utf-8")))
        except (OSError, ValueError):  # never written, or damaged: it is a shortcut
            return {}

    def _key(self, combo: Combo, interpreter: Interpreter) -> str:
        who = self._interpreters.get(id(interpreter))
        if who is None:
            identity = interpreter.id, interpreter.path, interpreter.platforms[:1]
            who = self._interpreters[id(interpreter)] = digest(*identity)[:16]
        return " ".join(filter(None, (who, *combo.requirements, combo.resolution)))

    def _identities(self, releases: Sequence[Release]) -> str:
        return " ".join(map(self._identity, releases))

    def _identity(self, release: Release) -> str:
        """Return a digest of what the index lists of a release; it is asked once for each of its interpreters."""
        identity = self._releases.get(id(release))
        if identity is None:
            files = [(file.filename, file.sha256, file.requires_python, file.yanked) for file in release.files]
            identity = self._releases[id(release)] = digest(files)[:16]
        return identity


def forget_lost(cache: Cache, path: Path, doomed: Container[str]) -> None:
    """Drop what a file remembers of entries that are ``doomed``, or gone already; the file goes with the last of it."""
    with contextlib.suppress(OSError, ValueError, TypeError):  # damaged, or of another form: it is a shortcut
        rows = json.loads(path.read_text("utf-8"))
        kept = {key: row for key, row in rows.items() if _is_whole(cache, row, doomed)}
        if kept == rows:
            return
        with cache.guard(str(path)):
            state, rows = path.stat(), json.loads(path.read_text("utf-8"))
            kept = {key: row for key, row in rows.items() if _is_whole(cache, row, doomed)}
            if not kept:
                path.unlink()
                return
            replace_text(path, json.dumps(kept))
            os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # nobody has used it


def _is_whole(cache: Cache, row: Sequence[Any], doomed: Container[str]) -> bool:
    _, _, lock, hashes, needs, tree, *_ = row
    root, store = str(cache.root), WheelStore(cache)
    named = [
        *(entry_of(root, path) for path in (lock, *needs, tree) if path),
        *(str(store.root(one)) for one in hashes),
    ]
    return not any(path in doomed for path in named) and all(map(os.path.exists, named))
