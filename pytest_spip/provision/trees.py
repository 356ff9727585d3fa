"""Trees in the user's cache: what a suite sees of its project, or of its sdist, beside the wheel that is installed."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pytest_spip.common.cache import Cache
from pytest_spip.common.trees import share_file
from pytest_spip.errors import UsageProblem
from pytest_spip.model import StoredWheel, digest
from pytest_spip.provision.checkout import checkout_of
from pytest_spip.provision.overlaying import files_below, installed_files, is_test, laid_files
from pytest_spip.provision.sdists import unpack_sdist

__all__ = ["Source", "Trees", "installed_suite"]

LAYOUT = 2
"""Raise it when other files of a source are left out: names of trees are made of it."""


class Source(NamedTuple):
    """A tree, and where its suite is run: the name that the tree's top goes by, and the path below it."""

    tree: Path
    place: str

    @property
    def below(self) -> str:
        """The project's path below the tree's top."""
        return self.place.partition("/")[2]


class Trees:
    """The cache's trees. One never changes, and its name identifies its content, or whatever that is made of."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def snapshot(self, project: Path) -> Source:
        """Return a copy of the files of a project's checkout. Raises ``UsageProblem`` for one that cannot be read."""
        try:
            top, below, files = checkout_of(project)
            name = _content(top, files)
            self._cache.file(tree := self._cache.trees / name, lambda staging: _copy(top, files, staging, name))
        except OSError as error:
            what = f"cannot read {error.filename or project} ({error.strerror})"
            raise UsageProblem("--spip-project", what, "see to its permissions") from error
        return Source(tree, "/".join(filter(None, (top.name or "project", below))))

    def unpacked(self, archive: Path, sha256: str) -> Path:
        """Return the content of an sdist's top directory; raises ``Failure``."""
        place = self._cache.trees / digest(LAYOUT, sha256)[:40]
        self._cache.file(place, lambda staging: _unpack(archive, staging))
        return place

    def overlaid(self, source: Path, below: str, wheel: StoredWheel) -> Path:
        """Return a tree with all files of another, in which a wheel's lie over those of the project ``below`` its top."""
        if not source.is_dir():
            raise FileNotFoundError(errno.ENOENT, "it left the cache", str(source))
        laid = {os.path.join(below, path): file for path, file in laid_files(source / below, wheel.root).items()}
        if not laid:
            return source
        place = (
            self._cache.trees
            / digest(LAYOUT, source.name, [(path, *_state(file)) for path, file in sorted(laid.items())])[:40]
        )
        self._cache.file(place, lambda staging: _link(source, laid, staging))
        return place


def installed_suite(tree: Path, wheel: StoredWheel) -> tuple[str, ...]:
    """Return the words by which pytest finds the tests of a wheel's packages; none where the tree beside it has tests."""
    if any(map(is_test, files_below(tree))):
        return ()
    tops = {path.partition("/")[0].removesuffix(".py") for path in installed_files(wheel.root) if is_test(path)}
    return ("--pyargs", *sorted(tops)) if tops else ()


def _unpack(archive: Path, target: Path) -> None:
    unpack_sdist(archive, target.with_name("unpacked")).rename(target)


def _content(root: Path, files: Sequence[str]) -> str:
    """Return a digest of the files below a directory: paths, contents, and whether they are executable."""
    return digest(LAYOUT, [(path, *_state(root / path)) for path in files])[:40]


def _state(path: Path) -> tuple[str, bool]:
    if path.is_symlink():
        return f"-> {os.readlink(path)}", False
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest(), bool(path.stat().st_mode & 0o100)


def _copy(project: Path, files: Sequence[str], target: Path, name: str) -> None:
    target.mkdir()
    for path in files:
        aim = target / path
        aim.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(project / path, aim, follow_symlinks=False)
        if not aim.is_symlink():
            aim.chmod(0o755 if (project / path).stat().st_mode & 0o100 else 0o644)
    if _content(target, files) != name:
        raise UsageProblem("--spip-project", f"the files of {project} change while they are read", "try again")


def _link(source: Path, laid: Mapping[str, Path], target: Path) -> None:
    target.mkdir()
    for path in files_below(source):
        if path not in laid:
            aim = target / path
            aim.parent.mkdir(parents=True, exist_ok=True)
            if (source / path).is_symlink():
                aim.symlink_to(os.readlink(source / path))
            else:
                share_file(str(source / path), str(aim))
                shutil.copymode(source / path, aim)  # a copy where links cannot be
    for path, file in laid.items():
        aim = target / path
        aim.parent.mkdir(parents=True, exist_ok=True)
        share_file(str(file), str(aim))
        shutil.copymode(file, aim)
