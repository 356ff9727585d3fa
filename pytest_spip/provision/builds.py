"""Wheels built from sdists, by each interpreter for itself. Failures are kept with their log.

A universal wheel that another interpreter built is no proof that this one can: the newest backend that an interpreter can use
differs, and with it what is refused and what is written. So nobody's verdict comes from somebody else's build, nor from one
made with other build requirements, by other tools or with other variables.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_spip.common.cache import Cache
from pytest_spip.common.http import Web
from pytest_spip.common.owners import owner_tag
from pytest_spip.errors import NetworkProblem
from pytest_spip.model import (
    DistFile,
    Interpreter,
    Limits,
    digest,
    verdict_from_plain,
    verdict_to_plain,
)
from pytest_spip.provision.backends import Backends
from pytest_spip.provision.build_cycles import BuildCycles
from pytest_spip.provision.confined import Confine
from pytest_spip.provision.hooks import KEEPS, LIMITS
from pytest_spip.provision.lanes import BuildNeeded
from pytest_spip.provision.one_build import Build, Tools
from pytest_spip.provision.resolver import BuiltWheel, Releases, Resolver
from pytest_spip.provision.sdists import top_files
from pytest_spip.provision.system_tools import system_tools
from pytest_spip.provision.turns import Turn, at_once
from pytest_spip.provision.unhashed import Hasher, sha256_of
from pytest_spip.provision.uv import Uv
from pytest_spip.provision.uv_output import Failure

__all__ = ["BuildRules", "Builder"]

FAILURE_KEPT = 7 * 86400.0
"""Seconds a failure counts when no date pins the build requirements: a newer backend may fix it."""
FORM = 3
"""Raise it when builds find other surroundings than they did, or what is kept of them is written in another form."""


@dataclasses.dataclass(frozen=True, slots=True)
class BuildRules:
    """How builds go: the index seen as of ``exclude_newer``, ``slots`` of them at once, bounded by ``limits``.

    ``turn`` takes a build's key and what is built, and is held meanwhile.
    """

    exclude_newer: str
    slots: int
    wheels_only: bool = False
    limits: Limits = LIMITS
    turn: Turn = at_once


class Builder:
    """Builds sdists in sandboxes, under look, lock, look again."""

    def __init__(
        self,
        cache: Cache,
        web: Web,
        uv: Uv,
        confine: Confine,
        releases: Releases,
        rules: BuildRules,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._cache = self.cache = cache
        self.hasher = Hasher(cache, web)
        self._web = web
        self._uv = uv
        self._limits = rules.limits
        self.resolver = Resolver(uv, releases, self.wheel, wheels_only=rules.wheels_only)
        exclude_newer = rules.exclude_newer
        self._surroundings = FORM, exclude_newer, uv.places, confine.level, _variables(environ)
        self._backends = Backends(cache, uv, self.resolver, self._surroundings, ages=not exclude_newer)
        self._oldest = 0.0 if exclude_newer else time.time() - FAILURE_KEPT
        self._tools = system_tools()
        self._turn = rules.turn
        self._making = Tools(confine, threading.BoundedSemaphore(rules.slots), environ, rules.limits)
        self._cycles = BuildCycles()
        self._here = threading.local()
        self._running: dict[Path, tuple[str, float]] = {}

    @property
    def running(self) -> tuple[tuple[str, float], ...]:
        """What is being built, and since when by ``time.monotonic()``, the longest first."""
        return tuple(sorted(self._running.copy().values(), key=lambda one: one[1]))

    @contextlib.contextmanager
    def without_building(self) -> Iterator[None]:
        """Have this thread meet ``BuildNeeded`` where it would begin a build."""
        self._here.waits = True
        try:
            yield
        finally:
            self._here.waits = False

    def wheel(self, project: str, sdist: DistFile, interpreter: Interpreter) -> BuiltWheel:
        """Return the sdist's wheel for an interpreter; raises ``Failure``, also a remembered one, and ``NetworkProblem``."""
        if getattr(self._here, "waits", False) and sdist.sha256:
            place = self._place(project, sdist, interpreter)
            if not self._cache.use(place) or self._is_stale(place, interpreter):
                raise BuildNeeded(place.name, sdist.size)
        sdist, archive = self.fetch(sdist)
        with self._cycles.waiting_for(sdist.sha256, sdist.filename):
            return self._built(project, archive, sdist, interpreter)

    def announced(self, sdist: DistFile) -> str:
        """Return the metadata that an sdist holds, for one that does not build; nothing where they cannot be read."""
        with contextlib.suppress(Exception):  # whatever a foreign archive makes of it
            _, archive = self.fetch(sdist)
            return top_files(archive, ("PKG-INFO",)).get("PKG-INFO", "")
        return ""

    def fetch(self, sdist: DistFile) -> tuple[DistFile, Path]:
        """Return the file where we keep it; one that nobody gave a hash is known by what it holds."""
        sdist = self.hasher.hashed(sdist)
        place = self._cache.builds / "sdists" / sdist.sha256 / sdist.filename
        self._cache.file(place, lambda staging: self._web.download(sdist.url, staging, sdist.sha256))
        return sdist, place

    def _place(self, project: str, sdist: DistFile, interpreter: Interpreter) -> Path:
        what = project, sdist.filename, sdist.version, sdist.sha256
        return self._cache.builds / digest(what, interpreter.id, interpreter.path, self._surroundings)[:40]

    def _built(self, project: str, archive: Path, sdist: DistFile, interpreter: Interpreter) -> BuiltWheel:
        place = self._place(project, sdist, interpreter)
        fresh = False
        if not self._cache.use(place) or self._is_stale(place, interpreter):
            with self._turn(place.name, f"{project} {sdist.version} {interpreter.label}"):
                fresh = self._cache.file(
                    place,
                    lambda staging: self._make(project, archive, sdist, interpreter, staging),
                    stale=lambda place: self._is_stale(place, interpreter),
                )
        plain = self._cache.read(place, _outcome)
        if "verdict" in plain:
            raise Failure(verdict_from_plain(plain["verdict"]), plain["output"], fresh=fresh, lasting=plain["lasting"])
        return BuiltWheel(place / plain["wheel"], plain["sha256"], interpreter.id, fresh)

    def _is_stale(self, place: Path, interpreter: Interpreter) -> bool:
        """Return True if a build could come out otherwise today: its requirements resolve to others, or the machine has changed."""
        try:
            plain = _outcome(place)
            if "verdict" in plain and self._is_past(place, plain):
                return True
            found = (self._backends.requirements(requires, interpreter) for requires, _ in plain["requirements"])
            return [one.identity for one in found] != [identity for _, identity in plain["requirements"]]
        except FileNotFoundError:
            return False
        except NetworkProblem:
            return False  # an old answer is better than none

    def _is_past(self, place: Path, plain: Mapping[str, Any]) -> bool:
        """Return True if a failure is too old to count, or came of what may have passed."""
        if not plain["lasting"]:
            return bool((plain["process"], plain["limits"]) != (owner_tag(), [*dataclasses.astuple(self._limits)]))
        return bool(plain["tools"] != self._tools or (place / "build.log").stat().st_mtime < self._oldest)

    def _make(self, project: str, archive: Path, sdist: DistFile, interpreter: Interpreter, place: Path) -> None:
        """Build aside; a failure is a result too. Raises only what says nothing about the sdist."""
        place.mkdir()
        self._running[place] = f"{project} {sdist.version} {interpreter.label}", time.monotonic()
        try:
            self._make_wheel(project, archive, sdist, interpreter, place)
        finally:
            del self._running[place]

    def _make_wheel(self, project: str, archive: Path, sdist: DistFile, interpreter: Interpreter, place: Path) -> None:
        build = Build(archive, project, sdist, interpreter, place, self._backends, self._making)
        outcome: dict[str, object] = {"builder": interpreter.id, "tools": self._tools}
        try:
            wheel = build.wheel()
            outcome |= {"wheel": wheel.name, "sha256": sha256_of(wheel)}
        except Failure as failure:
            (place / "build.log").write_text(failure.output, "utf-8")
            outcome |= {"verdict": verdict_to_plain(failure.verdict), "output": failure.output}
            outcome |= {"lasting": failure.lasting, "process": owner_tag(), "limits": dataclasses.astuple(self._limits)}
        outcome["requirements"] = build.requirements
        (place / "build.json").write_text(json.dumps(outcome), "utf-8")


def _variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the user's variables that can change what is built."""
    return {name: environ[name] for name in KEEPS if name in environ and name != "TERM"}


def _outcome(place: Path) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads((place / "build.json").read_text("utf-8"))
    return plain
