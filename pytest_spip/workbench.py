"""A worker's workbench: joins compose, run and record into one combination after another. Imports no planning."""

from __future__ import annotations

import dataclasses
import errno
import shlex
import socket
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from pytest_spip.compose.base import Replica
from pytest_spip.compose.worktree import Worktree
from pytest_spip.errors import HarnessProblem
from pytest_spip.model import (
    Combo,
    Environment,
    Interpreter,
    Limits,
    Outcome,
    Phase,
    Provisioned,
    Reason,
    Result,
    Verdict,
)
from pytest_spip.record.rundb import RunReader
from pytest_spip.record.telemetry import Telemetry
from pytest_spip.run.cold import ColdRunner
from pytest_spip.run.process import adopt_orphans
from pytest_spip.run.runner import Runner

__all__ = ["RUNNER", "BenchSpec", "Workbench"]

RUNNER = ColdRunner.name


@dataclasses.dataclass(frozen=True, slots=True)
class BenchSpec:
    """What a worker must know to set up its workbench; plain data, carried by ``workerinput``."""

    database: str
    workers: str
    replica: str
    room: str
    run: str
    timeout: float
    memory: int
    exclude_newer: str
    index_options: str

    def to_plain(self) -> dict[str, Any]:
        """Return what execnet can carry."""
        return dataclasses.asdict(self)


class Workbench:
    """One worker's place: a replica of the base repository, a worktree per interpreter it met, and a runner."""

    def __init__(self, spec: BenchSpec, worker: str) -> None:
        adopt_orphans()
        self._spec = spec
        self._worker = worker
        self._host = socket.gethostname()
        self._limits = Limits(timeout=spec.timeout, memory=spec.memory)
        self._runner: Runner = ColdRunner()
        self._reader = RunReader(Path(spec.database))
        self.combos = self._reader.combos()
        self._interpreters = {one.id: one for one in self._reader.interpreters()}
        self._worktrees: dict[str, Worktree] = {}
        self._replica: Replica | None = None
        self._telemetry = Telemetry(Path(spec.workers) / f"{worker}.sqlite", worker)

    def result(self, combo: Combo) -> Result:
        """Run a provisioned combination. An error of ours is tried once more before it is reported."""
        provisioned = self._reader.provision(combo.ordinal)
        if provisioned is None:
            verdict = Verdict(Outcome.ERROR, Phase.PLAN, Reason.INTERNAL, "handed out before it was provisioned")
            provisioned = Provisioned(combo.ordinal, verdict=verdict)
        if provisioned.environment is None:
            assert provisioned.verdict is not None, "a provision is an environment or a verdict"
            return self._signed(
                combo, Result(combo.ordinal, provisioned.verdict, output=provisioned.output), provisioned, {}
            )
        for attempt in (1, 2):
            phases: dict[str, float] = {}
            result = dataclasses.replace(self._attempt(combo, provisioned.environment, phases), attempts=attempt)
            if result.verdict.outcome is not Outcome.ERROR:
                break
        return self._signed(combo, result, provisioned, phases)

    def report_took(self, ordinal: int, seconds: float) -> None:
        """Record how long it took to report a combination."""
        self._telemetry.phases(ordinal, {"report": seconds})

    def close(self) -> None:
        """Write the telemetry; the worktrees go with the run's directory."""
        self._telemetry.close()
        self._reader.close()

    def _attempt(self, combo: Combo, environment: Environment, phases: dict[str, float]) -> Result:
        """Compose, run, clear away; a fault of ours is a result too. ``phases`` receives the seconds of each step."""
        marks = [time.perf_counter()]
        try:
            worktree = self._worktree(self._interpreters[combo.interpreter])
            with worktree.composed(environment) as composed:
                marks.append(time.perf_counter())
                result = self._runner.run(combo, environment, composed, self._limits)
                marks.append(time.perf_counter())
        except (HarnessProblem, OSError) as error:
            verdict = Verdict(Outcome.ERROR, Phase.INSTALL, _fault(error), f"{type(error).__name__}: {error}")
            result = Result(combo.ordinal, verdict)
        marks.append(time.perf_counter())
        phases |= zip(("compose", "run", "clear"), (after - before for before, after in pairwise(marks)), strict=False)
        return result

    def _worktree(self, interpreter: Interpreter) -> Worktree:
        if interpreter.id not in self._worktrees:
            self._replica = self._replica or Replica(Path(self._spec.replica), Path(self._spec.room) / self._worker)
            path = self._replica.add_worktree(interpreter)
            self._worktrees[interpreter.id] = Worktree(path, interpreter, self._replica.restore)
        return self._worktrees[interpreter.id]

    def _signed(self, combo: Combo, result: Result, provisioned: Provisioned, phases: Mapping[str, float]) -> Result:
        """Add what only the workbench knows."""
        self._telemetry.phases(combo.ordinal, phases)
        environment = provisioned.environment
        bad = result.verdict.outcome.is_bad
        return dataclasses.replace(
            result,
            runner=self._runner.name,
            worker=self._worker,
            host=self._host,
            fingerprint=environment.fingerprint if environment else "",
            locked=environment.locked if environment else {},
            reproduce=self._reproduction(combo, provisioned) if bad and combo.version else "",
            phases=dict(phases),
        )

    def _reproduction(self, combo: Combo, provisioned: Provisioned) -> str:
        """Return one line that shows the failure again, without us."""
        wheels = provisioned.environment.wheels if provisioned.environment else ()
        modules = next((wheel.modules for wheel in wheels if wheel.name == combo.package), ())
        python = self._interpreters[combo.interpreter].path
        words = ["uv", "run", "--isolated", "--no-project", "--python", python, "--with", combo.requirement]
        words += ["--exclude-newer", self._spec.exclude_newer] if self._spec.exclude_newer else []
        code = f"import {', '.join(modules)}" if modules else "pass"
        options = f" {self._spec.index_options}" if self._spec.index_options else ""
        return f"{shlex.join(words)}{options} python -c {shlex.quote(code)}"


def _fault(error: HarnessProblem | OSError) -> Reason:
    """Name a fault of ours: a full disk is worth telling apart, also as the cause of another error."""
    number = getattr(error if isinstance(error, OSError) else error.__cause__, "errno", None)
    return Reason.NO_SPACE if number in (errno.ENOSPC, errno.EDQUOT) else Reason.INTERNAL
