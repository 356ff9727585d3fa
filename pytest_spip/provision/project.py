"""The user's project: built into an sdist once, read, and copied, so that a run sees one state of it."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename

from pytest_spip.common.cache import Cache
from pytest_spip.common.trees import share_file
from pytest_spip.common.urls import file_url_to_path
from pytest_spip.errors import UsageProblem
from pytest_spip.model import DistFile, Interpreter, digest
from pytest_spip.provision.application import application_metadata, is_application, python_path
from pytest_spip.provision.checkout import DEBRIS
from pytest_spip.provision.declared import Declared, declared
from pytest_spip.provision.local import LocalSource, build_requires, local_sources, refuse_references
from pytest_spip.provision.needs import Lacking, Needs, Offer, direct_requirements, fields
from pytest_spip.provision.sdists import content_of, top_files
from pytest_spip.provision.standin import StandIns
from pytest_spip.provision.trees import Trees
from pytest_spip.provision.uv import Uv
from pytest_spip.provision.uv_output import Failure
from pytest_spip.provision.wanted import Wanted

__all__ = ["Companion", "Project", "open_project"]

OPTION = "--spip-project"


@dataclasses.dataclass(frozen=True, slots=True)
class Companion:
    """A dependency that a project takes from this machine, as a file in the cache. An index's where ``marker`` fails."""

    name: str
    file: DistFile
    marker: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Project:
    """A project at one instant: its sdist, what its tests need, and ``source``, the tree of its checkout's files.

    ``place`` is where in it the suite is run, see :class:`~pytest_spip.provision.trees.Source`.
    """

    name: str
    version: str
    sdist: DistFile
    needs: Needs
    source: Path
    place: str
    companions: tuple[Companion, ...] = ()
    paths: str = ""

    @property
    def is_application(self) -> bool:
        """Whether it runs from its checkout alone: its file has only requirements, and ``paths`` find its modules."""
        return self.sdist.kind == "wheel"

    @property
    def identity(self) -> str:
        """Equal for equal files: of the sdist, and of the tree."""
        beside = [(one.name, one.file.sha256, one.marker) for one in self.companions]
        return digest(self.name, self.version, self.sdist.sha256, self.source.name, self.place, beside, self.paths)[:40]

    def to_plain(self) -> dict[str, Any]:
        """Return plain data that JSON carries; :meth:`from_plain` is the way back."""
        return dataclasses.asdict(self) | {"source": str(self.source)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any], cache: Cache) -> Project:
        """Rebuild a project from :meth:`to_plain`'s data. Raises ``FileNotFoundError`` where its files left the cache."""
        sdist, source = DistFile(**plain["sdist"]), Path(plain["source"])
        beside = tuple(
            Companion(one["name"], DistFile(**one["file"]), one["marker"]) for one in plain.get("companions", ())
        )
        files = [file_url_to_path(file.url) for file in (sdist, *(one.file for one in beside))]
        if gone := [path for path in (source, *files) if not cache.use(path)]:
            raise FileNotFoundError(errno.ENOENT, "it is no longer in the cache", str(gone[0]))
        needs = Needs(**{name: tuple(values) for name, values in plain["needs"].items()})
        return cls(plain["name"], plain["version"], sdist, needs, source, plain["place"], beside, plain["paths"])


def open_project(
    directory: Path,
    wanted: Wanted,
    interpreter: Interpreter,
    cache: Cache,
    uv: Uv,
    *,
    interpreters: Sequence[Interpreter] = (),
    varied: Collection[str] = (),
    environ: Mapping[str, str] = os.environ,
) -> Project:
    """Build a project's sdist, by an interpreter and outside of any sandbox, and read the project.

    It is the user's own. What it takes from this machine, for one of the run's ``interpreters``, is built too, but for projects
    that are ``varied``.

    Raises ``UsageProblem`` for a project that does not build, that says nothing of itself, or that has not what was asked for;
    also what uv meets for reasons of the network.
    """
    neighbours = _Neighbours(interpreter, interpreters or [interpreter], cache, uv, varied, environ)
    name, file, metadata, pyproject = _opened(directory, neighbours, cache)
    try:
        needs = Offer(metadata, pyproject).strictly(wanted, _declared(directory, neighbours.varied))
    except Lacking as lacking:
        fix = "name those that are there" if lacking.option else "fix it"
        raise UsageProblem(lacking.option or OPTION, lacking.what, fix) from lacking
    neighbours.add(directory, name, metadata, needs.extras, needs.requirements)
    source, place = Trees(cache).snapshot(directory)
    paths = python_path(directory) if file.kind == "wheel" else ""
    return Project(name, file.version, file, needs, source, place, tuple(neighbours.found.values()), paths)


def _opened(directory: Path, neighbours: _Neighbours, cache: Cache) -> tuple[str, DistFile, str, str]:
    """Return what a project packs, or what an application depends on: who does not say which it is, is packed if that works."""
    unpackaged = is_application(directory)
    if not unpackaged:
        try:
            return neighbours.packed(directory)
        except UsageProblem:
            if unpackaged is False:
                raise
    metadata = application_metadata(directory)
    name = canonicalize_name(_only(fields(metadata, "Name"), "Name"))
    place, _ = StandIns(cache).file(name, metadata)
    pyproject = directory / "pyproject.toml"
    file = _file(place, "wheel", "0", "".join(fields(metadata, "Requires-Python")[:1]))
    return name, file, metadata, pyproject.read_text("utf-8") if pyproject.is_file() else ""


class _Neighbours:
    """Finds and packs what a project takes from this machine, and what that takes from there in turn."""

    def __init__(
        self,
        interpreter: Interpreter,
        interpreters: Sequence[Interpreter],
        cache: Cache,
        uv: Uv,
        varied: Collection[str],
        environ: Mapping[str, str],
    ) -> None:
        self._interpreter = interpreter
        self._interpreters = interpreters
        self._cache = cache
        self._uv = uv
        self._environ = environ
        self.varied = frozenset(canonicalize_name(name) for name in varied)
        self._known = set(self.varied)
        self.found: dict[tuple[str, str], Companion] = {}

    def packed(self, directory: Path) -> tuple[str, DistFile, str, str]:
        """Return a project's name, its sdist, its metadata and its ``pyproject.toml``."""
        sdist, metadata, pyproject = _built(directory, self._interpreter, self._cache, self._uv)
        name, version = (_only(fields(metadata, field), field) for field in ("Name", "Version"))
        requires_python = "".join(fields(metadata, "Requires-Python")[:1])
        return canonicalize_name(name), _file(sdist, "sdist", version, requires_python), metadata, pyproject

    def add(self, directory: Path, name: str, metadata: str, extras: Collection[str], more: Sequence[str] = ()) -> None:
        """Add what a project requires of this machine, with these extras, and ``more`` requirements."""
        self._known.add(canonicalize_name(name))
        refuse_references(fields(metadata, "Requires-Dist"), extras, self._interpreters, name)
        asked: dict[str, set[str]] = {}
        for text in (*more, *self._direct(metadata, extras)):
            one = Requirement(text)
            asked.setdefault(canonicalize_name(one.name), set()).update(one.extras)
        for text in build_requires(directory):
            if local_sources(directory, [text], self._interpreters, self._environ):
                what = f"{name} takes its build requirement {text} from [tool.uv.sources], which pytest-spip cannot"
                raise UsageProblem(OPTION, what, "set UV_NO_SOURCES=1 to take it from the index all the same")
        wanted = asked.keys() - self._known
        for source in local_sources(directory, wanted, self._interpreters, self._environ):
            self._take(source, asked[source.name])

    def _direct(self, metadata: str, extras: Collection[str]) -> dict[str, None]:
        return {
            text: None
            for one in self._interpreters
            for text in direct_requirements(metadata, tuple(extras), dict(one.markers))
        }

    def _take(self, source: LocalSource, extras: Collection[str]) -> None:
        if source.place.is_dir():
            name, file, metadata, _ = self.packed(source.place)
            self.add(source.place, name, metadata, extras)
        else:
            name, file = self._archive(source)
        if name != source.name:
            raise UsageProblem(OPTION, f"[tool.uv.sources] {source.name}: {source.place} is {name}", "fix the path")
        self._known.add(canonicalize_name(name))
        self.found[name, source.marker] = Companion(name, file, source.marker)

    def _archive(self, source: LocalSource) -> tuple[str, DistFile]:
        """Keep an archive in the cache, in a directory of its own."""
        try:
            kind = "wheel" if source.place.suffix == ".whl" else "sdist"
            parse = parse_wheel_filename if kind == "wheel" else parse_sdist_filename
            name, version = parse(source.place.name)[:2]
            sha256 = hashlib.sha256(source.place.read_bytes()).hexdigest()
        except (ValueError, OSError) as error:
            what = f"[tool.uv.sources] {source.name}: {source.place} cannot be used ({error})"
            raise UsageProblem(OPTION, what, "name a directory, a wheel or an sdist") from error
        place = self._cache.builds / "projects" / sha256[:40] / source.place.name
        self._cache.file(place, lambda staging: share_file(str(source.place), str(staging)))
        return str(name), _file(place, kind, str(version))


def _declared(directory: Path, varied: Collection[str]) -> Declared:
    """Return what a project declares for its tests elsewhere than in extras and groups; no pins of what the run varies."""
    found = declared(directory)
    parsed = [(text, Requirement(text)) for text in found.requirements]
    pins = [
        text for text, one in parsed if canonicalize_name(one.name) in varied and str(one.specifier).startswith("==")
    ]
    found.requirements = [text for text in found.requirements if text not in pins]
    found.left_out += pins
    return found


def _file(path: Path, kind: str, version: str, requires_python: str = "") -> DistFile:
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return DistFile(path.name, path.as_uri(), kind, version, sha256, requires_python=requires_python)


def _built(directory: Path, interpreter: Interpreter, cache: Cache, uv: Uv) -> tuple[Path, str, str]:
    """Return the sdist's path in the cache, its metadata, and its ``pyproject.toml``.

    Two builds of the same files differ in times: who has the same content gets the first archive, and what was built of it.
    """
    with cache.workshop() as workshop:
        try:
            made = uv.build_sdist(directory, interpreter, workshop)
        except Failure as failure:
            what = f"{directory} builds no sdist ({failure.verdict.detail})"
            raise UsageProblem(OPTION, what, f"see 'uv build --sdist {directory}'") from failure
        texts = top_files(made, ("PKG-INFO", "pyproject.toml"))
        place = cache.builds / "projects" / content_of(made, DEBRIS)[:40] / made.name
        cache.file(place, lambda staging: share_file(str(made), str(staging)))
    return place, texts.get("PKG-INFO", ""), texts.get("pyproject.toml", "")


def _only(values: list[str], field: str) -> str:
    if not values:
        raise UsageProblem(OPTION, f"the sdist's PKG-INFO has no {field}", "see its build backend")
    return values[0]
