"""Trees in the user's cache: what a suite sees of its project, or of its sdist, beside the wheel that is installed."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from pytest_spip.disk import Cache, share_file
from pytest_spip.errors import UsageProblem
from pytest_spip.model import StoredWheel, digest
from pytest_spip.provision.checkout import SOURCES, hides_wheel, project_files
from pytest_spip.provision.sdists import unpack_sdist

__all__ = ["Trees", "installed_suite"]

LAYOUT = 1
"""Raise it when other files of a source are left out: names of trees are made of it."""
TESTS = ("test/", "tests/", "conftest.py")
"""What stays even where a wheel installs it, as many do by mistake: it is what is to be run."""


class Trees:
    """The cache's trees. One never changes, and its name tells its content, or whatever that is made of."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def snapshot(self, project: Path) -> Path:
        """Return a copy of a project's files. Raises ``UsageProblem`` for one that cannot be read."""
        try:
            files = project_files(project)
            name = _content(project, files)
            self._cache.file(place := self._cache.trees / name, lambda aside: _copy(project, files, aside, name))
        except OSError as error:
            what = f"cannot read {error.filename or project} ({error.strerror})"
            raise UsageProblem("--spip-project", what, "see to its permissions") from error
        return place

    def unpacked(self, archive: Path, sha256: str) -> Path:
        """Return the content of an sdist's top directory; raises ``Failure``."""
        place = self._cache.trees / digest(LAYOUT, sha256)[:40]
        self._cache.file(place, lambda aside: _unpack(archive, aside))
        return place

    def beside(self, source: Path, wheel: StoredWheel) -> Path:
        """Return a tree without the files that a wheel installs, and without metadata of its project: both are found installed."""
        hidden = [path for path in _files(source) if _is_hidden(path, _installed(wheel.root))]
        place = self._cache.trees / digest(LAYOUT, source.name, hidden)[:40]
        self._cache.file(place, lambda aside: _link(source, frozenset(hidden), aside))
        return place


def installed_suite(tree: Path, wheel: StoredWheel) -> tuple[str, ...]:
    """Return the words by which pytest finds the tests of a wheel's packages; none where the tree beside it has tests."""
    if any(map(_is_test, _files(tree))):
        return ()
    tops = {path.partition("/")[0].removesuffix(".py") for path in _installed(wheel.root) if _is_test(path)}
    return ("--pyargs", *sorted(tops)) if tops else ()


def _is_test(path: str) -> bool:
    """Tell whether a file is one that pytest collects unless it is told otherwise."""
    name = path.rpartition("/")[2]
    return name.endswith("_test.py") or (name.startswith("test_") and name.endswith(".py"))


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


def _link(source: Path, hidden: frozenset[str], target: Path) -> None:
    target.mkdir()
    for path in _files(source):
        if path not in hidden:
            aim = target / path
            aim.parent.mkdir(parents=True, exist_ok=True)
            if (source / path).is_symlink():
                aim.symlink_to(os.readlink(source / path))
            else:
                share_file(str(source / path), str(aim))
                shutil.copymode(source / path, aim)  # a copy where links cannot be


@functools.lru_cache(maxsize=64)
def _files(tree: Path) -> tuple[str, ...]:
    """Return the paths of a tree's files and links; it never changes."""
    found = []
    for top, folders, files in os.walk(tree):
        links = [name for name in folders if os.path.islink(os.path.join(top, name))]
        found += [os.path.relpath(os.path.join(top, name), tree) for name in (*files, *links)]
    return tuple(sorted(found))


@functools.lru_cache(maxsize=64)
def _installed(root: str) -> frozenset[str]:
    """Return the paths below site-packages of a stored wheel's files."""
    return frozenset(path for scheme in ("purelib", "platlib") for path in _files(Path(root, scheme)))


def _is_hidden(path: str, installed: frozenset[str]) -> bool:
    if hides_wheel(path):
        return True
    if path.startswith(TESTS):
        return False
    return any(path.startswith(folder) and path.removeprefix(folder) in installed for folder in SOURCES)
