"""Build environments that are kept: what setuptools needs to build, once per interpreter, its bytecode compiled.

An isolated build installs its backend anew and runs it without bytecode, which takes three times as long as the build. That
matters for setuptools, which nearly every release of the first fifteen years builds with; everything else stays isolated.
"""

from __future__ import annotations

import tarfile
import time
import tomllib
import zipfile
from pathlib import Path

from packaging.version import Version

from pytest_spip.disk import Cache, remove_tree
from pytest_spip.errors import HarnessProblem
from pytest_spip.model import Interpreter, digest
from pytest_spip.provision.uv import Uv

__all__ = ["Backends", "kept_requirements", "top_files"]

LEGACY = ("setuptools>=40.8.0",)
"""What PEP 517 prescribes for a project without a build-system table."""
WITHOUT_WHEEL = Version("70.1")
"""The first setuptools that builds wheels without the project wheel; until then it asks for that at every build."""
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
            self._cache.file(place, lambda aside: self._make(interpreter, requires, aside))
        except HarnessProblem:
            return ""  # the isolated build will say better what is wrong
        python = place / "bin" / "python"
        return str(python) if python.exists() else ""

    def _make(self, interpreter: Interpreter, requires: tuple[str, ...], place: Path) -> None:
        """Make the environment, or an empty directory where it would lack what setuptools asks for only at the build."""
        self._uv.make_environment(interpreter, requires, place)
        infos = place.glob("lib/*/site-packages/setuptools-*.dist-info")
        found = [info.name.removeprefix("setuptools-").removesuffix(".dist-info") for info in infos]
        if not found or Version(found[0]) < WITHOUT_WHEEL:
            remove_tree(place)
            place.mkdir()


def kept_requirements(archive: Path) -> tuple[str, ...]:
    """Return the static build requirements of an sdist that builds with setuptools and asks for nothing more.

    ``setup_requires`` is one of two ways by which setuptools asks for more (``get_requires_for_build_wheel``).
    """
    try:
        files = top_files(archive, ("setup.py", "setup.cfg", "pyproject.toml"))
        if any("setup_requires" in files.get(name, "") for name in ("setup.py", "setup.cfg")):
            return ()
        system = tomllib.loads(files.get("pyproject.toml", "")).get("build-system", {})
        if not str(system.get("build-backend", "setuptools")).startswith("setuptools") or "backend-path" in system:
            return ()
        return tuple(sorted(system.get("requires", LEGACY)))
    except Exception:  # an archive that cannot be read: the build will say what is wrong with it
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
