"""The user's cache: a folder for each kind of thing. Look, lock, look again, build aside, ``os.replace``."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import platformdirs

from pytest_spip.common.cache_folders import mark_used
from pytest_spip.common.leases import Gate, Lease
from pytest_spip.common.owners import locked, owner_tag, sweep_dead
from pytest_spip.common.trees import remove_tree
from pytest_spip.errors import UsageProblem

__all__ = ["Cache", "cache_root", "open_cache"]

_T = TypeVar("_T")
KNOWN = {"staging", "guards", "gate.lock", "gc.lock", "base.git", "interpreters", "pycache"}
"""Names of which a cache has one at least, whatever was restored of it, and hardly anything else."""


@dataclasses.dataclass(frozen=True, slots=True)
class Cache:
    """The user's cache directory. Every room owns one folder of it; ``staging`` holds what is being built."""

    root: Path

    @property
    def index(self) -> Path:
        """Project listings."""
        return self.root / "index"

    @property
    def pycache(self) -> Path:
        """Bytecode of the programs that we run in interpreters; the import system's own form, and replaced atomically."""
        return self.root / "pycache"

    @property
    def interpreters(self) -> Path:
        """What probed interpreters said of themselves."""
        return self.root / "interpreters"

    @property
    def locks(self) -> Path:
        """Resolutions: ``pylock`` files and failures."""
        return self.root / "locks"

    @property
    def environments(self) -> Path:
        """What earlier runs provisioned, by package."""
        return self.root / "environments"

    @property
    def wheels(self) -> Path:
        """The wheel store."""
        return self.root / "wheels"

    @property
    def layers(self) -> Path:
        """Wheels laid out as an environment holds them, for overlays."""
        return self.root / "layers"

    @property
    def trees(self) -> Path:
        """Files of projects and sdists, for suites to see."""
        return self.root / "trees"

    @property
    def builds(self) -> Path:
        """Wheels built from sdists, and the logs of builds that failed."""
        return self.root / "builds"

    @property
    def base(self) -> Path:
        """The base repository."""
        return self.root / "base.git"

    @property
    def staging(self) -> Path:
        """This process's workshop: what is made here is moved to its place when it is complete."""
        path = self.root / "staging" / owner_tag()
        path.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def guards(self) -> Path:
        """The locks of :meth:`guard`."""
        return self.root / "guards"

    @property
    def sessions(self) -> Path:
        """The leases of running sessions."""
        return self.root / "sessions"

    @property
    def gate(self) -> Gate:
        """What those who use entries hold together for a moment, and who removes one holds alone."""
        return Gate(f"{self.root}/gate.lock")

    @property
    def collector(self) -> Gate:
        """What the one process holds that removes entries; the file's change is when sessions last began to have that done."""
        return Gate(f"{self.root}/gc.lock")

    @property
    def is_foreign(self) -> bool:
        """Whether it is a directory that has other things in it, and nothing by which a cache is known."""
        try:
            found = set(os.listdir(self.root))
        except OSError:  # there is none yet, or nobody may look
            return False
        return bool(found) and not found & KNOWN

    @property
    def is_known(self) -> bool:
        """True if a session has used the directory as a cache."""
        return any((self.root / name).exists() for name in ("gate.lock", "guards", "sessions"))

    def lease(self) -> Lease:
        """Say that a session runs: until the lease is released, nothing is removed that is used from now on."""
        return Lease(self.sessions, self.gate)

    def use(self, *paths: str | Path) -> bool:
        """Return True if entries, or what lies in them, are there, and note that they are used.

        Who looks for something that it will need later does so by this: what is merely seen may be removed the next moment.
        """
        with self.gate.shared():
            return all(mark_used(str(self.root), str(path)) for path in paths)

    @contextlib.contextmanager
    def guard(self, key: str) -> Iterator[None]:
        """Hold the lock named ``key`` against all processes and threads that share the cache."""
        self.guards.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(key.encode()).hexdigest()[:32]
        with locked(self.guards / f"{name}.lock", f"waiting for {key}"):
            yield

    def file(
        self, target: Path, make: Callable[[Path], object], *, stale: Callable[[Path], bool] = lambda _: False
    ) -> bool:
        """See that ``target`` exists, making it with ``make(path aside)`` if need be; tell whether it was made here.

        A target that is ``stale`` is made anew; until that is done, and where it fails, the old one stays.
        """
        if self.use(target) and not stale(target):
            return False
        with self.guard(str(target)):
            if self.use(target) and not stale(target):
                return False
            with self.workshop() as staging:
                made = staging / target.name
                make(made)
                self._put(made, target, staging / "old")
        return True

    def _put(self, made: Path, target: Path, old: Path) -> None:
        """Move what was made to its place, whose directory must not be removed between two steps of that."""
        with self.gate.shared():
            target.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                target.rename(old)  # a directory cannot be replaced by one
            os.replace(made, target)
            mark_used(str(self.root), str(target))

    def read(self, target: Path, load: Callable[[Path], _T]) -> _T:
        """Return ``load(target)``, if need be after the process that is just putting a newer target in its place."""
        try:
            return load(target)
        except FileNotFoundError:
            with self.guard(str(target)):
                return load(target)

    @contextlib.contextmanager
    def workshop(self) -> Iterator[Path]:
        """Yield an empty directory on the cache's file system, removed at the end."""
        path = Path(tempfile.mkdtemp(dir=self.staging))
        try:
            yield path
        finally:
            remove_tree(path)

    def sweep(self) -> None:
        """Remove what dead processes left half-made."""
        sweep_dead(self.root / "staging")

    def release(self) -> None:
        """Remove this process's workshop, unless another part of the process is making something there."""
        with contextlib.suppress(OSError):
            os.rmdir(self.root / "staging" / owner_tag())

    def close(self) -> None:
        """Remove this process's workshop, with whatever was given up in it; nothing else may use the cache by now."""
        remove_tree(self.root / "staging" / owner_tag())


def cache_root(named: str, base: Path) -> Path:
    """Return the cache's directory: the one that is named, seen from ``base``, or the user's."""
    return base / (Path(named).expanduser() if named else platformdirs.user_cache_path("pytest-spip"))


def open_cache(root: Path) -> Cache:
    """Open the cache, creating it if need be; raises ``UsageProblem`` where it cannot be written."""
    if os.pathsep in str(root):
        what = f"{root} has a {os.pathsep!r} in its path, which no virtual environment may have"
        raise UsageProblem("--spip-cache", what, "name another directory with --spip-cache=DIR")
    cache = Cache(root)
    if cache.is_foreign:
        what = f"{root} holds other files and is no cache; what a cache has is removed in time"
        raise UsageProblem("--spip-cache", what, "name a new or an empty directory with --spip-cache=DIR")
    try:
        cache.sweep()
        with tempfile.TemporaryFile(dir=cache.staging):  # a name of its own: other threads may be opening the cache too
            pass
    except OSError as error:
        raise UsageProblem(
            "--spip-cache", f"cannot write {root} ({error.strerror})", "name a writable directory with --spip-cache=DIR"
        ) from error
    return cache
