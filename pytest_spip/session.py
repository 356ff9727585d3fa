"""Joins the rooms into a run: the controller plans, provisions and records; a workbench composes and runs."""

from __future__ import annotations

import dataclasses
import datetime
import os
import shlex
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import platformdirs
from packaging.requirements import Requirement

from pytest_spip.compose.base import BaseRepository, Replica, check_git
from pytest_spip.compose.ram import Root, choose_root, discard, sweep
from pytest_spip.compose.worktree import Worktree
from pytest_spip.disk import Cache, open_cache
from pytest_spip.errors import HarnessProblem, IndexProblem, SpipError, UnknownPackage, UsageProblem
from pytest_spip.model import (
    Combo,
    Indexes,
    Interpreter,
    Limits,
    Outcome,
    Phase,
    Plan,
    Provisioned,
    Reason,
    Release,
    Result,
    Verdict,
)
from pytest_spip.options import Settings
from pytest_spip.plan.index import list_project
from pytest_spip.plan.interpreters import discover, parse_wanted, select
from pytest_spip.plan.matrix import make_plan, parse_requirement
from pytest_spip.plan.sources import user_indexes
from pytest_spip.plan.versions import as_of, choose, parse_policy
from pytest_spip.provision.provisioner import Provisioner
from pytest_spip.provision.uv import Uv, find_uv
from pytest_spip.record.rundb import RunReader, RunWriter
from pytest_spip.record.rundir import RunDirectory
from pytest_spip.record.telemetry import Telemetry, cpu_times
from pytest_spip.report.analysis import Summary, summarise
from pytest_spip.report.progress import Progress
from pytest_spip.run.cold import ColdRunner
from pytest_spip.run.process import adopt_orphans
from pytest_spip.run.runner import Runner
from pytest_spip.web import Web, redact

__all__ = ["BenchSpec", "Controller", "Planner", "Workbench"]

CHECK = "import"
SANDBOX_LEVEL = "1"
"""Limits, clean environment, own session killed whole: what the cold runner gives."""
_BAD = frozenset({Outcome.FAILED, Outcome.KILLED, Outcome.CRASHED, Outcome.ERROR})


class Planner:
    """Makes the plan from what the user asked for, the indexes and this machine. Creates nothing but cache entries."""

    def __init__(self, settings: Settings, rootdir: Path, environ: Mapping[str, str]) -> None:
        self.settings = settings
        self.indexes = user_indexes(environ, rootdir)
        self.requirements = [parse_requirement(text) for text in settings.matrix]
        self._wanted = parse_wanted(settings.python)
        self._policy = parse_policy(settings.versions)
        self._environ = environ
        find_uv()
        check_git()
        root = Path(settings.cache).expanduser() if settings.cache else platformdirs.user_cache_path("pytest-spip")
        self.cache = open_cache(rootdir / root)
        self.web = Web([*self.indexes.urls, *self.indexes.find_links])
        self._notes: list[str] = []

    def plan(self, offered: Iterable[str], choose_combos: Callable[[list[Combo], Sequence[Interpreter]], None]) -> Plan:
        """Return the frozen plan; ``offered`` are further interpreters, ``choose_combos`` may change the list in place.

        Raises ``UsageProblem``, also for an index that cannot be read when there is nothing else to do.
        """
        interpreters = self._interpreters(offered)
        releases = {str(requirement): self._releases(requirement) for requirement in self.requirements}
        draft = make_plan(self.requirements, releases, interpreters, exclude_newer=self.settings.exclude_newer, notes=self._notes)
        combos = list(draft.combos)
        choose_combos(combos, interpreters)
        return dataclasses.replace(draft, combos=tuple(dataclasses.replace(combo, ordinal=n) for n, combo in enumerate(combos)))

    def close(self) -> None:
        """Give connections and the cache's workshop back."""
        self.web.close()
        self.cache.close()

    def _interpreters(self, offered: Iterable[str]) -> tuple[Interpreter, ...]:
        extra = [*offered, *(wish.path for wish in self._wanted if wish.path)]
        chosen = select(discover(self._environ, self.cache, extra), self._wanted)
        missing = [one for one in chosen if one.problem]
        if missing and self._download(missing):
            chosen = select(discover(self._environ, self.cache, extra), self._wanted)
        found = [one for one in chosen if not one.problem]
        if not found:
            wanted = self.settings.python or "CPython >= 3.8"
            mend = "name one that is installed; 'uv python install' brings more"
            raise UsageProblem("--spip-python", f"no interpreter fits {wanted!r}", mend)
        self._notes += [f"{one.problem}: its combinations are skipped" for one in chosen if one.problem]
        return chosen

    def _download(self, missing: Sequence[Interpreter]) -> bool:
        """Have uv bring the interpreters that the machine lacks; tell whether it brought one."""
        uv = Uv(self.indexes, environ=self._environ)
        wishes = [one.id.removeprefix("missing-") for one in missing]
        return any([uv.install_python(wish) for wish in wishes if "/" not in wish])

    def _releases(self, requirement: Requirement) -> tuple[Release, ...] | Verdict:
        """Return the releases chosen for a requirement; one bad project among many becomes a verdict of its own."""
        try:
            return self._chosen(requirement)
        except (UnknownPackage, IndexProblem) as error:
            if len(self.requirements) > 1:
                return Verdict(Outcome.ERROR, Phase.PLAN, Reason.INDEX_ERROR, _first_clause(error))
            if isinstance(error, UsageProblem):
                raise
            raise UsageProblem("--spip-matrix", str(error), "check the network, UV_DEFAULT_INDEX and pip's index-url") from error

    def _chosen(self, requirement: Requirement) -> tuple[Release, ...]:
        listing = list_project(requirement.name, self.indexes, self.web, self.cache)
        self._notes += listing.notes
        settings = self.settings
        known: tuple[Release, ...] = listing.releases
        if settings.exclude_newer:
            known = as_of(known, datetime.datetime.fromisoformat(settings.exclude_newer))
        chosen = choose(known, requirement.specifier, self._policy, pre=settings.pre, yanked=settings.yanked)
        if not chosen:
            newest = known[-1].version if known else "none"
            mend = "widen the specifier, or add --spip-pre or --spip-yanked"
            raise UsageProblem("--spip-matrix", f"none of {len(known)} releases of {listing.package} fits (newest: {newest})", mend)
        return chosen


def _first_clause(error: SpipError) -> str:
    return error.what if isinstance(error, UnknownPackage) else str(error)


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


class Controller:
    """One run, seen from the process that plans and records it."""

    def __init__(self, planner: Planner, plan: Plan, rootdir: Path, command: str, environ: Mapping[str, str]) -> None:
        self.settings = planner.settings
        self.plan = plan
        self.by_nodeid = {combo.nodeid: combo for combo in plan.combos}
        self.progress = Progress()
        self._planner = planner
        self._uuid = self.settings.run or str(uuid.uuid4())
        self._selected: frozenset[int] = frozenset()
        self._ready: dict[int, Provisioned] = {}
        self._changed = threading.Condition()
        self._provisioner: Provisioner | None = None
        self._on_ready: Callable[[int], None] = lambda ordinal: None
        self._began: tuple[float, tuple[float, float, float]] | None = None
        self._ended = 0.0
        self._started = _now()
        self.directory = RunDirectory.create(rootdir, self._uuid)
        try:
            self.root: Root = choose_root(self.settings.ram, environ)
        except SpipError:
            self.directory.discard()
            raise
        self.writer = RunWriter(self.directory.database)
        self.writer.create(plan, self._facts(command))

    def prepare(self) -> None:
        """Sweep debris of the dead, see to the base environments, and replicate them into RAM. Raises ``HarnessProblem``."""
        sweep(self.root)
        used = {combo.interpreter for combo in self.plan.combos if not combo.prejudged}
        base = BaseRepository(self._planner.cache)
        base.ensure([one for one in self.plan.interpreters if one.id in used])
        base.replicate(self.root.path / "base.git")

    def bench_spec(self) -> BenchSpec:
        """Return what workers need."""
        return BenchSpec(
            database=str(self.directory.database),
            workers=str(self.directory.workers),
            replica=str(self.root.path / "base.git"),
            room=str(self.root.path),
            run=self._uuid,
            timeout=self.settings.timeout,
            memory=self.settings.memory,
            exclude_newer=self.settings.exclude_newer,
            index_options=_index_options(self._planner.indexes),
        )

    def start(self, selected: Iterable[int], on_ready: Callable[[int], None] = lambda ordinal: None) -> None:
        """Begin to provision the selected combinations; ``on_ready`` is called, from other threads, for each."""
        self._selected = frozenset(selected)
        self._on_ready = on_ready
        self._began = time.monotonic(), cpu_times()
        self.progress = Progress(planned=len(self._selected))
        self._provisioner = Provisioner(
            self.plan,
            self._planner.cache,
            self._planner.web,
            self._planner.indexes,
            check=CHECK,
            locks=self.directory.locks,
            on_ready=self._provisioned,
        )
        self._provisioner.start(self.plan.combos[ordinal] for ordinal in sorted(self._selected))

    def _provisioned(self, done: Provisioned) -> None:
        self.writer.provisioned(done)
        with self._changed:
            self._ready[done.ordinal] = done
            self.progress.provisioned += 1
            self.progress.built += done.work.get("built", 0)
            self._changed.notify_all()
        self._on_ready(done.ordinal)

    def wait_for(self, ordinal: int) -> None:
        """Block until a combination is provisioned. For a session without workers."""
        with self._changed:
            self._changed.wait_for(lambda: ordinal in self._ready)

    def record(self, result: Result) -> None:
        """Enter a verdict into the ledger."""
        self.writer.verdict(result)
        self._ended = time.monotonic()
        self.progress.done += 1
        self.progress.bad += result.verdict.outcome in _BAD

    def lost(self, combo: Combo, detail: str) -> Result:
        """Return the result of a combination whose worker died over it."""
        verdict = Verdict(Outcome.ERROR, Phase.IMPORT, Reason.WORKER_LOST, detail)
        return Result(combo.ordinal, verdict, host=socket.gethostname())

    def stop(self) -> None:
        """End provisioning, wherever it is."""
        if self._provisioner:
            self._provisioner.stop()

    def finish(self) -> Summary:
        """Merge telemetry, close the books, and return what the session came to."""
        self.stop()
        damaged = self.writer.merge(self.directory.workers)
        self.writer.note({"finished": _now(), "damaged_telemetry": damaged})
        summary = self._summary()
        self.writer.note({"cpu_utilisation": summary.cpu, "iowait": summary.iowait})
        self.writer.close()
        return summary

    def leave(self) -> None:
        """Give everything back; the run's tree in RAM goes in the background."""
        discard(self.root.path)
        self._planner.close()

    def _summary(self) -> Summary:
        reader = RunReader(self.directory.database)
        try:
            began, cpu_then = self._began or (time.monotonic(), cpu_times())
            busy, iowait, total = (now - then for now, then in zip(cpu_times(), cpu_then, strict=True))
            return summarise(
                facts=reader.facts(),
                combos=self.plan.combos,
                interpreters=self.plan.interpreters,
                results=reader.results(),
                selected=self._selected,
                phases=reader.phases(),
                work=reader.work(),
                seconds=max(self._ended - began, 0.0),
                cpu=busy / total if total else 0.0,
                iowait=iowait / total if total else 0.0,
            )
        finally:
            reader.close()

    def _facts(self, command: str) -> dict[str, Any]:
        indexes = self._planner.indexes
        return {
            "uuid": self._uuid,
            "started": self._started,
            "finished": None,
            "exclude_newer": self.plan.exclude_newer or self._started,
            "command": command,
            "hosts": [socket.gethostname()],
            "sandbox": SANDBOX_LEVEL,
            "runner": ColdRunner.name,
            "ram": self.root.summary,
            "indexes": [redact(url) for url in (*indexes.urls, *indexes.find_links)],
            "plan_hash": self.plan.hash,
            "notes": list(self.plan.notes),
        }


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _index_options(indexes: Indexes) -> str:
    """Return the options that make uv see the same indexes, where it would not by itself. Without credentials."""
    if indexes.origin != "pip" or not indexes.urls:
        return ""
    *ahead, last = indexes.urls
    words = [f"--index={redact(url)}" for url in ahead] + [f"--default-index={redact(last)}"]
    return " ".join(map(shlex.quote, [*words, *(f"--find-links={place}" for place in indexes.find_links)]))


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
        self.combos = {combo.nodeid: combo for combo in self._reader.combos()}
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
            return self._signed(combo, Result(combo.ordinal, provisioned.verdict, output=provisioned.output), provisioned, {})
        for attempt in (1, 2):
            phases: dict[str, float] = {}
            result = dataclasses.replace(self._attempt(combo, provisioned, phases), attempts=attempt)
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

    def _attempt(self, combo: Combo, provisioned: Provisioned, phases: dict[str, float]) -> Result:
        assert provisioned.environment is not None, "only environments are run"
        start = time.perf_counter()
        try:
            worktree = self._worktree(self._interpreters[combo.interpreter])
            with worktree.composed(provisioned.environment) as composed:
                phases["compose"] = time.perf_counter() - start
                result = self._runner.run(combo, provisioned.environment, composed, self._limits)
                ended = time.perf_counter()
                phases["run"] = ended - start - phases["compose"]
            phases["clear"] = time.perf_counter() - ended
            return result
        except (HarnessProblem, OSError) as error:
            return Result(combo.ordinal, Verdict(Outcome.ERROR, Phase.INSTALL, Reason.INTERNAL, f"{type(error).__name__}: {error}"))

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
        bad = result.verdict.outcome in _BAD
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


