"""A worker's executor: joins compose, run and record into one combination after another. Imports no planning."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from pytest_spip.common.cache import Cache
from pytest_spip.common.machine import pin
from pytest_spip.common.trees import remove_tree
from pytest_spip.compose.base import Replica
from pytest_spip.compose.copying import find_copy
from pytest_spip.compose.layers import Layers
from pytest_spip.compose.overlay import Overlay
from pytest_spip.compose.worktree import Worktree
from pytest_spip.errors import HarnessProblem
from pytest_spip.model import (
    Combo,
    Composed,
    Environment,
    Interpreter,
    Limits,
    Outcome,
    Phase,
    Provisioned,
    Ready,
    Reason,
    Refused,
    Result,
    Span,
    Verdict,
    seconds_by_phase,
)
from pytest_spip.record.reusable import ReusableVerdicts
from pytest_spip.record.run_reader import RunReader
from pytest_spip.record.telemetry import Telemetry
from pytest_spip.run.process import adopt_orphans, end_with_parent, give_memory_back, leave_to_controller
from pytest_spip.run.server import SANDBOX_UID
from pytest_spip.run.text import harmless
from pytest_spip.session.bounds import is_bound
from pytest_spip.session.faults import fault_verdict
from pytest_spip.session.judging import Judge
from pytest_spip.session.open_environment import OpenEnvironment
from pytest_spip.session.reproduction import is_free, reproduction, reproduction_of_test
from pytest_spip.session.runners import runner_of
from pytest_spip.session.slots import NOTHING, DeviceRequest, Slots, files, variables
from pytest_spip.session.worker_spec import MAIN, WorkerSpec

__all__ = ["Executor"]

ATTEMPTS = 8
"""How often a combination is tried that ends with a fault of ours."""
QUICK = 0.2
"""Seconds of a check below which to compile what it imported is taken to hold nobody up."""
TIDY = 100
"""Combinations after which memory that is free is given back to the system."""


class Executor:
    """One worker's place: a replica of the base repository, a worktree per interpreter it met, and a runner.

    ``has_time`` is asked, before each combination, whether nobody waits for the one after it.
    """

    def __init__(self, spec: WorkerSpec, worker: str, has_time: Callable[[], bool] = bool) -> None:
        adopt_orphans()
        if worker != MAIN:
            end_with_parent()
            leave_to_controller()
        pin(spec.cpus)  # before there are threads, fork servers or children to inherit it
        self._spec = spec
        self._worker = worker
        self._host = socket.gethostname()
        self._limits = spec.limits
        self._runner = runner_of(spec, worker)
        self._reader = RunReader(Path(spec.database))
        self._interpreters = {one.id: one for one in self._reader.interpreters()}
        self._worktrees: dict[str, Worktree | Overlay] = {}
        self._copy = find_copy(Path(spec.cache), Path(spec.room))
        self._owner = SANDBOX_UID if os.getuid() == 0 else 0
        self._cache = Cache(Path(spec.cache))
        self._layers = Layers(self._cache, self._owner, has_time)
        self._replica: Replica | None = None
        self._places = 0
        self._reported = 0
        self._reusable = ReusableVerdicts(Path(spec.reusable)) if spec.reusable else None
        self._slots = Slots(Path(spec.room) / "slots", spec.slots)
        self._telemetry = Telemetry(Path(spec.workers) / f"{worker}.sqlite", worker, spec.run)
        self._judge = Judge(spec, self._runner, self._telemetry)

    @property
    def plan_hash(self) -> str:
        """The hash of the plan that combinations are taken from."""
        return self._reader.facts().plan_hash

    def combos(self) -> tuple[Combo, ...]:
        """Return the plan, or what was left of it when the session began."""
        return self._reader.combos(self._spec.session)

    def plan(self) -> tuple[Combo, ...]:
        """Return the whole plan, but for what other shards run."""
        return self._reader.combos(1)

    @property
    def interpreters(self) -> tuple[Interpreter, ...]:
        """The plan's interpreters."""
        return tuple(self._interpreters.values())

    def locked(self, combo: Combo) -> Mapping[str, str]:
        """Return the versions that a combination's environment holds, as far as there is one."""
        provisioned = self._provision(combo)
        return provisioned.environment.locked if isinstance(provisioned, Ready) else {}

    def combo(self, ordinal: int) -> Combo:
        """Return a combination of the plan."""
        return self._reader.combo(ordinal)

    def result(self, combo: Combo, need: DeviceRequest = NOTHING, *, timeout: float = 0.0) -> Result:
        """Run a provisioned combination, with the devices that it needs. An error of ours is tried again first.

        ``timeout`` are seconds that bound it beside the run's own limit, if they are not 0.
        """
        spans: list[Span] = []
        provisioned = self._provision(combo)
        if isinstance(provisioned, Refused):
            verdict = dataclasses.replace(provisioned.verdict, detail=harmless(provisioned.verdict.detail))
            return self._signed(combo, Result(combo.ordinal, verdict, output=harmless(provisioned.output)), None, spans)
        environment = provisioned.environment
        if need.skips and (lack := self._slots.lack(need)):
            skipped = Verdict(Outcome.SKIPPED, Phase.PLAN, Reason.EXCLUDED, lack)
            return self._signed(combo, Result(combo.ordinal, skipped), environment, spans)
        if not need.slots and not timeout and (earlier := self._earlier(environment, combo)):
            return self._signed(combo, earlier, environment, spans)
        limits = self._limits
        if timeout:
            limits = dataclasses.replace(limits, timeout=min(timeout, limits.timeout))
        try:
            with self._devices(need) as named:
                for attempt in range(1, ATTEMPTS + 1):
                    result = self._attempt(combo, environment, limits, named, spans)
                    result = dataclasses.replace(result, attempts=attempt)
                    if result.verdict.outcome is not Outcome.ERROR:
                        break
                if self._regresses(result):
                    result = self._tried_again(result, combo, environment, limits, named, spans)
        except HarnessProblem as problem:  # the devices were never free
            result = Result(combo.ordinal, fault_verdict(Phase.PLAN, problem))
        return self._signed(combo, result, environment, spans)

    def _earlier(self, environment: Environment, combo: Combo) -> Result | None:
        """Return the verdict that an earlier run has of an equal experiment, if it may be reused."""
        found = self._reusable.find(environment.fingerprint, combo.interpreter) if self._reusable else None
        return dataclasses.replace(found, ordinal=combo.ordinal, reused=True) if found else None

    def _regresses(self, result: Result) -> bool:
        """Return True if a combination fails that passes in the run to compare with."""
        outcome = result.verdict.outcome
        return outcome.is_bad and outcome is not Outcome.ERROR and result.ordinal in self._expected

    @functools.cached_property
    def _expected(self) -> frozenset[int]:
        path = self._spec.expected
        return frozenset(json.loads(Path(path).read_text("utf-8"))) if path else frozenset()

    def _tried_again(
        self,
        result: Result,
        combo: Combo,
        environment: Environment,
        limits: Limits,
        variables: Mapping[str, str],
        spans: list[Span],
    ) -> Result:
        """Return what a clean environment and a cold interpreter say, if that is a pass; the result counts as a rerun's then."""
        again = self._attempt(combo, environment, limits, variables, spans, cold=True)
        if again.verdict.outcome is not Outcome.PASSED:
            return result
        return dataclasses.replace(again, attempts=result.attempts, reruns=result.reruns + 1)

    @contextlib.contextmanager
    def _devices(self, need: DeviceRequest) -> Iterator[Mapping[str, str]]:
        """Hold the devices that are needed, show children their files, and record the wait; yield the variables that name them."""
        if not need.slots:
            yield {}
            return
        with contextlib.ExitStack() as held:
            with self.waiting():
                devices = held.enter_context(self._slots.held(need))
            held.enter_context(self._runner.showing(files(devices)))
            yield variables(devices)

    def unavailable(self, combo: Combo, need: DeviceRequest) -> Result | None:
        """Return why a provisioned combination's environment cannot be opened, or None where it can."""
        provisioned = self._provision(combo)
        if isinstance(provisioned, Refused):
            result = Result(combo.ordinal, provisioned.verdict, output=harmless(provisioned.output))
            return self._signed(combo, result, None, [])
        if need.skips and (lack := self._slots.lack(need)):
            result = Result(combo.ordinal, Verdict(Outcome.SKIPPED, Phase.PLAN, Reason.EXCLUDED, lack))
            return self._signed(combo, result, provisioned.environment, [])
        return None

    @contextlib.contextmanager
    def opened(self, combo: Combo, need: DeviceRequest, *, network: bool = False) -> Iterator[OpenEnvironment]:
        """Open a combination's environment, with the devices that are needed, for programs; afterwards it is gone.

        Raises ``HarnessProblem``.
        """
        provisioned = self._provision(combo)
        assert isinstance(provisioned, Ready), "asked for before"
        environment = provisioned.environment
        with self._devices(need) as named:
            at, start = time.time(), time.perf_counter()
            try:
                place = self._worktree(self._interpreters[combo.interpreter])
                with (
                    place.composed(environment) as composed,
                    self._runner.session(combo, composed, network=network) as session,
                ):
                    yield OpenEnvironment(environment, composed, session, place, self._limits, named)
            except (HarnessProblem, OSError):
                self._start_afresh()
                raise
            finally:
                self._telemetry.spans(None, [Span("run", at, time.perf_counter() - start)])

    def interpreter(self, combo: Combo) -> Interpreter:
        """Return a combination's interpreter."""
        return self._interpreters[combo.interpreter]

    def _provision(self, combo: Combo) -> Provisioned:
        if combo.plan_verdict:
            return Refused(combo.ordinal, combo.plan_verdict)
        try:
            found = self._reader.provision(combo.ordinal)
        except Exception as error:
            return Refused(combo.ordinal, fault_verdict(Phase.PLAN, error))
        missing = Verdict(Outcome.ERROR, Phase.PLAN, Reason.INTERNAL, "handed out before it was provisioned")
        return found or Refused(combo.ordinal, missing)

    def report_took(self, ordinal: int, seconds: float) -> None:
        """Record that it took so long to report a combination, until now."""
        self._telemetry.spans(ordinal, [Span("report", time.time() - seconds, seconds)])
        self._reported += 1
        if self._reported % TIDY == 0:
            give_memory_back()

    def waited(self, start: float, seconds: float) -> None:
        """Record that this worker had nothing to do, from a start as ``time.time`` has it."""
        self._telemetry.spans(None, [Span("wait", start, seconds)])

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Record what is done within as waiting."""
        at, start = time.time(), time.perf_counter()
        yield
        self.waited(at, time.perf_counter() - start)

    def close(self) -> None:
        """End the runner, write the telemetry; the worktrees go with the run's directory."""
        self._runner.close()
        self._cache.release()
        self._telemetry.close()
        if self._reusable:
            self._reusable.close()
        self._reader.close()

    def _attempt(
        self,
        combo: Combo,
        environment: Environment,
        limits: Limits,
        variables: Mapping[str, str],
        spans: list[Span],
        *,
        cold: bool = False,
    ) -> Result:
        """Compose, run, clear away; a fault of ours is a verdict too. To ``spans`` is added one for each step."""
        # The wall clock says when the attempt began, for others to compare; whatever follows is measured from there.
        at, marks = time.time(), [time.perf_counter()]
        result = None
        try:
            worktree = self._worktree(self._interpreters[combo.interpreter])
            with worktree.composed(environment) as composed:
                marks.append(time.perf_counter())
                result = self._judge.result(combo, environment, composed, limits, variables, cold=cold)
                self._compile(combo, environment, composed, result)
                marks.append(time.perf_counter())
        except Exception as error:
            self._start_afresh()
            # What was found before the environment could not be cleared away stays true.
            result = result or Result(combo.ordinal, fault_verdict(Phase.INSTALL, error))
        marks.append(time.perf_counter())
        for phase, (before, after) in zip(("compose", "run", "clear"), pairwise(marks), strict=False):
            spans.append(Span(phase, at + before - marks[0], after - before))
        return result

    def _compile(self, combo: Combo, environment: Environment, composed: Composed, result: Result) -> None:
        """Have layers bear bytecode from now on: those met again, and others where that is quick.

        Tests bear it once a suite has passed, and met them all.
        """
        if composed.unrewritten and result.verdict.outcome is Outcome.PASSED:
            rewritten = self._runner.rewritten(combo, environment, composed, self._limits)
            self._layers.rewrite(composed.unrewritten, composed.trees[-1], rewritten)
        quick = result.seconds < QUICK
        layers = [one for one in composed.uncompiled if quick or self._layers.is_met_again(one)]
        imported = self._runner.imported(composed) if layers else ()
        sources = self._layers.sources(layers, imported)  # others have theirs, such as pytest
        bytecode = self._runner.bytecode(combo, composed, self._limits, sources)
        for layer in layers if bytecode or (imported and not sources) else ():
            self._layers.compile(layer, bytecode, composed.layers[: composed.layers.index(layer)])

    def _start_afresh(self) -> None:
        """Give up replica and worktrees: after a fault of ours nobody knows what they are worth, or can be removed."""
        self._runner.forget()
        self._worktrees.clear()
        self._replica = None
        with contextlib.suppress(RecursionError):  # too deep a tree; it goes with the run's directory
            for path in filter(None, (self._place, self._own)):
                remove_tree(path)
        self._places += 1

    @property
    def _place(self) -> Path:
        return Path(self._spec.room) / (f"{self._worker}-{self._places}" if self._places else self._worker)

    @property
    def _own(self) -> Path | None:
        return Path(self._spec.own) / self._place.name if self._spec.own else None

    def _worktree(self, interpreter: Interpreter) -> Worktree | Overlay:
        if interpreter.id not in self._worktrees:
            self._replica = self._replica or Replica(Path(self._spec.replica), self._place)
            path = self._replica.add_worktree(interpreter)
            self._worktrees[interpreter.id] = (
                Overlay(path, interpreter, self._layers, self._owner)
                if self._spec.sandbox.level >= 3
                else Worktree(path, interpreter, self._replica.restore, self._copy, self._own)
            )
        return self._worktrees[interpreter.id]

    def _signed(self, combo: Combo, result: Result, environment: Environment | None, spans: Sequence[Span]) -> Result:
        """Add what only the executor knows; without an environment there was nothing to run in."""
        self._telemetry.spans(combo.ordinal, spans)
        bad = result.verdict.outcome.is_bad
        return dataclasses.replace(
            result,
            worker=self._worker,
            host=self._host,
            fingerprint=environment.fingerprint if environment else "",
            locked=environment.locked if environment else {},
            warnings=tuple(map(harmless, environment.warnings)) if environment else (),
            reproduce=self._reproduction(combo, environment, result) if bad and combo.version else "",
            phases=seconds_by_phase(spans),
        )

    def reproduction_of_test(self, combo: Combo, nodeid: str) -> str:
        """Return a line that runs a test function's item again."""
        return reproduction_of_test(combo, nodeid, self._spec)

    def _reproduction(self, combo: Combo, environment: Environment | None, result: Result) -> str:
        spec, python = self._spec, self._interpreters[combo.interpreter].path
        outside, bound = spec.outside and is_free(environment, spec.limited), is_bound(result.verdict, result.output)
        return reproduction(combo, environment, python, spec, outside=outside, bound=bound)
