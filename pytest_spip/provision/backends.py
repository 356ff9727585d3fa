"""Build environments: what backends need, once per interpreter and set of requirements, with bytecode, and kept.

A fresh one for every build takes three times as long as the build. Builds see one with an overlay of their own over it where
the sandbox has that, for backends write beside themselves; elsewhere they may only read it.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version

from pytest_spip.disk import Cache
from pytest_spip.errors import HarnessProblem
from pytest_spip.model import Interpreter, digest
from pytest_spip.provision.resolver import Resolver, Work
from pytest_spip.provision.sdists import BuildSystem, build_failed
from pytest_spip.provision.uv import Failure, Uv

__all__ = ["Backends", "asks_for_more"]

WITHOUT_WHEEL = Version("70.1")
"""The first setuptools that builds wheels without the project wheel; until then it asks for that at every build."""
UNDATED_KEPT = 86400.0
"""Seconds an environment serves when no date pins the index: backends have new releases."""
COMPILING = 300.0
"""Seconds that it may take to compile an environment."""


class Backends:
    """The kept environments of a run's interpreters."""

    def __init__(self, cache: Cache, uv: Uv, resolver: Resolver, exclude_newer: str) -> None:
        self._cache = cache
        self._uv = uv
        self._resolver = resolver
        self._exclude_newer = exclude_newer

    def environment(self, requires: tuple[str, ...], interpreter: Interpreter) -> Path:
        """Return an environment that holds build requirements.

        Raises ``Failure`` where these cannot be had, and what resolving raises for reasons of the network or the machine.
        """
        wanted = sorted({_requirement(text) for text in requires})
        period = "" if self._exclude_newer else str(int(time.time() // UNDATED_KEPT))
        key = digest("copied", interpreter.id, interpreter.path, wanted, self._exclude_newer, period, self._uv.places)[
            :40
        ]
        place = self._cache.builds / "environments" / key
        if not place.exists():
            with self._cache.workshop() as workshop:
                lock = self._locked(wanted, interpreter, workshop / "pylock.toml")
                self._cache.file(place, lambda aside: self._make(interpreter, lock, aside))
        return place

    def _locked(self, requires: list[str], interpreter: Interpreter, lock: Path) -> Path | None:
        """Resolve before anything is locked: what the requirements need may have to be built, and need others."""
        if not requires:
            return None
        try:
            self._resolver.resolve(requires, interpreter, lock, Work())
        except Failure as failure:
            detail = f"its build requirements cannot be had: {failure.verdict.detail}"
            raise build_failed(detail, failure.output) from failure
        return lock

    def _make(self, interpreter: Interpreter, lock: Path | None, place: Path) -> None:
        self._uv.make_environment(interpreter, lock, place)
        if lock:
            _compile(interpreter, place)


def _requirement(text: str) -> str:
    """Return a requirement in the one form that it is passed on in; a stranger's text could be an option, or lead to our files."""
    try:
        wanted = Requirement(text)
    except InvalidRequirement as error:
        raise build_failed(f"it requires {text!r}, which is no requirement") from error
    if wanted.url and not wanted.url.startswith(("https://", "http://")):
        raise build_failed(f"it requires {text!r}, which is not taken from there")
    return str(wanted)


def _compile(interpreter: Interpreter, place: Path) -> None:
    """Compile with the interpreter itself: the environment's own would run what its wheels brought."""
    packages = [str(path) for path in place.glob("lib/*/site-packages")]
    command = [interpreter.path, "-I", "-S", "-m", "compileall", "-q", *packages]
    try:
        # What does not compile, as tests of compilers do not, is not compiled: the status says no more than that.
        subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={},
            timeout=COMPILING,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HarnessProblem(f"no bytecode for {interpreter.label}: {error}") from error


def asks_for_more(source: Path, system: BuildSystem, environment: Path) -> bool:
    """Tell whether a backend may ask for more than the table requires, so that it must be asked.

    setuptools does for projects with ``setup_requires``, and for the project wheel while it needed it.
    """
    if system.path or not system.backend.startswith("setuptools."):
        return True
    if any("setup_requires" in _text(source / name) for name in ("setup.py", "setup.cfg")):
        return True
    infos = environment.glob("lib/*/site-packages/setuptools-*.dist-info")
    found = [info.name.removeprefix("setuptools-").removesuffix(".dist-info") for info in infos]
    return not found or Version(found[0]) < WITHOUT_WHEEL


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace") if path.is_file() and not path.is_symlink() else ""
    except OSError:
        return ""
