"""Every way to run a check: alone, or from a fork server, warm or cold, on each level of the sandbox."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from pytest_spip.compose.layers import Layers
from pytest_spip.compose.overlay import Overlay
from pytest_spip.compose.worktree import Worktree
from pytest_spip.model import Check, Combo, Composed, Environment, Limits, Result, Sandbox, StoredWheel, digest
from pytest_spip.run.alone import AloneRunner
from pytest_spip.run.checks import check_runner_of
from pytest_spip.run.closures import SCRIPT
from pytest_spip.run.forked import ForkRunner
from pytest_spip.run.levels import try_level
from pytest_spip.run.runner import Runner
from pytest_spip.run.server import SANDBOX_UID
from tests.support.rooms import Bases, shared_bases

__all__ = ["OWNER", "WAYS", "Way", "must_work", "shared_way"]

WAYS = ("alone", "cold-1", "warm-1", "cold-2", "warm-2", "cold-3", "warm-3")
"""Runner and level; "alone" is the runner of systems without fork servers."""
PRELOADED = ("json", "logging", "random", "tempfile", "threading", "unittest")
IMPORT = Check()
OWNER = SANDBOX_UID if os.getuid() == 0 else 0


@functools.cache
def _lack(level: int) -> str:
    return try_level(level)


def must_work(level: int) -> None:
    """Skip a test where the machine lacks a level; where all must work, fail it."""
    if why := _lack(level):
        (pytest.fail if os.environ.get("SPIP_MUST_WORK") == "1" else pytest.skip)(f"level {level}: {why}")


class Way:
    """One way, with environments of all Pythons to go it in."""

    def __init__(self, bases: Bases, name: str, check: Check, *, shared: bool) -> None:
        kind, _, level = name.partition("-")
        self.name = f"{name}-{digest(check, shared)[:8]}"
        self.warm = kind == "warm"
        self.level = int(level or 1)
        self.check_runner = check_runner_of(check, network=False, shared=shared)
        self._bases = bases
        self._room = bases.cache.root.parent / self.name
        self._room.mkdir()
        self._layers = Layers(bases.cache, OWNER)
        self._places: dict[str, Worktree | Overlay] = {}
        self._closures = {one.id: self._room / f"{one.label}.json" for one in bases.pythons.values()}
        self.runner = self._runner(kind)

    def _runner(self, kind: str) -> Runner:
        sandbox = Sandbox(self.level)
        if kind == "alone":
            return AloneRunner(self.check_runner, sandbox)
        layers = str(self._layers.root) if self.level >= 3 else ""
        closures = self._closures if self.warm else {}
        return ForkRunner(
            self.check_runner, sandbox, self._room / "view", layers, closures, Limits(), self._room / "pycache"
        )

    @contextlib.contextmanager
    def composed(self, python: str, environment: Environment) -> Iterator[Composed]:
        """Yield an environment."""
        if python not in self._places:
            self._places[python] = self._place(python)
        with self._places[python].composed(environment) as composed:
            yield composed

    def _place(self, python: str) -> Worktree | Overlay:
        interpreter = self._bases.pythons[python]
        if self.warm:
            with self._closures[interpreter.id].open("wb") as out:
                subprocess.run([interpreter.path, "-I", "-S", "-B", SCRIPT, *PRELOADED], check=True, stdout=out, env={})
        replica = self._bases.replica(f"{self.name}-{python}")
        path = replica.add_worktree(interpreter)
        if self.level >= 3:
            return Overlay(path, interpreter, self._layers, OWNER)
        return Worktree(path, interpreter, replica.restore)

    def compile_wheels(self, wheels: Iterable[StoredWheel], combo: Combo, composed: Composed, limits: Limits) -> None:
        """Have the layers of wheels bear the bytecode of what the last run imported, as executors do when they meet them again."""
        missing = {composed.layer_of[wheel.sha256] for wheel in wheels}.intersection(composed.uncompiled)
        sources = self._layers.sources(tuple(missing), self.runner.imported(composed))
        bytecode = self.runner.bytecode(combo, composed, limits, sources)
        for layer in missing if bytecode else ():
            self._layers.compile(layer, bytecode, composed.layers[: composed.layers.index(layer)])

    def compile(self, composed: Composed, bytecode: Mapping[str, bytes]) -> None:
        """Have the layers bear bytecode."""
        for layer in composed.uncompiled:
            self._layers.compile(layer, bytecode)

    def rewrite(self, composed: Composed, bytecode: Mapping[str, bytes]) -> None:
        """Have the tree's tests bear bytecode."""
        self._layers.rewrite(composed.unrewritten, composed.trees[-1], bytecode)

    def run(self, combo: Combo, environment: Environment, composed: Composed, limits: Limits) -> Result:
        """Run a check, and see that it was run so."""
        result = self.runner.run(combo, environment, composed, limits, warm=self.warm)
        assert result.runner == ("warm" if self.warm else "cold")
        return result


def shared_way(session: Path, name: str, check: Check = IMPORT, *, shared: bool = False) -> Way:
    """Return the only one for a check below a session's directory: its servers are started once.

    ``shared`` is as in ``check_runner_of``.
    """
    return _way(session, name, check, shared)


@functools.cache
def _way(session: Path, name: str, check: Check, shared: bool) -> Way:  # a cache tells keywords apart
    return Way(shared_bases(session), name, check, shared=shared)
