"""Joins the rooms that plan, provision, record and report into a run, seen from the process that the user started."""

from __future__ import annotations

import contextlib
import functools
import json
import shlex
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from pytest_spip.common.machine import Machine, ProcessorTimes
from pytest_spip.common.tags import needs_build
from pytest_spip.common.waits import wait_for
from pytest_spip.compose.base import BaseRepository
from pytest_spip.compose.copying import copy_bytes, find_copy
from pytest_spip.compose.ram import Root, choose_root, discard, short_directory, sweep
from pytest_spip.dispatch.autoscale import DEFAULT_PEAK, seen_peak
from pytest_spip.errors import HarnessProblem
from pytest_spip.model import (
    CONTROLLER,
    NEEDS,
    BuildPolicy,
    Builds,
    Check,
    Combo,
    Interpreter,
    Limits,
    Outcome,
    Phase,
    Plan,
    Provisioned,
    Reason,
    Result,
    Summary,
    Verdict,
)
from pytest_spip.provision.maker import EnvironmentMaker, ProvisionInputs
from pytest_spip.provision.provisioner import Provisioner
from pytest_spip.record.costs import Costs, estimate, remembered
from pytest_spip.record.rundb import DatabaseError, RunWriter
from pytest_spip.record.rundir import RunDirectory, check_room, unwritable
from pytest_spip.record.telemetry import Telemetry
from pytest_spip.report.progress import Progress
from pytest_spip.run.closures import ClosureFinder, closures_path
from pytest_spip.run.confine import BuildSandboxes
from pytest_spip.run.server import has_fork_servers
from pytest_spip.session.devices import Devices, find_devices
from pytest_spip.session.planner import Planner
from pytest_spip.session.repeated_options import index_options, limited_names, our_options, uv_suffices
from pytest_spip.session.resume import Interrupted
from pytest_spip.session.run_facts import RunFacts, now, run_facts
from pytest_spip.session.summary import sum_up
from pytest_spip.session.worker_spec import WorkerSpec

__all__ = ["Run"]

PLAN_VERDICT = 0.0005
"""Seconds that a combination takes in a worker which the plan decided."""


class Run:
    """One run, seen from the process that plans and records it; with ``earlier`` a run that goes on."""

    def __init__(
        self,
        planner: Planner,
        plan: Plan,
        rootdir: Path,
        command: str,
        environ: Mapping[str, str],
        earlier: Interrupted | None = None,
    ) -> None:
        self.settings = planner.settings
        self._environ = environ
        self.plan = plan
        self._by_nodeid = {combo.nodeid: combo for combo in plan.combos}
        self.progress = Progress()
        self.peak = DEFAULT_PEAK
        self._planner = planner
        self._uuid = self.settings.run or str(uuid.uuid4())
        # What the plan decides needs no provisioning. What resuming decides is not in the frozen plan, and is provisioned.
        self._ready = set(earlier.kept) if earlier else {combo.ordinal for combo in plan.combos if combo.plan_verdict}
        self._changed = threading.Condition()
        self._judged: frozenset[int] = frozenset()
        self._provisioner: Provisioner | None = None
        self._on_ready: Callable[[Sequence[int]], None] = lambda _: None
        self._on_fault: Callable[[str], None] = lambda _: None
        self._fault = ""
        self._machine = Machine()
        self._began: tuple[float, ProcessorTimes] | None = None
        self._telemetry: Telemetry | None = None
        self._ended = 0.0
        self.unrecorded = ""
        self._closures: dict[str, str] = {}
        self._finder: ClosureFinder | None = None
        self._started = now()
        self._damaged: list[str] = []
        self.missing = earlier.missing if earlier else plan.combos
        self.plan_hash: str = earlier.facts["plan_hash"] if earlier else plan.hash
        if not earlier:
            check_room(rootdir, len(plan.combos))
        self.directory = earlier.directory if earlier else RunDirectory.create(rootdir, self._uuid)
        with contextlib.ExitStack() as undo:
            if not earlier:
                undo.callback(self.directory.discard)
            self._hold = earlier or self.directory.hold()
            undo.callback(self._hold.release)
            self.root: Root = choose_root(self.settings.ram, environ)
            undo.callback(discard, self.root.path)
            self._open_books(command, earlier)
            undo.pop_all()

    def _open_books(self, command: str, earlier: Interrupted | None) -> None:
        try:
            self.writer = RunWriter(self.directory.database)
            if earlier:
                self._damaged = earlier.open(self.writer)
            else:
                self.writer.create(self.plan, self._facts(command).to_plain())
        except DatabaseError as error:
            raise unwritable(self.directory.path, error) from error

    def _facts(self, command: str) -> RunFacts:
        return run_facts(
            self._planner,
            self.plan,
            self.plan_hash,
            uuid=self._uuid,
            started=self._started,
            command=command,
            ram=self.root.summary,
            check=self._check,
        )

    def prepare(self) -> None:
        """Sweep debris of the dead, see to the base environments, and replicate them into RAM. Raises ``HarnessProblem``."""
        sweep(self.root)
        used = {combo.interpreter for combo in self.missing if not combo.plan_verdict}
        interpreters = [one for one in self.plan.interpreters if one.id in used]
        base = BaseRepository(self._planner.cache)
        base.ensure(interpreters)
        base.replicate(self.root.path / "base.git")
        if has_fork_servers() and self.settings.runner != "cold":
            self._find_closures([one for one in interpreters if one.implementation == "cpython"])

    def _find_closures(self, interpreters: Sequence[Interpreter]) -> None:
        """Learn what warm children need; takes seconds, once for each interpreter. Until it is known they run cold."""
        cache = self._planner.cache
        self._closures = {one.id: str(closures_path(one, cache)) for one in interpreters}
        missing = [one for one in interpreters if not Path(self._closures[one.id]).exists()]
        if missing:
            self._finder = ClosureFinder(missing, cache)
            if self.settings.runner == "warm":
                self._finder.close()

    @property
    def how(self) -> str:
        """How combinations are run, for the header."""
        runner = self.settings.runner if has_fork_servers() else "cold"
        warning = "" if self._planner.sandbox.level >= 2 else "; package code can read your files and use the network"
        return f"runner {runner}, sandbox {self._planner.sandbox.summary}, {self._composition}{warning}"

    @property
    def _composition(self) -> str:
        if self._planner.sandbox.level >= 3:
            return "environments overlaid"
        copies = find_copy(self._planner.cache.root, self.root.path) is copy_bytes
        return f"environments {'copied' if copies else 'reflinked'}"

    def combo_of(self, nodeid: str) -> Combo | None:
        """Return the combination that a node id means; ``@group`` may stand behind it, from xdist's ``--dist=loadgroup``."""
        return self._by_nodeid.get(nodeid) or self._by_nodeid.get(nodeid.rpartition("@")[0])

    def worker_spec(self) -> WorkerSpec:
        """Return what workers need."""
        return WorkerSpec(
            database=str(self.directory.database),
            workers=str(self.directory.workers),
            replica=str(self.root.path / "base.git"),
            room=str(self.root.path),
            run=self._uuid,
            session=self.writer.session,
            cache=str(self._planner.cache.root),
            check=Check(self.settings.check, self.settings.command),
            extra_requirements=self._planner.extra_requirements,
            project=self.settings.project,
            limits=Limits(
                timeout=self.settings.timeout, memory=self.settings.memory, inactivity=self.settings.inactivity
            ),
            runner=self.settings.runner,
            sandbox=self._planner.sandbox,
            closures=self._closures,
            exclude_newer=self.settings.exclude_newer,
            index_options=index_options(self._planner.indexes),
            ours=our_options(self.settings),
            outside=uv_suffices(self._planner.indexes),
            limited=limited_names(self._planner.indexes),
            slots=self.devices.slots,
            builds=self._build_policy,
            own=str(self._own) if self._planner.sandbox.level < 3 else "",
        )

    @functools.cached_property
    def devices(self) -> Devices:
        """The devices of the run's slots, as they were found once for all its workers."""
        return find_devices(self.settings.slots, self._environ)

    @functools.cached_property
    def _own(self) -> Path:
        return short_directory(self.root)

    def start(
        self,
        selected: Iterable[int],
        on_ready: Callable[[Sequence[int]], None] = lambda _: None,
        *,
        on_fault: Callable[[str], None] = lambda _: None,
        needed: Iterable[int] = (),
    ) -> None:
        """Begin to provision the selected combinations; ``on_ready`` is called, from other threads, with those that were not ready.

        ``on_fault`` is called with the reason when no more of them can get ready. ``needed`` are provisioned too: test functions
        want them, and no verdict. Raises ``UsageProblem`` where the run cannot be written.
        """
        chosen = frozenset(selected)
        missing = sorted(chosen.union(needed) - self._ready)
        self._on_ready, self._on_fault = on_ready, on_fault
        self._began = time.monotonic(), self._machine.times()
        telemetry = self.directory.workers / f"{CONTROLLER}.sqlite"
        self._telemetry = Telemetry(telemetry, CONTROLLER, self._uuid, room=self.root.path)
        try:
            self.writer.begin(combo.ordinal for combo in self.missing if combo.ordinal not in chosen)
        except DatabaseError as error:
            raise unwritable(self.directory.path, error) from error
        self._judged = chosen
        self.progress = Progress(planned=len(chosen), provisioned=len(chosen.difference(missing)))
        self._provisioner = Provisioner(EnvironmentMaker(self._inputs()), self._provisioned, self._break_off)
        self.progress.builds = self._builds
        self._provisioner.start(self.plan.combos[ordinal] for ordinal in missing)

    def _inputs(self) -> ProvisionInputs:
        planner = self._planner
        return ProvisionInputs(
            self.plan,
            planner.cache,
            planner.web,
            planner.indexes,
            BuildSandboxes(planner.sandbox, self.root.path / "build-view", planner.cache.pycache),
            planner.considered,
            check=self._check,
            locks=self.directory.locks,
            wanted=planner.wanted,
            project=planner.project,
            policy=self._build_policy,
        )

    def builds_line(self) -> list[str]:
        """Return, for the header, how many combinations are built from sdists, if any are."""
        interpreters = {one.id: one for one in self.plan.interpreters}
        releases = {(one.package, one.version): one for one in self.plan.releases}
        needed = sum(
            any(
                needs_build(releases[name], interpreters[combo.interpreter])
                for name in combo.releases
                if name in releases  # what an earlier session provisioned is not listed again
            )
            for combo in self.missing
            if not combo.plan_verdict
        )
        if not needed:
            return []
        what = f"{needed} of {len(self.missing)} have no wheel and are built from sdists, after all others"
        return [f"{what}; --spip-build=never leaves them out"]

    @property
    def _build_policy(self) -> BuildPolicy:
        settings = self.settings
        return BuildPolicy(settings.build == "never", settings.build_timeout, settings.build_memory)

    def _builds(self) -> Builds:
        return self._provisioner.builds if self._provisioner else Builds()

    def needs(self) -> dict[str, int]:
        """Return the node ids of functions' items, as the workers that collected them say, and the ordinals that they need."""
        try:
            named: dict[str, int] = json.loads((self.root.path / NEEDS).read_text("utf-8"))
        except FileNotFoundError:
            return {}
        return named

    def is_ready(self, ordinal: int) -> bool:
        """Tell whether a combination can be run: it is provisioned, or needs not be."""
        return ordinal in self._ready

    def _provisioned(self, done: Sequence[Provisioned]) -> None:
        self.writer.provisioned(*done)
        ordinals = [one.ordinal for one in done]
        with self._changed:
            self._ready.update(ordinals)
            self.progress.provisioned += len(self._judged.intersection(ordinals))
            self.progress.built += sum(one.work.get("built", 0) for one in done)
            self._changed.notify_all()
        self._on_ready(ordinals)

    def _break_off(self, fault: str) -> None:
        with self._changed:
            self._fault = fault
            self._changed.notify_all()
        self._on_fault(fault)

    def wait_for(self, ordinal: int) -> None:
        """Block until a combination is provisioned. For a session without workers. Raises ``HarnessProblem`` when it cannot be."""
        with self._changed:
            what = f"provisioning {self.plan.combos[ordinal].id}"
            wait_for(self._changed, lambda: ordinal in self._ready or self._fault, what)
        if ordinal not in self._ready:
            raise HarnessProblem(self._fault)

    def record(self, result: Result, *, failing: bool | None = None) -> None:
        """Enter a verdict into the ledger; ``failing`` is whether it fails the session."""
        self.writer.verdict(result, failing=failing)
        self._ended = time.monotonic()
        self.peak = seen_peak(self.peak, result.peak_rss)
        self.progress.done += 1
        self.progress.bad += result.verdict.outcome.is_bad
        self.progress.errors += result.verdict.outcome is Outcome.ERROR

    @property
    def _check(self) -> str:
        """What equal environments must have in common for equal verdicts."""
        return shlex.join([self.settings.check, *self.settings.command])

    @functools.cached_property
    def _costs(self) -> Costs:
        return remembered(self.directory.path.parent, self._check)

    def cost(self, combo: Combo) -> float:
        """Return the seconds that a combination will take in a worker, as far as earlier runs tell."""
        return PLAN_VERDICT if combo.plan_verdict else estimate(combo, self._costs).seconds

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
        if self._telemetry:
            self._telemetry.close()
        try:
            self._close_books()
        except DatabaseError as error:
            waiting = self.writer.waiting
            lost = f"; {waiting} verdicts are not recorded, and are run again" if waiting else ""
            self.unrecorded = f"cannot write {self.directory.path} ({error}){lost}: make room, then use --spip-resume"
        summary = sum_up(self.directory.database, self.plan, on_disk=self.root.kind == "disk")
        with contextlib.suppress(DatabaseError):  # it was reported above
            self.writer.close()
        return summary

    def _close_books(self) -> None:
        damaged = [*self._damaged, *self.writer.merge(self.directory.workers)]
        self.writer.note({"finished": now(), "damaged_telemetry": damaged})
        if self._began:
            began, times = self._began
            self.writer.end(max(self._ended - began, 0.0), *self._machine.times().shares_since(times))

    def leave(self, *, now: bool = False) -> None:
        """Give everything back, ``now`` without waiting for what is found out; the run's tree in RAM goes in the background."""
        discard(self.root.path)
        if self._finder:
            self._finder.close(now=now)
        self._planner.close()
        self._hold.release()
