"""Build environments: what backends need, once per interpreter and set of requirements, with bytecode, and kept.

A fresh one for every build takes three times as long as the build. Builds see one with an overlay of their own over it where
the sandbox has that, for backends write beside themselves; elsewhere they may only read it.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version

from pytest_spip.common.cache import Cache
from pytest_spip.common.processes import run_program
from pytest_spip.common.trees import replace_text
from pytest_spip.errors import HarnessProblem, NetworkProblem
from pytest_spip.model import Interpreter, digest, verdict_from_plain, verdict_to_plain
from pytest_spip.provision.build_cycles import RING
from pytest_spip.provision.locks import selected
from pytest_spip.provision.resolver import Resolver, Work
from pytest_spip.provision.sdists import BuildSystem, build_failed
from pytest_spip.provision.uv import Uv
from pytest_spip.provision.uv_output import Failure

__all__ = ["Backends", "Requirements", "asks_for_more"]

WITHOUT_WHEEL = Version("70.1")
"""The first setuptools that builds wheels without the project wheel; until then it asks for that at every build."""
UNDATED_KEPT = 86400.0
"""Seconds a resolution of build requirements counts when no date pins the index: backends have new releases."""
COMPILING = 300.0
"""Seconds that it may take to compile an environment."""
FORM = 1
"""Raise it when resolutions of build requirements are written in another form."""


@dataclasses.dataclass(frozen=True, slots=True)
class Requirements:
    """Build requirements as they resolve for an interpreter: the lock's text, or the failure.

    ``identity`` is equal for equal files, so for equal build environments. ``needs`` are wheels built here that the lock names.
    """

    identity: str
    lock: str = ""
    failure: Failure | None = None
    needs: tuple[str, ...] = ()


class Backends:
    """The kept environments of a run's interpreters. ``level`` is that of the sandboxes in which requirements are built."""

    def __init__(
        self, cache: Cache, uv: Uv, resolver: Resolver, circumstances: Sequence[object], *, ages: bool
    ) -> None:
        self._cache = cache
        self._uv = uv
        self._resolver = resolver
        self._circumstances = digest(FORM, *circumstances)
        self._oldest = time.time() - UNDATED_KEPT if ages else 0.0
        self._lock = threading.Lock()
        self._known: dict[str, Requirements] = {}

    def requirements(self, requires: Sequence[str], interpreter: Interpreter) -> Requirements:
        """Return what build requirements resolve to, the same for the whole run.

        Raises what resolving raises for reasons of the network or the machine, and ``Failure`` for one that holds only now.
        """
        wanted = sorted({_requirement(text) for text in requires})
        key = digest(interpreter.id, interpreter.path, wanted, self._circumstances)[:40]
        with self._lock:
            known = self._known.get(key)
        if known is None:
            found = self._kept(key, self._oldest) or self._resolved_or_old(key, wanted, interpreter)
            with self._lock:  # whoever was first decides for all
                known = self._known.setdefault(key, found)
        return known

    def environment(self, requirements: Requirements, interpreter: Interpreter) -> Path:
        """Return an environment that holds build requirements; raises ``Failure`` where these cannot be had."""
        if requirements.failure:
            failure = requirements.failure
            raise Failure(failure.verdict, failure.output)
        key = digest("copied", interpreter.id, interpreter.path, requirements.identity)[:40]
        place = self._cache.builds / "environments" / key
        self._cache.file(place, lambda staging: self._make(interpreter, requirements.lock, staging))
        return place

    def _place(self, key: str) -> Path:
        return self._cache.builds / "requirements" / f"{key}.json"

    def _kept(self, key: str, oldest: float) -> Requirements | None:
        try:
            if self._place(key).stat().st_mtime < oldest:
                return None
            plain = json.loads(self._place(key).read_text("utf-8"))
        except (OSError, ValueError):
            return None
        if not self._cache.use(self._place(key), *plain["needs"]):
            return None  # somebody cleared away what was built
        failure = Failure(verdict_from_plain(plain["verdict"]), plain["output"]) if plain["verdict"] else None
        return Requirements(plain["identity"], plain["lock"], failure, tuple(plain["needs"]))

    def _resolved_or_old(self, key: str, wanted: Sequence[str], interpreter: Interpreter) -> Requirements:
        try:
            return self._resolved(key, wanted, interpreter)
        except NetworkProblem:
            if old := self._kept(key, 0.0):
                return old  # better than none
            raise

    def _resolved(self, key: str, wanted: Sequence[str], interpreter: Interpreter) -> Requirements:
        """Resolve while nothing is locked: what the requirements need may have to be built, and need others."""
        found = self._resolve(wanted, interpreter)
        failure = found.failure
        if failure and not failure.lasting:
            raise failure
        plain = {
            "identity": found.identity,
            "lock": found.lock,
            "needs": found.needs,
            "verdict": verdict_to_plain(failure.verdict) if failure else None,
            "output": failure.output if failure else "",
        }
        replace_text(self._place(key), json.dumps(plain))
        return found

    def _resolve(self, wanted: Sequence[str], interpreter: Interpreter) -> Requirements:
        if not wanted:
            return Requirements(digest("nothing"))
        work = Work()
        with self._cache.workshop() as workshop:
            lock = workshop / "pylock.toml"
            try:
                self._resolver.resolve(wanted, interpreter, lock, work, for_build=True)
            except Failure as failure:
                reason = failure.verdict.detail
                detail = reason if reason.startswith(RING) else f"its build requirements cannot be had: {reason}"
                refused = build_failed(detail, failure.output, lasting=failure.lasting)
                return Requirements(digest(detail), failure=refused)
            text = lock.read_text("utf-8")
        files = sorted((one.name, one.file.filename, one.file.sha256) for one in selected(text, interpreter))
        return Requirements(
            digest(files), text, needs=tuple(str(path) for path in work.offered if path.as_uri() in text)
        )

    def _make(self, interpreter: Interpreter, lock: str, place: Path) -> None:
        path = place.parent / "pylock.toml"
        path.write_text(lock, "utf-8")
        self._uv.make_environment(interpreter, path if lock else None, place)
        if lock:
            _compile(interpreter, place)


def _requirement(text: str) -> str:
    """Return a requirement in the one form that it is passed on in; foreign text could be an option, or lead to our files."""
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
        run_program(command, timeout=COMPILING, environment={})
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HarnessProblem(f"no bytecode for {interpreter.label}: {error}") from error


def asks_for_more(source: Path, system: BuildSystem, environment: Path) -> bool:
    """Return True if a backend may ask for more than the table requires, so that it must be asked.

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
