"""Joins the rooms that plan, provision, record and report into a run, seen from the process that the user started."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_spip.common.machine import Machine, ProcessorTimes
from pytest_spip.compose.base import BaseRepository
from pytest_spip.compose.ram import sweep
from pytest_spip.dispatch.peaks import DEFAULT_PEAK, seen_peak
from pytest_spip.model import (
    CONTROLLER,
    NEEDS,
    Combo,
    Interpreter,
    Outcome,
    Phase,
    Provisioned,
    Reason,
    Result,
    RunFacts,
    Summary,
    Verdict,
)
from pytest_spip.names import OWN_RUNS
from pytest_spip.provision.provisioner import Provisioner
from pytest_spip.provision.recall import Recall
from pytest_spip.record.costs import Costs, remembered
from pytest_spip.record.rundb import DatabaseError, RunWriter
from pytest_spip.record.rundir import unwritable
from pytest_spip.record.telemetry import Telemetry
from pytest_spip.report.progress import Progress
from pytest_spip.report.texts import one_line
from pytest_spip.run.closures import ClosureFinder, closures_path
from pytest_spip.run.server import has_fork_servers
from pytest_spip.session.devices import Devices, find_devices
from pytest_spip.session.planned import Planned
from pytest_spip.session.readiness import Listener, Readiness
from pytest_spip.session.resume import Interrupted
from pytest_spip.session.reuse import ReuseDirectory, experiment_of, identities_of, index_earlier
from pytest_spip.session.run_facts import now, run_facts, runner_line
from pytest_spip.session.run_inputs import environment_maker, limits_of, provision_inputs, worker_spec
from pytest_spip.session.run_places import RunPlaces
from pytest_spip.session.sharding import cost_of
from pytest_spip.session.summary import sum_up
from pytest_spip.session.worker_spec import WorkerSpec

if TYPE_CHECKING:
    from pytest_spip.session.bisecting import Bisections
    from pytest_spip.session.shared_run import SharedRun
    from pytest_spip.session.shared_work import SharedWork

__all__ = ["Run"]

NOBODY = Listener()


@dataclasses.dataclass(frozen=True, slots=True)
class _Work:
    """What there is from the moment that provisioning begins, at ``began`` of the monotonic clock."""

    began: float
    times: ProcessorTimes
    telemetry: Telemetry
    provisioner: Provisioner


class Run:
    """One run, seen from the process that plans and records it: one that begins, or one that goes on."""

    def __init__(self, planned: Planned, rootdir: Path, command: str, environ: Mapping[str, str]) -> None:
        self.settings = planned.planner.settings
        self.plan = planned.plan
        self.missing = planned.missing
        self.plan_hash = planned.earlier.facts.plan_hash if planned.earlier else self.plan.hash
        self.progress = Progress()
        self.peak = DEFAULT_PEAK
        self.unrecorded = ""
        self._planner = planned.planner
        self._environ = environ
        self._rootdir = rootdir
        self._uuid = self.settings.run or str(uuid.uuid4())
        self._by_nodeid = {combo.nodeid: combo for combo in self.plan.combos}
        self._ready = Readiness(planned.decided)
        self._work: _Work | None = None
        self._machine = Machine()
        self._ended = 0.0
        self._counting = threading.Lock()
        self.bisections: Bisections | None = None
        self._shared_work: SharedWork | None = None
        self._closures: dict[str, str] = {}
        self._finder: ClosureFinder | None = None
        self._expected = ""
        self.shared = planned.shared
        with RunPlaces.acquired(planned, self._uuid, rootdir, environ) as self.places:
            self._facts = self._make_facts(command)
            if self.shared:
                self.shared.check(self._facts)
            if self.shared and planned.earlier:
                self.shared.end_earlier(planned.earlier.facts.agent)
            self._damaged = self._open_books(planned.earlier, planned.elsewhere)
            if self.shared:
                self.writer.note({"agent": self.shared.agent})

    def _open_books(self, earlier: Interrupted | None, elsewhere: frozenset[int]) -> list[str]:
        """Open the ledger; return the names of damaged telemetry files that an earlier session has left."""
        directory = self.places.directory
        try:
            self.writer = RunWriter(directory.database)
            if earlier:
                return earlier.open(self.writer)
            self.writer.create(self.plan, self._facts, elsewhere)
        except DatabaseError as error:
            raise unwritable(directory.path, error) from error
        return []

    def _make_facts(self, command: str) -> RunFacts:
        return run_facts(
            self._planner,
            self.plan,
            self.plan_hash,
            uuid=self._uuid,
            started=now(),
            command=command,
            ram=self.places.root.summary,
            check=self.settings.check_text,
            experiment=self._experiment,
        )

    def prepare(self) -> None:
        """Sweep debris of the dead, see to the base environments, and replicate them into RAM. Raises ``HarnessProblem``."""
        sweep(self.places.root)
        used = {combo.interpreter for combo in self.missing if not combo.plan_verdict}
        interpreters = [one for one in self.plan.interpreters if one.id in used]
        base = BaseRepository(self._planner.cache)
        base.ensure(interpreters)
        base.replicate(self.places.replica)
        if self._reuses:
            self._index_earlier()
        if has_fork_servers() and self.settings.runner != "cold" and self.settings.check == "import":
            self._find_closures([one for one in interpreters if one.implementation == "cpython"])

    def expect(self, passing: Sequence[int]) -> None:
        """Have workers try again, in a clean environment, what does not pass of these ordinals."""
        self._expected = str(self.places.expected)
        self.places.expected.write_text(json.dumps(passing), "utf-8")

    def _find_closures(self, interpreters: Sequence[Interpreter]) -> None:
        """Learn what warm children need; takes seconds, once for each interpreter. Until it is known they run cold."""
        cache = self._planner.cache
        self._closures = {one.id: str(closures_path(one, cache)) for one in interpreters}
        missing = [one for one in interpreters if not cache.use(self._closures[one.id])]
        if missing:
            # The newest first, as combinations are provisioned.
            self._finder = ClosureFinder(sorted(missing, key=lambda one: one.minor, reverse=True), cache)
            if self.settings.runner == "warm":
                self._finder.close()

    @property
    def how(self) -> str:
        """How combinations are run, for the header."""
        return runner_line(self._planner, self.places.root.path)

    def combo_of(self, nodeid: str) -> Combo | None:
        """Return the combination that a node id means; ``@group`` may stand behind it, from xdist's ``--dist=loadgroup``."""
        return self._by_nodeid.get(nodeid) or self._by_nodeid.get(nodeid.rpartition("@")[0])

    def worker_spec(self) -> WorkerSpec:
        """Return what workers need."""
        return worker_spec(
            self._planner,
            self.places,
            run=self._uuid,
            session=self.writer.session,
            closures=self._closures,
            slots=self.devices.slots,
            expected=self._expected,
            reuses=self._reuses,
        )

    @functools.cached_property
    def _experiment(self) -> str:
        return experiment_of(self.settings, self._planner.sandbox, limits_of(self.settings))

    @property
    def _reuses(self) -> bool:
        """Whether earlier verdicts may stand; what the network answers today nobody knows."""
        return bool(self.settings.reuse) and not self._planner.sandbox.network

    def _index_earlier(self) -> None:
        """Find the verdicts that earlier runs have; called before workers start."""
        identities = identities_of(self.plan.interpreters)
        index_earlier(self.settings, self._rootdir, self.places.reusable, self._experiment, identities)

    def share(self) -> None:
        """Let other jobs reuse what this run found, where they share a directory. Raises ``OSError``."""
        if self.settings.reuse and self.settings.reuse != OWN_RUNS:
            ReuseDirectory(Path(self.settings.reuse)).add(self.places.directory)

    @functools.cached_property
    def devices(self) -> Devices:
        """The devices of the run's slots, as they were found once for all its workers."""
        return find_devices(self.settings.slots, self._environ)

    def start(
        self,
        selected: Iterable[int],
        listener: Listener = NOBODY,
        *,
        needed: Collection[int] = (),
        workers: int = 1,
    ) -> None:
        """Begin to provision the selected combinations; the listener hears of those that were not ready.

        ``needed`` are provisioned too: test functions want them, and no verdict. Of a run that is shared with other hosts only
        what this one has claimed is provisioned, enough for so many workers. Raises ``UsageProblem`` where the run cannot be
        written, or differs from what the other hosts run.
        """
        chosen = frozenset(selected)
        missing = self._ready.missing(chosen.union(needed))
        began, times = time.monotonic(), self._machine.times()
        telemetry = self._open_telemetry()
        try:
            self.writer.begin(combo.ordinal for combo in self.missing if combo.ordinal not in chosen)
        except DatabaseError as error:
            raise unwritable(self.places.directory.path, error) from error
        recall = Recall(provision_inputs(self._planner, self.places, self.plan, self.shared))
        provisioner = Provisioner(
            recall,
            functools.partial(environment_maker, self._planner, self.places, recall),
            functools.partial(self._provisioned, chosen, listener.ready),
            functools.partial(self._break_off, listener.fault),
        )
        self.progress = Progress(planned=len(chosen), provisioned=len(chosen.difference(missing)))
        self.progress.builds = lambda: provisioner.builds
        self._work = _Work(began, times, telemetry, provisioner)
        if self.shared:
            provisioner.start((self.plan.combos[ordinal] for ordinal in missing), first=needed)
            from pytest_spip.session.shared_work import SharedWork  # as below

            work = self._shared_work = SharedWork(self.plan.combos, self._ready, provisioner)
            self._share(self.shared, chosen, work.listener(listener), workers)
        elif self.settings.bisect:
            from pytest_spip.session.bisecting import Bisections  # few runs do

            self.bisections = Bisections(self.plan.combos[ordinal] for ordinal in chosen)
            first = {combo.ordinal for combo in self.bisections.begin(needed)}.union(needed)
            provisioner.start((self.plan.combos[ordinal] for ordinal in missing), first=first)
        else:
            provisioner.start(self.plan.combos[ordinal] for ordinal in missing)

    def _share(self, shared: SharedRun, chosen: frozenset[int], listener: Listener, workers: int) -> None:
        """Take part in what hosts share: what this one claims is provisioned from now on."""
        from pytest_spip.session.shared_verdicts import SharedTask, earlier_verdicts  # few runs are shared

        self.progress.others = lambda: shared.elsewhere
        judged = earlier_verdicts(self.places.directory.database, self.writer.session)
        combos = [self.plan.combos[one] for one in sorted(chosen.union(result.ordinal for result, _ in judged))]
        shared.start(
            self._facts,
            [SharedTask(one.ordinal, one.id, self.cost(one)) for one in combos],
            self.places.directory.database,
            workers=workers,
            lose=self._lose,
            listener=listener,
            judged=judged,
        )

    def may_judge(self, ordinal: int) -> bool:
        """Return True if a combination is this host's to judge."""
        return self._shared_work is None or self._shared_work.may_judge(ordinal)

    def _open_telemetry(self) -> Telemetry:
        path = self.places.directory.workers / f"{CONTROLLER}.sqlite"
        return Telemetry(path, CONTROLLER, self._uuid, room=self.places.root.path)

    def needs(self) -> dict[str, int]:
        """Return the node ids of functions' items, as the workers that collected them say, and the ordinals that they need."""
        try:
            named: dict[str, int] = json.loads((self.places.root.path / NEEDS).read_text("utf-8"))
        except FileNotFoundError:
            return {}
        return named

    def is_ready(self, ordinal: int) -> bool:
        """Return True if a combination can be run: it is provisioned, or needs not be."""
        return ordinal in self._ready

    def wait_for(self, ordinal: int) -> None:
        """Block until a combination is provisioned. For a session without workers. Raises ``HarnessProblem`` when it cannot be."""
        self._ready.wait_for(ordinal, f"provisioning {self.plan.combos[ordinal].id}")

    def _provisioned(
        self, chosen: frozenset[int], on_ready: Callable[[Sequence[int]], None], done: Sequence[Provisioned]
    ) -> None:
        self.writer.provisioned(*done)
        ordinals = [one.ordinal for one in done]
        with self._counting:
            self.progress.provisioned += len(chosen.intersection(ordinals))
            self.progress.built += sum(one.work.get("built", 0) for one in done)
        self._ready.add(ordinals)
        on_ready(ordinals)

    def _break_off(self, on_fault: Callable[[str], None], fault: str) -> None:
        self._ready.break_off(fault)
        on_fault(fault)

    def record(self, result: Result, *, failing: bool | None = None) -> None:
        """Enter a verdict into the ledger; ``failing`` is whether it fails the session, as bad ones do unless excused."""
        failing = result.verdict.outcome.is_bad if failing is None else failing
        self.writer.verdict(result, failing=failing)
        self._ended = time.monotonic()
        self.peak = seen_peak(self.peak, result.peak_rss)
        self.progress.done += 1
        self.progress.bad += result.verdict.outcome.is_bad
        self.progress.errors += result.verdict.outcome is Outcome.ERROR
        if result.verdict.outcome.is_bad:
            self.progress.newest.append(f"{self.plan.combos[result.ordinal].id} {one_line(result)}")
        self.found(result.ordinal, result.verdict)
        if self.shared:
            self.shared.record(result, failing=failing)

    def found(self, ordinal: int, verdict: Verdict) -> None:
        """Let a bisection go on with what is known now."""
        if self.bisections and self._work:
            wanted, settled = self.bisections.learn(ordinal, verdict)
            self._work.provisioner.add(wanted)
            self._work.provisioner.settle(settled)

    @functools.cached_property
    def _costs(self) -> Costs:
        return remembered(self.places.directory.path.parent, self.settings.check_text)

    def cost(self, combo: Combo) -> float:
        """Return the seconds that a combination will take in a worker, as far as earlier runs tell."""
        return cost_of(combo, self._costs)

    def lost(self, combo: Combo, detail: str) -> Result:
        """Return the result of a combination whose worker died over it."""
        verdict = Verdict(Outcome.ERROR, Phase.IMPORT, Reason.WORKER_LOST, detail)
        return Result(combo.ordinal, verdict, host=socket.gethostname())

    def _lose(self, ordinal: int) -> None:
        """Record that a combination has ended one host after another."""
        self.record(self.lost(self.plan.combos[ordinal], "its host was lost, one after another"))

    def stop(self) -> None:
        """End provisioning, wherever it is, and claims of work."""
        if self.shared:
            self.shared.stop()
        if self._work:
            self._work.provisioner.stop()

    def finish(self) -> Summary:
        """Merge telemetry, close the books, and return what the session came to."""
        self.stop()
        complete = self.shared is not None and self.shared.finish()
        if self._work:
            self._work.telemetry.close()
        try:
            self._close_books()
            if self.shared and complete:
                self.shared.take_in(self.writer)
        except DatabaseError as error:
            waiting = self.writer.waiting
            lost = f"; {waiting} verdicts are not recorded, and are run again" if waiting else ""
            self.unrecorded = (
                f"cannot write {self.places.directory.path} ({error}){lost}: make room, then use --spip-resume"
            )
        summary = sum_up(self.places.directory.database, self.plan, on_disk=self.places.root.kind == "disk")
        if self.shared:
            self.shared.leave(summary)
            self.unrecorded = self.unrecorded or self.shared.problem
        with contextlib.suppress(DatabaseError):  # it was reported above
            self.writer.close()
        return summary

    def _close_books(self) -> None:
        damaged = [*self._damaged, *self.writer.merge(self.places.directory.workers)]
        self.writer.note({"finished": now(), "damaged_telemetry": damaged})
        if self._work:
            shares = self._machine.times().shares_since(self._work.times)
            self.writer.end(max(self._ended - self._work.began, 0.0), *shares)

    def leave(self, *, now: bool = False) -> None:
        """Give everything back, ``now`` without waiting for what is found out; the run's tree in RAM goes in the background."""
        self.places.discard_root()
        if self._finder:
            self._finder.close(now=now)
        self.places.release()
