"""Joins the rooms that plan, provision, record and report into a run, seen from the process that the user started."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import json
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
from packaging.utils import canonicalize_name

from pytest_spip.closing import sum_up
from pytest_spip.compose.base import BaseRepository, check_git
from pytest_spip.compose.copying import copy_bytes, find_copy
from pytest_spip.compose.ram import Root, choose_root, discard, sweep
from pytest_spip.disk import open_cache
from pytest_spip.dispatch.autoscale import DEFAULT_PEAK, seen_peak
from pytest_spip.errors import IndexProblem, SpipError, UsageProblem
from pytest_spip.model import (
    CONTROLLER,
    NEEDS,
    Check,
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
from pytest_spip.plan.matrix import check_cross, make_plan, numbered, parse_requirement, without_old_pythons
from pytest_spip.plan.sources import PUBLIC_INDEX, user_indexes
from pytest_spip.plan.versions import as_of, choose, parse_policy
from pytest_spip.provision.needs import Wanted
from pytest_spip.provision.project import Project, open_project
from pytest_spip.provision.provisioner import Provisioner
from pytest_spip.provision.uv import Uv, find_uv
from pytest_spip.record.costs import Costs, estimate, remembered
from pytest_spip.record.host import cpu_times
from pytest_spip.record.rundb import RunWriter
from pytest_spip.record.rundir import RunDirectory
from pytest_spip.record.telemetry import Telemetry
from pytest_spip.report.analysis import Summary
from pytest_spip.report.progress import Progress
from pytest_spip.resume import Interrupted, index_names, settings_to_plain
from pytest_spip.run.closures import ClosureFinder, closures_path
from pytest_spip.run.confine import BuildSandboxes
from pytest_spip.run.levels import choose_sandbox
from pytest_spip.run.server import has_fork_servers
from pytest_spip.web import Web, redact
from pytest_spip.workbench import BenchSpec

__all__ = ["Planner", "Run"]

PREJUDGED = 0.0005
"""Seconds that a combination takes in a worker which the plan decided."""


class Planner:
    """Makes the plan from what the user asked for, the indexes and this machine. Creates nothing but cache entries."""

    def __init__(self, settings: Settings, rootdir: Path, environ: Mapping[str, str], date: str = "") -> None:
        self.settings = settings
        self.date = settings.exclude_newer or date
        self.indexes = user_indexes(environ, rootdir)
        self.requirements = [parse_requirement(text) for text in settings.matrix]
        self._wanted = parse_wanted(settings.python)
        self._policy = parse_policy(settings.versions)
        check_cross(self.requirements, self._policy, cross=settings.cross)
        self._environ = environ
        find_uv()
        check_git()
        self.sandbox = choose_sandbox(settings.sandbox, network=settings.network, env=settings.env, environ=environ)
        if settings.runner == "warm" and not has_fork_servers():
            raise UsageProblem("--spip-runner", "there are no fork servers on this system", "use --spip-runner=auto")
        root = Path(settings.cache).expanduser() if settings.cache else platformdirs.user_cache_path("pytest-spip")
        self.cache = open_cache(rootdir / root)
        self.web = Web([*self.indexes.urls, *self.indexes.find_links])
        self.wanted = Wanted(settings.check == "suite", settings.with_, settings.extras, settings.groups)
        self.project: Project | None = None
        self._notes: list[str] = []

    def plan(self, offered: Iterable[str], choose_combos: Callable[[list[Combo], Sequence[Interpreter]], None]) -> Plan:
        """Return the frozen plan; ``offered`` are further interpreters, ``choose_combos`` may change the list in place.

        Raises ``UsageProblem``, also for an index that cannot be read when there is nothing else to do.
        """
        interpreters = self._interpreters(offered)
        releases = {str(requirement): self._releases(requirement) for requirement in self.requirements}
        draft = make_plan(
            self.requirements,
            releases,
            interpreters,
            resolutions=["" if way == "highest" else way for way in self.settings.resolution],
            cross=self.settings.cross,
            sampled=self._policy == "pairwise",
            exclude_newer=self.settings.exclude_newer,
            notes=self._notes,
        )
        self.project = self._open_project(interpreters)
        combos = list(draft.combos)
        if self.project:
            combos = without_old_pythons(combos, interpreters, self.project.name, self.project.sdist.requires_python)
        choose_combos(combos, interpreters)
        return dataclasses.replace(draft, combos=tuple(numbered(combos)))

    def _open_project(self, interpreters: Sequence[Interpreter]) -> Project | None:
        if not self.settings.project:
            return None
        known = next(one for one in reversed(interpreters) if one.path)
        uv = Uv(self.indexes, self.date, environ=self._environ)
        project = open_project(Path(self.settings.project), self.wanted, known, self.cache, uv)
        if any(canonicalize_name(one.name) == project.name for one in self.requirements):
            what = f"{project.name} is what the matrix varies, and cannot be its own project"
            raise UsageProblem("--spip-project", what, "leave it out, and use --spip-check=suite")
        return project

    @property
    def beside(self) -> tuple[str, ...]:
        """What a person installs beside the releases, the user's project with its tests' requirements among it."""
        if self.project is None:
            return self.settings.with_
        needs = self.project.needs
        extras = f"[{','.join(needs.extras)}]" if needs.extras else ""
        return (f"{self.settings.project}{extras}", *needs.requirements, *self.wanted.always(""))

    def considered(self, project: str) -> Sequence[Release]:
        """Return the releases of a dependency that may be chosen; raises ``UnknownPackage`` and ``IndexProblem``."""
        return self._dated(list_project(project, self.indexes, self.web, self.cache).releases)

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
        return any([uv.install_python(wish) for wish in wishes if "/" not in wish])  # noqa: C419  # all are tried

    def _releases(self, requirement: Requirement) -> tuple[Release, ...] | Verdict:
        """Return the releases chosen for a requirement; one bad project among many becomes a verdict of its own.

        Of a cross each project is a part of every combination.
        """
        try:
            return self._chosen(requirement)
        except (UsageProblem, IndexProblem) as error:
            if len(self.requirements) > 1 and not self.settings.cross:
                return Verdict(Outcome.ERROR, Phase.PLAN, Reason.INDEX_ERROR, _first_clause(error))
            if isinstance(error, UsageProblem):
                raise
            raise UsageProblem(
                "--spip-matrix", str(error), "check the network, UV_DEFAULT_INDEX and pip's index-url"
            ) from error

    def _chosen(self, requirement: Requirement) -> tuple[Release, ...]:
        listing = list_project(requirement.name, self.indexes, self.web, self.cache)
        self._notes += listing.notes
        settings, known = self.settings, self._dated(listing.releases)
        chosen = choose(known, requirement.specifier, self._policy, pre=settings.pre, yanked=settings.yanked)
        if not chosen:
            newest = known[-1].version if known else "none"
            mend = "widen the specifier, or add --spip-pre or --spip-yanked"
            raise UsageProblem(
                "--spip-matrix", f"none of {len(known)} releases of {listing.package} fits (newest: {newest})", mend
            )
        return chosen

    def _dated(self, releases: tuple[Release, ...]) -> tuple[Release, ...]:
        """Return the releases that there were at the date that the user named, if any."""
        return as_of(releases, datetime.datetime.fromisoformat(self.date)) if self.date else releases


def _first_clause(error: SpipError) -> str:
    return error.what if isinstance(error, UsageProblem) else str(error)


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
        self.plan = plan
        self.by_nodeid = {combo.nodeid: combo for combo in plan.combos}
        self.progress = Progress()
        self.peak = DEFAULT_PEAK
        self._planner = planner
        self._uuid = self.settings.run or str(uuid.uuid4())
        # What the plan decides needs no provisioning. What resuming decides is not in the frozen plan, and is provisioned.
        self._ready = set(earlier.kept) if earlier else {combo.ordinal for combo in plan.combos if combo.prejudged}
        self._changed = threading.Condition()
        self._judged: frozenset[int] = frozenset()
        self._provisioner: Provisioner | None = None
        self._on_ready: Callable[[Sequence[int]], None] = lambda _: None
        self._began: tuple[float, tuple[float, float, float]] | None = None
        self._telemetry: Telemetry | None = None
        self._ended = 0.0
        self._closures: dict[str, str] = {}
        self._finder: ClosureFinder | None = None
        self._started = _now()
        self._damaged: list[str] = []
        self.missing = earlier.missing if earlier else plan.combos
        self.plan_hash: str = earlier.facts["plan_hash"] if earlier else plan.hash
        self.directory = earlier.directory if earlier else RunDirectory.create(rootdir, self._uuid)
        self._hold = earlier or self.directory.hold()
        try:
            self.root: Root = choose_root(self.settings.ram, environ)
        except SpipError:
            self._hold.release()
            if not earlier:
                self.directory.discard()
            raise
        self.writer = RunWriter(self.directory.database)
        if earlier:
            self._damaged = earlier.open(self.writer)
        else:
            self.writer.create(plan, self._facts(command))

    def prepare(self) -> None:
        """Sweep debris of the dead, see to the base environments, and replicate them into RAM. Raises ``HarnessProblem``."""
        sweep(self.root)
        used = {combo.interpreter for combo in self.missing if not combo.prejudged}
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

    def bench_spec(self) -> BenchSpec:
        """Return what workers need."""
        return BenchSpec(
            database=str(self.directory.database),
            workers=str(self.directory.workers),
            replica=str(self.root.path / "base.git"),
            room=str(self.root.path),
            run=self._uuid,
            session=self.writer.session,
            cache=str(self._planner.cache.root),
            check=Check(self.settings.check, self.settings.command),
            beside=self._planner.beside,
            project=self.settings.project,
            limits=Limits(
                timeout=self.settings.timeout, memory=self.settings.memory, inactivity=self.settings.inactivity
            ),
            runner=self.settings.runner,
            sandbox=self._planner.sandbox,
            closures=self._closures,
            exclude_newer=self.settings.exclude_newer,
            index_options=_index_options(self._planner.indexes),
            slots=dict(self.settings.slots),
        )

    def start(
        self,
        selected: Iterable[int],
        on_ready: Callable[[Sequence[int]], None] = lambda _: None,
        *,
        needed: Iterable[int] = (),
    ) -> None:
        """Begin to provision the selected combinations; ``on_ready`` is told, from other threads, of those that were not ready.

        ``needed`` are provisioned too: test functions want them, and no verdict.
        """
        chosen = frozenset(selected)
        missing = sorted(chosen.union(needed) - self._ready)
        self._on_ready = on_ready
        self._began = time.monotonic(), cpu_times()
        telemetry = self.directory.workers / f"{CONTROLLER}.sqlite"
        self._telemetry = Telemetry(telemetry, CONTROLLER, self._uuid, room=self.root.path)
        self.writer.begin(combo.ordinal for combo in self.missing if combo.ordinal not in chosen)
        self._judged = chosen
        self.progress = Progress(planned=len(chosen), provisioned=len(chosen.difference(missing)))
        self._provisioner = Provisioner(
            self.plan,
            self._planner.cache,
            self._planner.web,
            self._planner.indexes,
            BuildSandboxes(self._planner.sandbox, self.root.path / "build-view", self._planner.cache.pycache),
            self._planner.considered,
            check=self._check,
            locks=self.directory.locks,
            on_ready=self._provisioned,
            wanted=self._planner.wanted,
            project=self._planner.project,
        )
        self._provisioner.start(self.plan.combos[ordinal] for ordinal in missing)

    def needs(self) -> dict[str, int]:
        """Return the node ids of functions' items, as the workers that collected them say, and the ordinals that they need."""
        try:
            told: dict[str, int] = json.loads((self.root.path / NEEDS).read_text("utf-8"))
        except FileNotFoundError:
            return {}
        return told

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

    def wait_for(self, ordinal: int) -> None:
        """Block until a combination is provisioned. For a session without workers."""
        with self._changed:
            self._changed.wait_for(lambda: ordinal in self._ready)

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
        return PREJUDGED if combo.prejudged else estimate(combo, self._costs).seconds

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
        damaged = [*self._damaged, *self.writer.merge(self.directory.workers)]
        self.writer.note({"finished": _now(), "damaged_telemetry": damaged})
        if self._began:
            began, cpu_then = self._began
            busy, iowait, total = (now - then for now, then in zip(cpu_times(), cpu_then, strict=True))
            self.writer.end(
                max(self._ended - began, 0.0), busy / total if total else 0.0, iowait / total if total else 0.0
            )
        summary = sum_up(self.directory.database, self.plan, on_disk=self.root.kind == "disk")
        self.writer.close()
        return summary

    def leave(self, *, now: bool = False) -> None:
        """Give everything back, ``now`` without waiting for what is found out; the run's tree in RAM goes in the background."""
        discard(self.root.path)
        if self._finder:
            self._finder.close(now=now)
        self._planner.close()
        self._hold.release()

    def _facts(self, command: str) -> dict[str, Any]:
        indexes = self._planner.indexes
        return {
            "uuid": self._uuid,
            "started": self._started,
            "finished": None,
            "sessions": 1,
            "exclude_newer": self.plan.exclude_newer or self._started,
            "command": command,
            "hosts": [socket.gethostname()],
            "sandbox": str(self._planner.sandbox.level),
            "sandbox_summary": self._planner.sandbox.summary,
            "runner": self.settings.runner,
            "ram": self.root.summary,
            "check": self._check,
            "indexes": index_names(indexes),
            "dated": _is_dated(indexes, self.plan.releases),
            "settings": settings_to_plain(self.settings, run=self._uuid, cache=self._planner.cache.root),
            "plan_hash": self.plan_hash,
            "project": self._planner.project.to_plain() if self._planner.project else None,
            "notes": list(self.plan.notes),
        }


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _is_dated(indexes: Indexes, releases: Iterable[Release]) -> bool:
    """Tell whether the index as of a date can be had again: there is one, and it dates its files."""
    alone = len(indexes.urls) == 1 and not indexes.find_links
    return alone and all(file.upload_time for release in releases for file in release.files)


def _index_options(indexes: Indexes) -> str:
    """Return the options that make uv see the same indexes, where it would not by itself. Without credentials."""
    if indexes.origin != "pip" or not indexes.urls or indexes.urls[0] == PUBLIC_INDEX:
        return ""
    *ahead, last = indexes.urls
    words = [f"--index={redact(url)}" for url in ahead] + [f"--default-index={redact(last)}"]
    return shlex.join([*words, *(f"--find-links={place}" for place in indexes.find_links)])
