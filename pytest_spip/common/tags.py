"""Which files of a release an interpreter accepts: wheel tags and Requires-Python."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import Tag, compatible_tags, cpython_tags, generic_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from pytest_spip.model import DistFile, Interpreter, Release

__all__ = [
    "accepts_python",
    "best_wheel",
    "build_of",
    "is_new_enough",
    "needs_build",
    "pick_file",
    "supported_tags",
    "tags_among",
    "usable_files",
]


@functools.lru_cache(maxsize=64)
def supported_tags(interpreter: Interpreter) -> tuple[Tag, ...]:
    """Return the interpreter's tags, best first.

    ``packaging.tags.sys_tags`` speaks only of the running interpreter, and packaging does not run on the oldest targets.
    """
    short = f"{'cp' if interpreter.implementation == 'cpython' else 'pp'}{interpreter.minor[0]}{interpreter.minor[1]}"
    platforms = list(interpreter.platforms)
    if interpreter.implementation == "cpython":
        own = list(cpython_tags(interpreter.minor, abis=interpreter.abis, platforms=platforms))
    else:
        own = list(generic_tags(short, abis=interpreter.abis, platforms=platforms))
    return (*own, *compatible_tags(interpreter.minor, interpreter=short, platforms=platforms))


@functools.lru_cache(maxsize=64)
def _ranks(interpreter: Interpreter) -> dict[Tag, int]:
    return {tag: rank for rank, tag in reversed(list(enumerate(supported_tags(interpreter))))}


@functools.lru_cache(maxsize=65536)
def _wheel_tags(filename: str) -> frozenset[Tag]:
    try:
        return parse_wheel_filename(filename)[3]
    except (InvalidWheelFilename, InvalidVersion):
        return frozenset()


def tags_among(filenames: Iterable[str], interpreter: Interpreter) -> Sequence[Tag]:
    """Return those of the interpreter's tags that files bear, best first: of its thousand, those that can matter."""
    ranks = _ranks(interpreter)
    borne = frozenset().union(*map(_wheel_tags, filenames))
    return sorted((tag for tag in borne if tag in ranks), key=ranks.__getitem__)


@functools.lru_cache(maxsize=65536)
def build_of(filename: str) -> tuple[()] | tuple[int, str]:
    """Return a wheel's build tag, which orders wheels that are equal otherwise: none is the lowest."""
    try:
        return parse_wheel_filename(filename)[2]
    except (InvalidWheelFilename, InvalidVersion):
        return ()


def _rank(filename: str, interpreter: Interpreter) -> int | None:
    ranks = _ranks(interpreter)
    known = [ranks[tag] for tag in _wheel_tags(filename) if tag in ranks]
    return min(known) if known else None


def best_wheel(files: Sequence[DistFile], interpreter: Interpreter) -> DistFile | None:
    """Return the wheel whose tag the interpreter likes best, the highest build of those, or None."""
    ranked = [
        (-rank, build_of(file.filename), file)
        for file in files
        if file.kind == "wheel" and (rank := _rank(file.filename, interpreter)) is not None
    ]
    return max(ranked, key=lambda one: one[:2])[2] if ranked else None


def pick_file(files: Sequence[DistFile], interpreter: Interpreter) -> DistFile | None:
    """Return what an installer would take: the best wheel, else an sdist, else None."""
    sdists = (file for file in files if file.kind == "sdist")
    return best_wheel(files, interpreter) or next(sdists, None)


def needs_build(release: Release, interpreter: Interpreter) -> bool:
    """Return True if a release must be built for an interpreter, which offers it no wheel."""
    if not any(file.kind == "sdist" for file in release.files):
        return False
    return best_wheel(usable_files(release.files, interpreter), interpreter) is None


@functools.lru_cache(maxsize=4096)
def accepts_python(requires_python: str, version: str) -> bool:
    """Return True if Requires-Python admits a full Python version; both bounds count, as the core metadata say.

    A pre-release of Python counts as the release it leads to, as for pip and uv: 3.15.0a1 is what ">=3.15" waits for.
    Invalid specifiers admit everything: installers ignore them too.
    """
    try:
        return SpecifierSet(requires_python).contains(Version(version).base_version, prereleases=True)
    except (InvalidSpecifier, InvalidVersion):
        return True


@functools.lru_cache(maxsize=4096)
def is_new_enough(requires_python: str, version: str) -> bool:
    """Return True if a full Python version meets the lower bounds of Requires-Python: uv looks at no others of a dependency."""
    try:
        known = Version(Version(version).base_version)
        for bound in SpecifierSet(requires_python):
            lowest = Version(bound.version.removesuffix(".*"))
            if bound.operator in (">=", "~=", "==", "===") and known < lowest:
                return False
            if bound.operator == ">" and known <= lowest:
                return False
    except (InvalidSpecifier, InvalidVersion):
        return True
    return True


def usable_files(files: Sequence[DistFile], interpreter: Interpreter) -> tuple[DistFile, ...]:
    """Return the files whose Requires-Python admits the interpreter."""
    return tuple(file for file in files if accepts_python(file.requires_python, interpreter.version))
