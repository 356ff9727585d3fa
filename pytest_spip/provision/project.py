"""The user's project: built into an sdist once, read, and copied, so that a run sees one state of it."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from pytest_spip.disk import Cache, share_file
from pytest_spip.errors import UsageProblem
from pytest_spip.model import DistFile, Interpreter, digest
from pytest_spip.provision.checkout import DEBRIS
from pytest_spip.provision.needs import Lacking, Needs, Offer, Wanted, fields
from pytest_spip.provision.sdists import content_of, top_files
from pytest_spip.provision.trees import Trees
from pytest_spip.provision.uv import Failure, Uv
from pytest_spip.web import file_url_to_path

__all__ = ["Project", "open_project"]

OPTION = "--spip-project"


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

    @property
    def identity(self) -> str:
        """Equal for equal files: of the sdist, and of the tree."""
        return digest(self.name, self.version, self.sdist.sha256, self.source.name, self.place)[:40]

    def to_plain(self) -> dict[str, Any]:
        """Return plain data that JSON carries; :meth:`from_plain` is the way back."""
        return dataclasses.asdict(self) | {"source": str(self.source)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Project:
        """Rebuild a project from :meth:`to_plain`'s data. Raises ``FileNotFoundError`` where its files left the cache."""
        sdist, source = DistFile(**plain["sdist"]), Path(plain["source"])
        if gone := [path for path in (source, file_url_to_path(sdist.url)) if not path.exists()]:
            raise FileNotFoundError(errno.ENOENT, "it is no longer in the cache", str(gone[0]))
        needs = Needs(**{name: tuple(values) for name, values in plain["needs"].items()})
        return cls(plain["name"], plain["version"], sdist, needs, source, plain["place"])


def open_project(directory: Path, wanted: Wanted, interpreter: Interpreter, cache: Cache, uv: Uv) -> Project:
    """Build a project's sdist, by an interpreter and outside of any sandbox, for it is the user's own; and read the project.

    Raises ``UsageProblem`` for a project that does not build, that says nothing of itself, or that has not what was asked for;
    also what uv meets for reasons of the network.
    """
    sdist, metadata, pyproject = _built(directory, interpreter, cache, uv)
    name, version = (_only(fields(metadata, field), field) for field in ("Name", "Version"))
    file = DistFile(
        sdist.name,
        sdist.as_uri(),
        "sdist",
        version,
        hashlib.sha256(sdist.read_bytes()).hexdigest(),
        requires_python="".join(fields(metadata, "Requires-Python")[:1]),
    )
    try:
        needs = Offer(metadata, pyproject).strictly(wanted)
    except Lacking as lacking:
        mend = "name those that are there" if lacking.option else "mend it"
        raise UsageProblem(lacking.option or OPTION, lacking.what, mend) from lacking
    return Project(canonicalize_name(name), version, file, needs, *Trees(cache).snapshot(directory))


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
        cache.file(place, lambda aside: share_file(str(made), str(aside)))
    return place, texts.get("PKG-INFO", ""), texts.get("pyproject.toml", "")


def _only(values: list[str], field: str) -> str:
    if not values:
        raise UsageProblem(OPTION, f"the sdist's PKG-INFO has no {field}", "see its build backend")
    return values[0]
