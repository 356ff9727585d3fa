"""Resolutions: one ``pylock.toml`` (PEP 751) per combination, cached with its failures; and what a lock selects."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from packaging.pylock import (
    PackageArchive,
    PackageSdist,
    PackageWheel,
    Pylock,
    PylockSelectError,
    PylockValidationError,
)

from pytest_spip.common.cache import Cache
from pytest_spip.common.owners import owner_tag
from pytest_spip.common.tags import build_of, tags_among
from pytest_spip.errors import HarnessProblem, IndexProblem, NetworkProblem
from pytest_spip.model import DistFile, Indexes, Interpreter, digest, verdict_from_plain, verdict_to_plain
from pytest_spip.provision.provision_cache import UNDATED_KEPT
from pytest_spip.provision.resolver import BuiltWheel, Resolver, Work
from pytest_spip.provision.uv import Uv
from pytest_spip.provision.uv_output import Failure

__all__ = ["Lock", "LockResolver", "Locked", "selected"]

FORM = 2
"""Raise it when requirements could resolve otherwise than they did."""
OFFERED = "built.txt"
"""Beside a lock that names wheels built here: where they are."""


@dataclasses.dataclass(frozen=True, slots=True)
class Lock:
    """A resolution's file and text. ``fresh`` says whether uv was asked just now, ``work`` what was built for it.

    ``needs`` are wheels built here that it names: without them it would be made again.
    """

    path: Path
    text: str
    fresh: bool
    work: Work
    needs: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Locked:
    """One project of a lock: its name and the file that was selected for the interpreter."""

    name: str
    file: DistFile


class LockResolver:
    """Asks uv at most once for equal requirements, interpreters, indexes and dates.

    ``level`` is the sandboxes' of builds; with ``wheels_only`` there are none.
    """

    def __init__(
        self,
        cache: Cache,
        uv: Uv,
        resolver: Resolver,
        indexes: Indexes,
        exclude_newer: str,
        level: int,
        *,
        wheels_only: bool = False,
    ) -> None:
        self._cache = cache
        self._uv = uv
        self._resolver = resolver
        self._indexes = indexes
        self._exclude_newer = exclude_newer
        self._sort = level, wheels_only
        self._oldest = time.time() - UNDATED_KEPT

    def lock(
        self,
        requirements: Sequence[str],
        interpreter: Interpreter,
        own: Sequence[BuiltWheel] = (),
        resolution: str = "",
    ) -> Lock:
        """Return the lock of requirements, the most important first; ``own`` are wheels that were built of what they name.

        Raises ``Failure``, also a remembered one, ``NetworkProblem`` and ``HarnessProblem``.
        """
        work = Work()
        place = self._cache.locks / (key := self._key(requirements, interpreter, own, resolution))[:2] / key

        def make(staging: Path) -> None:
            staging.mkdir()
            self._resolve(requirements, interpreter, own, resolution, staging, work)

        try:
            fresh = self._cache.file(place, make, stale=self._is_stale)
        except NetworkProblem:
            if not place.exists():
                raise
            fresh = False  # an old answer is better than none
        return self._cache.read(place, lambda place: _kept(place, fresh, work))

    def _key(
        self, requirements: Sequence[str], interpreter: Interpreter, own: Sequence[BuiltWheel], resolution: str
    ) -> str:
        """Credentials do not count: a token of today resolves as yesterday's did."""
        who = interpreter.id, interpreter.path, interpreter.platforms[:1]
        where = FORM, *who, self._uv.places, self._exclude_newer, self._sort
        return digest(requirements, *where, [wheel.sha256 for wheel in own], resolution or "highest")[:40]

    def _is_stale(self, place: Path) -> bool:
        if not self._cache.use(*_needs(place)):
            return True  # somebody cleared away what was built
        with contextlib.suppress(FileNotFoundError):
            plain = json.loads((place / "failure.json").read_text("utf-8"))
            if plain["process"] not in ("", owner_tag()):
                return True
        if self._exclude_newer or self._indexes.offline:
            return False
        with contextlib.suppress(FileNotFoundError):
            return any(path.stat().st_mtime < self._oldest for path in place.iterdir())
        return False

    def _resolve(
        self,
        requirements: Sequence[str],
        interpreter: Interpreter,
        own: Sequence[BuiltWheel],
        resolution: str,
        place: Path,
        work: Work,
    ) -> None:
        lock = place / "pylock.toml"
        try:
            self._resolver.resolve(requirements, interpreter, lock, work, own, resolution)
            text = lock.read_text("utf-8")
            if built := [str(path) for path in work.offered if path.as_uri() in text]:
                (place / OFFERED).write_text("\n".join(built), "utf-8")
        except Failure as failure:
            plain = {"verdict": verdict_to_plain(failure.verdict), "output": failure.output}
            plain |= {"process": "" if failure.lasting else owner_tag()}
            (place / "failure.json").write_text(json.dumps(plain), "utf-8")


def _kept(place: Path, fresh: bool, work: Work) -> Lock:
    with contextlib.suppress(FileNotFoundError):
        plain = json.loads((place / "failure.json").read_text("utf-8"))
        raise Failure(verdict_from_plain(plain["verdict"]), plain["output"], fresh=fresh)
    path = place / "pylock.toml"
    return Lock(path, path.read_text("utf-8"), fresh, work, _needs(place))


def _needs(place: Path) -> tuple[str, ...]:
    with contextlib.suppress(FileNotFoundError):
        return tuple((place / OFFERED).read_text("utf-8").splitlines())
    return ()


def selected(text: str, interpreter: Interpreter) -> tuple[Locked, ...]:
    """Return the files that a lock selects for an interpreter, by the rules of PEP 751.

    Raises ``IndexProblem`` for a lock that breaks those rules, as one without tables of hashes does, and ``HarnessProblem`` for one
    that does not fit the interpreter.
    """
    try:
        lock = _best_builds_first(Pylock.from_dict(tomllib.loads(text)))
        tags = tags_among((wheel.filename for package in lock.packages for wheel in package.wheels or ()), interpreter)
        chosen = list(lock.select(environment=dict(interpreter.markers), tags=tags))  # type: ignore[arg-type]  # our markers are complete
        return tuple(
            Locked(package.name, _file(package.name, str(package.version), source)) for package, source in chosen
        )
    except PylockValidationError as error:
        raise IndexProblem("of the lock", f"what it lists cannot be used ({error})") from error
    except PylockSelectError as error:
        raise HarnessProblem(f"the lock does not fit {interpreter.label}: {error}") from error


def _best_builds_first(lock: Pylock) -> Pylock:
    """Return a lock whose wheels that differ in their build alone come in the order of preference: the first is selected."""
    packages = [
        dataclasses.replace(
            package, wheels=sorted(package.wheels, key=lambda wheel: build_of(wheel.filename), reverse=True)
        )
        if package.wheels and len(package.wheels) > 1
        else package
        for package in lock.packages
    ]
    return dataclasses.replace(lock, packages=packages)


def _file(name: str, version: str, source: object) -> DistFile:
    if not isinstance(source, PackageWheel | PackageSdist | PackageArchive):
        raise HarnessProblem(f"{name}: the lock names neither a wheel nor an sdist")
    url = source.url or Path(source.path or "").absolute().as_uri()
    filename = unquote(urlsplit(url).path.rpartition("/")[2]) if isinstance(source, PackageArchive) else source.filename
    return DistFile(
        filename, url, "wheel" if filename.endswith(".whl") else "sdist", version, source.hashes.get("sha256", "")
    )
