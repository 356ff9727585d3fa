"""Build environments that are kept: what setuptools needs to build, once per interpreter, its bytecode compiled.

An isolated build installs its backend anew and runs it without bytecode, which takes three times as long as the build. That
matters for setuptools, which nearly every release of the first fifteen years builds with; everything else stays isolated.
"""

from __future__ import annotations

import contextlib
import tarfile
import time
import tomllib
import zipfile
from pathlib import Path

from pytest_spip.disk import Cache
from pytest_spip.errors import HarnessProblem
from pytest_spip.model import Interpreter, digest
from pytest_spip.provision.uv import Uv

__all__ = ["Backends", "kept_requirements", "top_files"]

LEGACY = ("setuptools>=40.8.0",)
"""What PEP 517 prescribes for a project without a build-system table."""
UNDATED_KEPT = 86400.0
"""Seconds an environment serves when no date pins the index: backends have new releases."""


class Backends:
    """The kept environments of a run's interpreters."""

    def __init__(self, cache: Cache, uv: Uv, exclude_newer: str) -> None:
        self._cache = cache
        self._uv = uv
        self._exclude_newer = exclude_newer

    def python(self, archive: Path, interpreter: Interpreter) -> str:
        """Return the Python of the environment to build an sdist in; nothing where only an isolated build is faithful."""
        requires = kept_requirements(archive)
        if not requires:
            return ""
        period = "" if self._exclude_newer else str(int(time.time() // UNDATED_KEPT))
        key = digest(interpreter.id, interpreter.path, requires, self._exclude_newer, period)[:40]
        place = self._cache.builds / "environments" / key
        try:
            self._cache.file(place, lambda aside: self._uv.make_environment(interpreter, requires, aside))
        except HarnessProblem:
            return ""  # the isolated build will say better what is wrong
        return str(place / "bin" / "python")


def kept_requirements(archive: Path) -> tuple[str, ...]:
    """Return the static build requirements of an sdist that builds with setuptools and asks for nothing more.

    ``setup_requires`` is the one way by which setuptools asks for more (``get_requires_for_build_wheel``).
    """
    with contextlib.suppress(OSError, ValueError, tarfile.TarError, zipfile.BadZipFile):
        files = top_files(archive, ("setup.py", "setup.cfg", "pyproject.toml"))
        if any("setup_requires" in files.get(name, "") for name in ("setup.py", "setup.cfg")):
            return ()
        system = tomllib.loads(files.get("pyproject.toml", "")).get("build-system", {})
        if not str(system.get("build-backend", "setuptools")).startswith("setuptools") or "backend-path" in system:
            return ()
        return tuple(sorted(system.get("requires", LEGACY)))
    return ()


def top_files(archive: Path, names: tuple[str, ...]) -> dict[str, str]:
    """Return the texts of files in an archive's one top directory, those that are there and are UTF-8."""
    if archive.name.endswith(".zip"):
        with zipfile.ZipFile(archive) as opened:
            return {_leaf(path): opened.read(path).decode() for path in opened.namelist() if _is_top(path, names)}
    with tarfile.open(archive) as tar:
        wanted = [member for member in tar.getmembers() if member.isfile() and _is_top(member.name, names)]
        return {_leaf(member.name): stream.read().decode() for member in wanted if (stream := tar.extractfile(member))}


def _is_top(path: str, names: tuple[str, ...]) -> bool:
    parts = path.removeprefix("./").split("/")
    return len(parts) == 2 and parts[1] in names


def _leaf(path: str) -> str:
    return path.rpartition("/")[2]
