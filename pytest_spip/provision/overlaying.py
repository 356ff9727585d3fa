"""Which of a wheel's files lie over a checkout's, so that whichever copy of a package is imported is the wheel's code."""

from __future__ import annotations

import functools
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from pytest_spip.provision.checkout import SOURCES

__all__ = ["files_below", "installed_files", "is_test", "laid_files"]

SUITES = ("test", "tests", "testing")
"""Names of directories that hold a suite in most checkouts, and in some wheels the package of that name."""
METADATA = (".dist-info", ".data", ".egg-info")
LIBRARIES = ".libs"
"""Ends the name of a directory beside a package, in which its extension modules look for shared libraries (auditwheel)."""
BINARY = (".so", ".pyd", ".dylib")


@functools.lru_cache(maxsize=64)
def files_below(tree: Path) -> tuple[str, ...]:
    """Return the paths of a tree's files and links; it never changes."""
    found = []
    for top, folders, files in os.walk(tree):
        links = [name for name in folders if os.path.islink(os.path.join(top, name))]
        found += [os.path.relpath(os.path.join(top, name), tree) for name in (*files, *links)]
    return tuple(sorted(found))


@functools.lru_cache(maxsize=64)
def installed_files(root: str) -> Mapping[str, Path]:
    """Return the files of a stored wheel that belong into site-packages, by path below it, without metadata and bytecode."""
    found = {}
    for scheme in ("purelib", "platlib"):
        for path in files_below(Path(root, scheme)):
            parts = path.split("/")
            if not parts[0].endswith(METADATA) and "__pycache__" not in parts:
                found[path] = Path(root, scheme, path)
    return found


def is_test(path: str) -> bool:
    """Return True for a file that pytest collects unless its settings say otherwise."""
    name = path.rpartition("/")[2]
    return name.endswith("_test.py") or (name.startswith("test_") and name.endswith(".py"))


@functools.lru_cache(maxsize=64)
def laid_files(project: Path, root: str) -> Mapping[str, Path]:
    """Return the files of a stored wheel that lie over those of a project, by their path there.

    They are those that the project lacks in a package's directory, or has with other contents: extension modules, generated and
    rewritten files. Tests and conftests stay as they are, and none are added: what is collected is the checkout's.
    """
    installed = installed_files(root)
    checkout = _Checkout(project)
    laid: dict[str, Path] = {}
    binary = ""
    for unit, paths in _units(installed).items():
        place = checkout.place_of(unit, {path: installed[path] for path in paths})
        if place is None:
            continue
        for path in paths:
            target = os.path.normpath(place + path.removeprefix(unit))
            if not _is_suites_own(path) and checkout.lacks(target, installed[path]):
                laid[target] = installed[path]
                if path.endswith(BINARY):
                    binary = place.removesuffix(unit)
    if any(target.endswith(BINARY) for target in laid):
        libraries = [path for path in installed if path.partition("/")[0].endswith(LIBRARIES)]
        laid |= {binary + path: installed[path] for path in libraries}
    return laid


def _is_suites_own(path: str) -> bool:
    return is_test(path) or path.rpartition("/")[2] == "conftest.py"


def _units(paths: Iterable[str]) -> Mapping[str, list[str]]:
    """Return a wheel's files by what they are looked for together with.

    That is the outermost directory above a file that is a regular package, or else its own directory: the portions of a namespace
    may lie in different places (PEP 420). A module at the top is looked for alone.
    """
    packages = {path.rpartition("/")[0] for path in paths if path.rpartition("/")[2].partition(".")[0] == "__init__"}
    units: dict[str, list[str]] = {}
    for path in paths:
        above = [str(folder) for folder in reversed(PurePosixPath(path).parents)][1:]
        unit = next((folder for folder in above if folder in packages), above[-1] if above else path)
        units.setdefault(unit, []).append(path)
    return units


class _Checkout:
    """The files of a project, to find packages among."""

    def __init__(self, project: Path) -> None:
        self._project = project
        self._files = frozenset(files_below(project))
        folders = {str(folder) for path in self._files for folder in PurePosixPath(path).parents}
        self._folders = folders - {"."}
        self._named = _package_directories(project)

    def place_of(self, unit: str, files: Mapping[str, Path]) -> str | None:
        """Return the path at which a unit's sources lie; None where there are none.

        Of several it is the one that has the most files in common with the wheel, by content before path.
        """
        if unit in files:  # a module
            places = [folder + unit for folder in SOURCES if folder + unit in self._files]
            return max(places, key=lambda place: self._is_equal(place, files[unit]), default=None)
        scores = {place: self._score(unit, place, files) for place in self._places(unit)}
        found = [place for place, (_, same, enough) in scores.items() if same and enough]
        return max(found, key=lambda place: scores[place][:2], default=None)  # of equal ones the first

    def _places(self, unit: str) -> Iterator[str]:
        """Yield where a package's directory might be, the usual places first."""
        usual = [folder + unit for folder in ("src/", *SOURCES)]
        other = sorted(folder for folder in self._folders if folder.endswith(f"/{unit}"))
        for place in dict.fromkeys((*_renamed(unit, self._named), *usual, *other)):
            if place in self._folders:
                yield place

    def _score(self, unit: str, place: str, files: Mapping[str, Path]) -> tuple[int, int, bool]:
        """Return how many files are equal and how many have the same path, and whether these are enough."""
        pairs = {place + path.removeprefix(unit): file for path, file in files.items()}
        there = [path for path in pairs if path in self._files]
        equal = sum(self._is_equal(path, pairs[path]) for path in there)
        enough = place.rpartition("/")[2] not in SUITES or 2 * len(there) >= len(pairs)
        return equal, len(there), enough

    def _is_equal(self, path: str, file: Path) -> bool:
        try:
            ours = self._project / path
            return ours.stat().st_size == file.stat().st_size and ours.read_bytes() == file.read_bytes()
        except OSError:  # a link that leads nowhere
            return False

    def lacks(self, path: str, file: Path) -> bool:
        """Return True if a file of a wheel is not there, nor anything else in its way, or is there with another content."""
        if path in self._files:
            return not (self._project / path).is_symlink() and not self._is_equal(path, file)
        return path not in self._folders and not any(str(above) in self._files for above in PurePosixPath(path).parents)


def _renamed(unit: str, named: Mapping[str, str]) -> Iterator[str]:
    for package, folder in named.items():
        if unit == package or unit.startswith(f"{package}/"):
            yield os.path.normpath(folder + unit.removeprefix(package))


def _package_directories(project: Path) -> Mapping[str, str]:
    """Return the directories, by path of the package, that a project's settings for setuptools name packages' sources by."""
    try:
        tool = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-dir"]
        return {name.replace(".", "/"): str(folder) for name, folder in tool.items() if name}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
