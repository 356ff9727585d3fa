"""Wheels built from sdists: once per interpreter, or once for all where that is sound. Failures are kept with their log."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from pytest_spip.disk import Cache
from pytest_spip.errors import BadWheel, IndexProblem, NetworkProblem
from pytest_spip.model import (
    DistFile,
    Interpreter,
    Limits,
    Outcome,
    Phase,
    Reason,
    Verdict,
    digest,
    verdict_from_plain,
    verdict_to_plain,
)
from pytest_spip.provision.backends import Backends, asks_for_more
from pytest_spip.provision.chain import Chain
from pytest_spip.provision.confined import Confine
from pytest_spip.provision.hooks import LIMITS, Hooks, Yard
from pytest_spip.provision.plain import is_plain
from pytest_spip.provision.resolver import BuiltWheel, Releases, Resolver, accepts
from pytest_spip.provision.sdists import BuildSystem, build_system, unpack_sdist
from pytest_spip.provision.store import check_wheel
from pytest_spip.provision.uv import Failure, Uv
from pytest_spip.web import Web, file_url_to_path, redact

__all__ = ["Builder", "refuse_unchecked", "sha256_of"]

FAILURE_KEPT = 7 * 86400.0
"""Seconds a failure counts when no date pins the build requirements: a newer backend may mend it."""


@dataclasses.dataclass(frozen=True, slots=True)
class _FailedBuild:
    """A build that failed on the interpreter whose id is ``builder``."""

    builder: str
    verdict: Verdict
    output: str
    fresh: bool


WAY = 2
"""Raise it when builds find other surroundings than they did: what failed then may succeed now."""


class Builder:
    """Builds sdists in sandboxes, under look, lock, look again. ``slots`` bounds how many build at once."""

    def __init__(
        self,
        cache: Cache,
        web: Web,
        uv: Uv,
        confine: Confine,
        releases: Releases,
        *,
        exclude_newer: str,
        slots: int,
        environ: Mapping[str, str] = os.environ,
        limits: Limits = LIMITS,
    ) -> None:
        self._cache = cache
        self._web = web
        self._uv = uv
        self._confine = confine
        self._environ = environ
        self._limits = limits
        self.resolver = Resolver(uv, releases, self.wheel)
        self._backends = Backends(cache, uv, self.resolver, exclude_newer)
        self._exclude_newer = exclude_newer
        self._slots = threading.BoundedSemaphore(slots)
        self._chain = Chain()

    def wheel(self, project: str, sdist: DistFile, interpreter: Interpreter) -> BuiltWheel:
        """Return the sdist's wheel for an interpreter; raises ``Failure``, also a remembered one, and ``NetworkProblem``."""
        sdist, archive = self.fetch(sdist)
        with self._chain.waiting_for(sdist.sha256, sdist.filename):
            for scope in ("any", interpreter.id) if is_plain(archive) else (interpreter.id,):
                match self._built(project, archive, sdist, interpreter, scope):
                    case BuiltWheel() as built if built.serves(interpreter):
                        return built
                    case _FailedBuild(builder=interpreter.id) as failed:
                        raise Failure(failed.verdict, failed.output, fresh=failed.fresh)
        raise AssertionError("what an interpreter built itself serves it, or failed on it")

    def fetch(self, sdist: DistFile) -> tuple[DistFile, Path]:
        """Return the file where we keep it; one of this machine that nobody gave a hash is known by what it holds."""
        if not sdist.sha256 and sdist.url.startswith("file:"):
            sdist = dataclasses.replace(sdist, sha256=sha256_of(file_url_to_path(sdist.url)))
        refuse_unchecked(sdist)
        place = self._cache.builds / "sdists" / sdist.sha256 / sdist.filename
        self._cache.file(place, lambda aside: self._web.download(sdist.url, aside, sdist.sha256))
        return sdist, place

    def _built(
        self, project: str, archive: Path, sdist: DistFile, interpreter: Interpreter, scope: str
    ) -> BuiltWheel | _FailedBuild:
        place = self._cache.builds / digest(WAY, sdist.sha256, scope, self._exclude_newer, self._confine.level)[:40]
        fresh = self._cache.file(
            place, lambda aside: self._make(project, archive, sdist, interpreter, aside), stale=self._is_stale
        )
        plain = self._cache.read(place, _outcome)
        if "verdict" in plain:
            return _FailedBuild(plain["builder"], verdict_from_plain(plain["verdict"]), plain["output"], fresh)
        return BuiltWheel(place / plain["wheel"], plain["sha256"], plain["builder"], fresh)

    def _is_stale(self, place: Path) -> bool:
        """A failure counts for a while, and for the indexes that the build requirements were looked for on."""
        with contextlib.suppress(FileNotFoundError):
            age = time.time() - (place / "build.log").stat().st_mtime
            return _outcome(place).get("places") != self._uv.places or (not self._exclude_newer and age > FAILURE_KEPT)
        return False

    def _make(self, project: str, archive: Path, sdist: DistFile, interpreter: Interpreter, place: Path) -> None:
        """Build aside; a failure is a result too. Raises only what says nothing about the sdist."""
        place.mkdir()
        outcome: dict[str, object] = {"builder": interpreter.id, "places": self._uv.places}
        try:
            wheel = self._build(archive, interpreter, place)
            _check_identity(wheel.name, project, sdist, interpreter)
            _check_wheel(wheel, sdist)
            outcome |= {"wheel": wheel.name, "sha256": sha256_of(wheel)}
        except Failure as failure:
            (place / "build.log").write_text(failure.output, "utf-8")
            outcome |= {"verdict": verdict_to_plain(failure.verdict), "output": failure.output}
        (place / "build.json").write_text(json.dumps(outcome), "utf-8")

    def _build(self, archive: Path, interpreter: Interpreter, target: Path) -> Path:
        """Build a wheel into a directory, with a yard beside it that goes with the workshop."""
        yard = Yard(target.parent / "yard")
        source = unpack_sdist(archive, yard.tree / "source")
        system = build_system(source)
        environment = self._backends.environment(system.requires, interpreter)
        if asks_for_more(source, system, environment):
            with self._hooks(source, system, yard, environment, interpreter) as hooks:
                more = hooks.requires()
                if not more:
                    return hooks.wheel(target)
            environment = self._backends.environment((*system.requires, *more), interpreter)
        with self._hooks(source, system, yard, environment, interpreter) as hooks:
            return hooks.wheel(target)

    @contextlib.contextmanager
    def _hooks(
        self, source: Path, system: BuildSystem, yard: Yard, environment: Path, interpreter: Interpreter
    ) -> Iterator[Hooks]:
        """Open a sandbox around a build; requirements are had before, for to have them others may have to be built."""
        place = environment.resolve()
        with self._slots, self._confine(interpreter.path, environment=str(place), write=yard.writable) as run:
            yield Hooks(
                source, system, yard, str(place / "bin" / "python"), run, environ=self._environ, limits=self._limits
            )


def refuse_unchecked(file: DistFile) -> None:
    """Raise ``IndexProblem`` for a file from elsewhere that nobody gave a hash: what cannot be checked is not opened."""
    if not file.sha256 and not file.url.startswith("file:"):
        raise IndexProblem(redact(file.url), "no sha256 is listed, and what cannot be checked is not opened")


def _outcome(place: Path) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads((place / "build.json").read_text("utf-8"))
    return plain


def sha256_of(path: Path) -> str:
    """Return a file's hash; raises ``NetworkProblem`` where there is none, for its place was listed."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise NetworkProblem(f"{path}: {error.strerror}") from error


def _check_identity(filename: str, project: str, sdist: DistFile, interpreter: Interpreter) -> None:
    """An sdist must build the project and version it is named after, in a form its builder can use."""
    detail = f"{sdist.filename} builds {filename}"
    try:
        name, version, _, _ = parse_wheel_filename(filename)
    except InvalidWheelFilename:
        raise _bad_metadata(detail) from None
    if (name, version) != (canonicalize_name(project), Version(sdist.version)):
        raise _bad_metadata(detail)
    if not accepts(filename, interpreter):
        raise _bad_metadata(f"{detail}, which does not fit {interpreter.label}")


def _check_wheel(wheel: Path, sdist: DistFile) -> None:
    """A wheel is offered to uv before the store sees it, so it is looked at here."""
    try:
        check_wheel(wheel)
    except BadWheel as error:
        raise _bad_metadata(f"{sdist.filename} builds {error}") from error


def _bad_metadata(detail: str) -> Failure:
    return Failure(Verdict(Outcome.FAILED, Phase.BUILD, Reason.BAD_METADATA, detail), detail)
