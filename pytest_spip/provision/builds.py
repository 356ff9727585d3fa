"""Wheels built from sdists: once per interpreter, or once for all where that is sound. Failures are kept with their log."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import hashlib
import json
import threading
import time
import tomllib
from pathlib import Path
from typing import Any

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from pytest_spip.compat import best_wheel
from pytest_spip.disk import Cache
from pytest_spip.errors import IndexProblem, NetworkProblem
from pytest_spip.model import (
    DistFile,
    Interpreter,
    Outcome,
    Phase,
    Reason,
    Verdict,
    digest,
    verdict_from_plain,
    verdict_to_plain,
)
from pytest_spip.provision.backends import Backends, top_files
from pytest_spip.provision.uv import Failure, Uv
from pytest_spip.web import Web, file_url_to_path, redact

__all__ = ["Builder", "BuiltWheel", "is_plain", "refuse_unchecked"]

FAILURE_KEPT = 7 * 86400.0
"""Seconds a failure counts when no date pins the build requirements: a newer backend may mend it."""


@dataclasses.dataclass(frozen=True, slots=True)
class BuiltWheel:
    """A wheel built here. ``builder`` is the interpreter's id, ``fresh`` tells whether it was built just now."""

    path: Path
    sha256: str
    builder: str
    fresh: bool

    def serves(self, interpreter: Interpreter) -> bool:
        """Tell whether the wheel is good for an interpreter, built by it or by another."""
        universal = self.path.name.endswith("-none-any.whl")
        return _accepts(self.path.name, interpreter) and (universal or self.builder == interpreter.id)


@dataclasses.dataclass(frozen=True, slots=True)
class _FailedBuild:
    """A build that failed on the interpreter whose id is ``builder``."""

    builder: str
    verdict: Verdict
    output: str
    fresh: bool


class Builder:
    """Builds sdists under look, lock, look again. ``slots`` bounds how many build at once."""

    def __init__(self, cache: Cache, web: Web, uv: Uv, *, exclude_newer: str, slots: int) -> None:
        self._cache = cache
        self._web = web
        self._uv = uv
        self._backends = Backends(cache, uv, exclude_newer)
        self._exclude_newer = exclude_newer
        self._slots = threading.BoundedSemaphore(slots)

    def wheel(self, project: str, sdist: DistFile, interpreter: Interpreter) -> BuiltWheel:
        """Return the sdist's wheel for an interpreter; raises ``Failure``, also a remembered one, and ``NetworkProblem``."""
        sdist, archive = self._fetch(sdist)
        for scope in ("any", interpreter.id) if is_plain(archive) else (interpreter.id,):
            match self._built(project, archive, sdist, interpreter, scope):
                case BuiltWheel() as built if built.serves(interpreter):
                    return built
                case _FailedBuild(builder=interpreter.id) as failed:
                    raise Failure(failed.verdict, failed.output, fresh=failed.fresh)
        raise AssertionError("what an interpreter built itself serves it, or failed on it")

    def _fetch(self, sdist: DistFile) -> tuple[DistFile, Path]:
        """Return the file where we keep it; one of this machine that nobody gave a hash is known by what it holds."""
        if not sdist.sha256 and sdist.url.startswith("file:"):
            sdist = dataclasses.replace(sdist, sha256=_sha256(file_url_to_path(sdist.url)))
        refuse_unchecked(sdist)
        place = self._cache.builds / "sdists" / sdist.sha256 / sdist.filename
        self._cache.file(place, lambda aside: self._web.download(sdist.url, aside, sdist.sha256))
        return sdist, place

    def _built(
        self, project: str, archive: Path, sdist: DistFile, interpreter: Interpreter, scope: str
    ) -> BuiltWheel | _FailedBuild:
        place = self._cache.builds / digest(sdist.sha256, scope, self._exclude_newer)[:40]
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
            with self._slots:
                kept = self._backends.python(archive, interpreter)
                wheel = self._uv.build(archive, interpreter, place, kept=kept)
            _check_identity(wheel.name, project, sdist, interpreter)
            outcome |= {"wheel": wheel.name, "sha256": _sha256(wheel)}
        except Failure as failure:
            (place / "build.log").write_text(failure.output, "utf-8")
            outcome |= {"verdict": verdict_to_plain(failure.verdict), "output": failure.output}
        (place / "build.json").write_text(json.dumps(outcome), "utf-8")


def refuse_unchecked(file: DistFile) -> None:
    """Raise ``IndexProblem`` for a file from elsewhere that nobody gave a hash: what cannot be checked is not opened."""
    if not file.sha256 and not file.url.startswith("file:"):
        raise IndexProblem(redact(file.url), "no sha256 is listed, and what cannot be checked is not opened")


def _outcome(place: Path) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads((place / "build.json").read_text("utf-8"))
    return plain


def _sha256(path: Path) -> str:
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
    if not _accepts(filename, interpreter):
        raise _bad_metadata(f"{detail}, which does not fit {interpreter.label}")


def _bad_metadata(detail: str) -> Failure:
    return Failure(Verdict(Outcome.FAILED, Phase.BUILD, Reason.BAD_METADATA, detail), detail)


def _accepts(filename: str, interpreter: Interpreter) -> bool:
    return best_wheel([DistFile(filename, "", "wheel", "")], interpreter) is not None


# -- is one build enough? -----------------------------------------------------------------------------------------------

_PLAIN_IMPORTS = frozenset(
    {"setuptools", "distutils", "distutils.core", "os", "os.path", "io", "codecs", "glob", "pathlib", "__future__"}
)
_TELLTALES = frozenset(
    {"sys", "platform", "exec", "execfile", "eval", "compile", "__import__", "use_2to3", "ext_modules", "cmdclass"}
)
_TELLTALES |= {"version_info", "hexversion", "setup_requires"}
_TELLTALES_CFG = ("cmdclass", "setup_requires", "use_2to3")
_DECLARATIVE = frozenset({"flit_core.buildapi", "hatchling.build", "poetry.core.masonry.api", "setuptools.build_meta"})
_HOOKS = {"hatch": "hooks", "poetry": "build", "setuptools": "cmdclass"}
"""Keys below ``tool.NAME`` that make a declarative project run code of its own."""


@functools.lru_cache(maxsize=4096)  # an archive's path holds its hash: it never changes
def is_plain(archive: Path) -> bool:
    """Tell whether an sdist builds the same on every interpreter, so that one universal wheel may serve all.

    pip keeps built wheels per Python version because setup scripts decide by it (pip ``cache.py``, ``_cache_key_parts``).
    A declarative project, or a setup script that only reads files and calls ``setup`` with nothing that could ask which
    Python it is, cannot. Where in doubt: no.
    """
    try:
        files = top_files(archive, ("setup.py", "setup.cfg", "pyproject.toml"))
        project = tomllib.loads(files.get("pyproject.toml", ""))
        system = project.get("build-system", {})
        backend = system.get("build-backend", "setuptools.build_meta:__legacy__")
        if "backend-path" in system or any(word in files.get("setup.cfg", "") for word in _TELLTALES_CFG):
            return False
        if "setup.py" in files and backend.startswith("setuptools.build_meta"):
            return _is_plain_script(files["setup.py"])
        return backend in _DECLARATIVE and _is_plain_table(project)
    except Exception:  # an archive or a script that cannot be read: the build will say what is wrong with it
        return False


def _is_plain_table(project: dict[str, Any]) -> bool:
    hooked = any(word in _keys(project.get("tool", {}).get(name, {})) for name, word in _HOOKS.items())
    return not hooked and not set(project["project"].get("dynamic", ())) & {"dependencies", "optional-dependencies"}


def _keys(table: object) -> set[str]:
    return {*table, *(key for below in table.values() for key in _keys(below))} if isinstance(table, dict) else set()


def _is_plain_script(text: str) -> bool:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import) and not {alias.name for alias in node.names} <= _PLAIN_IMPORTS:
            return False
        if isinstance(node, ast.ImportFrom) and (node.level or node.module not in _PLAIN_IMPORTS):
            return False
        if isinstance(node, ast.Try):
            return False
        if {getattr(node, "id", None), getattr(node, "attr", None), getattr(node, "arg", None)} & _TELLTALES:
            return False
    return True
