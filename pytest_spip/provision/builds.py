"""Wheels built from sdists: once per interpreter, or once for all where that is sound. Failures are kept with their log."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import hashlib
import json
import tarfile
import threading
import time
import tomllib
import zipfile
from pathlib import Path

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from pytest_spip.compat import best_wheel
from pytest_spip.disk import Cache
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
from pytest_spip.web import Web

__all__ = ["Builder", "BuiltWheel", "is_plain"]

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
        archive = self._fetch(sdist)
        if is_plain(archive):
            with contextlib.suppress(Failure):
                shared = self._built(project, archive, sdist, interpreter, scope="any")
                if shared.serves(interpreter):
                    return shared
        return self._built(project, archive, sdist, interpreter, scope=interpreter.id)

    def _fetch(self, sdist: DistFile) -> Path:
        place = self._cache.builds / "sdists" / (sdist.sha256 or digest(sdist.url)) / sdist.filename
        self._cache.file(place, lambda aside: self._web.download(sdist.url, aside, sdist.sha256))
        return place

    def _built(self, project: str, archive: Path, sdist: DistFile, interpreter: Interpreter, scope: str) -> BuiltWheel:
        place = self._cache.builds / digest(sdist.sha256 or sdist.url, scope, self._exclude_newer)[:40]
        self._forget_old_failure(place)
        fresh = self._cache.file(place, lambda aside: self._make(project, archive, sdist, interpreter, aside))
        outcome = json.loads((place / "build.json").read_text("utf-8"))
        if "verdict" in outcome:
            raise Failure(verdict_from_plain(outcome["verdict"]), outcome["output"])
        return BuiltWheel(place / outcome["wheel"], outcome["sha256"], outcome["builder"], fresh)

    def _make(self, project: str, archive: Path, sdist: DistFile, interpreter: Interpreter, place: Path) -> None:
        """Build aside; a failure is a result too. Raises only what says nothing about the sdist."""
        place.mkdir()
        outcome: dict[str, object] = {"builder": interpreter.id}
        try:
            with self._slots:
                kept = self._backends.python(archive, interpreter)
                wheel = self._uv.build(archive, interpreter, place, kept=kept)
            _check_identity(wheel.name, project, sdist, interpreter)
            outcome |= {"wheel": wheel.name, "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest()}
        except Failure as failure:
            (place / "build.log").write_text(failure.output, "utf-8")
            outcome |= {"verdict": verdict_to_plain(failure.verdict), "output": failure.output}
        (place / "build.json").write_text(json.dumps(outcome), "utf-8")

    def _forget_old_failure(self, place: Path) -> None:
        log = place / "build.log"
        with contextlib.suppress(FileNotFoundError):
            if not self._exclude_newer and time.time() - log.stat().st_mtime > FAILURE_KEPT:
                with self._cache.workshop() as aside:
                    place.rename(aside / place.name)


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
_DECLARATIVE = frozenset(
    {"flit_core.buildapi", "hatchling.build", "poetry.core.masonry.api", "setuptools.build_meta", "pdm.backend"}
)


@functools.lru_cache(maxsize=4096)  # an archive's path holds its hash: it never changes
def is_plain(archive: Path) -> bool:
    """Tell whether an sdist builds the same on every interpreter, so that one universal wheel may serve all.

    pip keeps built wheels per Python version because setup scripts decide by it (pip ``cache.py``, ``_cache_key_parts``).
    A declarative project, or a setup script that only reads files and calls ``setup`` with nothing that could ask which
    Python it is, cannot. Where in doubt: no.
    """
    with contextlib.suppress(
        OSError, ValueError, SyntaxError, KeyError, tarfile.TarError, zipfile.BadZipFile, RecursionError
    ):
        files = top_files(archive, ("setup.py", "pyproject.toml"))
        project = tomllib.loads(files.get("pyproject.toml", ""))
        if "setup.py" in files:
            return _is_plain_script(files["setup.py"])
        backend = project.get("build-system", {}).get("build-backend", "")
        dynamic = set(project["project"].get("dynamic", ()))
        return backend in _DECLARATIVE and not dynamic & {"dependencies", "optional-dependencies"}
    return False


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
