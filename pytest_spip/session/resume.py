"""The way back to an interrupted run: its settings, what is left of its plan, and whose it is meanwhile."""

from __future__ import annotations

import dataclasses
import datetime
import shlex
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_spip.common.cache import Cache
from pytest_spip.common.owners import OwnerLock
from pytest_spip.common.urls import redact
from pytest_spip.errors import UsageProblem
from pytest_spip.model import (
    Combo,
    Indexes,
    Interpreter,
    Outcome,
    Phase,
    Plan,
    Provisioned,
    Reason,
    Refused,
    Release,
    RunFacts,
    Summary,
    Verdict,
)
from pytest_spip.options import OPTIONS, Settings
from pytest_spip.plan.interpreters import id_apart, probe
from pytest_spip.provision.store import WheelStore
from pytest_spip.record.run_reader import RunReader
from pytest_spip.record.rundb import RunWriter
from pytest_spip.record.rundir import RunDirectory
from pytest_spip.session.loading import open_run
from pytest_spip.settings import make_settings

if TYPE_CHECKING:
    from pytest_spip.provision.project import Project
    from pytest_spip.session.planner import Planner

__all__ = [
    "Interrupted",
    "gone_interpreters",
    "index_names",
    "is_complete",
    "public_command",
    "public_queue",
    "recorded_settings",
    "resumed_settings",
    "settings_to_plain",
]

GATE = ("baseline", "compare", "fail_on", "update_baseline")
"""Options that hold for the session that names them: ``latest`` is another run by then."""
FREE = ("autoscale", "cache_size", "pin", "profile", "queue", "ram", "report", "resume", "reuse", "stats", *GATE)
"""Options that a later session may choose anew; all others decide on verdicts, or on what there is to do."""
NOTHING_RAN = 5
"""pytest's exit status of a session without items."""


def settings_to_plain(settings: Settings, *, run: str, cache: Path) -> dict[str, Any]:
    """Return the settings as a fact of their run, from which :func:`resumed_settings` rebuilds them."""
    plain = dataclasses.asdict(dataclasses.replace(settings, run=run, cache=str(cache), resume=""))
    plain["queue"] = public_queue(settings)
    return {name: value for name, value in plain.items() if name not in ("resume", *GATE)}


def public_queue(settings: Settings) -> str:
    """Return the address of the database that hosts share, without what is secret."""
    if not settings.queue:
        return ""
    from pytest_spip.hosts.urls import parse_url  # few sessions share a run

    return parse_url("--spip-queue", settings.queue, Path.cwd()).public


def public_command(settings: Settings, arguments: Iterable[str]) -> str:
    """Return pytest's command line as it is recorded: without what is secret of the database's address."""
    public = public_queue(settings)
    words = (word.replace(settings.queue, public) if public else word for word in arguments)
    return shlex.join(["pytest", *words])


def resumed_settings(rootdir: Path, given: Mapping[str, Any], base: Path) -> Settings:
    """Return the settings of the run to go on with; ``given`` are the options of the command line, by name.

    Raises ``UsageProblem`` for a run that cannot be resumed, and for an option that contradicts it.
    """
    asked = make_settings(given, base)
    directory = RunDirectory.find(rootdir, asked.resume)
    with _reading(directory) as reader:
        stored = _settings(reader.facts().settings)
    if asked.cache:
        asked = dataclasses.replace(asked, cache=str(rootdir / Path(asked.cache).expanduser()))
    named = [option for option in OPTIONS if option.name in given]
    for option in named:
        field = option.field
        if field not in FREE and getattr(asked, field) != getattr(stored, field):
            what = f"run {directory.path.name} has {_shown(getattr(stored, field))}"
            raise UsageProblem(option.flag, what, "leave the option out, or start a new run")
    free = {option.field: getattr(asked, option.field) for option in named if option.field in FREE}
    return dataclasses.replace(stored, **{**free, "resume": directory.path.name})


def is_complete(rootdir: Path, settings: Settings) -> bool:
    """Return True if nothing is left of a run."""
    with _reading(RunDirectory.find(rootdir, settings.resume)) as reader:
        return reader.is_complete()


def _settings(plain: Mapping[str, Any]) -> Settings:
    known = {field.name for field in dataclasses.fields(Settings)}
    return Settings(**{name: _frozen(value) for name, value in plain.items() if name in known})


def _frozen(value: Any) -> Any:
    """Return what JSON made a list of as the tuple that it was."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _shown(value: object) -> str:
    match value:
        case bool():
            return "it set" if value else "it not set"
        case tuple():
            return ", ".join(map(str, value)) or "none"
        case _:
            return str(value) or "none"


def _reading(directory: RunDirectory) -> AbstractContextManager[RunReader]:
    return open_run(directory, "--spip-resume", "goes on with", "start a new run")


def index_names(indexes: Indexes) -> list[str]:
    """Return the indexes as a run's facts name them: without credentials."""
    settings = dataclasses.replace(indexes.settings, exclude_newer="", resolution="", ignored=()).lines
    return [*(redact(url) for url in (*indexes.urls, *indexes.find_links)), *settings]


class Interrupted:
    """A run that goes on. With ``keep`` it is this process's until :meth:`release`, or its death.

    ``missing`` are the combinations without a verdict, ``kept`` those among them whose provision stands, and ``failing``
    says whether an earlier verdict fails the run. Raises ``UsageProblem`` while another process works on it.
    """

    def __init__(self, rootdir: Path, settings: Settings, *, keep: bool) -> None:
        self.directory = RunDirectory.find(rootdir, settings.resume)  # hosts that share a run have one each
        self._hold: OwnerLock | None = self.directory.hold() if keep else None
        with _reading(self.directory) as reader:
            self.facts = reader.facts()
            self.interpreters = reader.interpreters()
            self.combos = reader.combos()
            self.elsewhere = reader.elsewhere()
            done = reader.results().keys() | reader.deselected()
            self._provisions = list(reader.provisioned())
            self.failing = reader.failing()
        self.missing = tuple(combo for combo in self.combos if combo.ordinal not in done)
        self.kept: frozenset[int] = frozenset()
        self._notes: list[str] = []

    @property
    def date(self) -> str:
        """The index as of when the run goes on: as the run saw it, where that can be known."""
        started = self.facts.started
        if not self.facts.dated:
            return ""
        seen = datetime.datetime.fromisoformat(started) + datetime.timedelta(seconds=1)  # it was cut to seconds
        return seen.strftime("%Y-%m-%dT%H:%M:%SZ")

    def plan(self, planner: Planner) -> Plan:
        """Return the frozen plan, with the releases that are still to be provisioned.

        What was to run on an interpreter that is gone ends as an error. Raises ``UsageProblem`` where this machine or this
        environment would not give the verdicts that the run's own would.
        """
        self._check(planner)
        gone = self._gone(planner.cache)
        if self.missing:
            planner.project = self._project(planner.cache)
        store = WheelStore(planner.cache)
        combos = tuple(self._judged(combo, gone) for combo in self.combos)
        lost = {combo.ordinal for combo in self.missing if combo.interpreter in gone}
        self.missing = tuple(combos[combo.ordinal] for combo in self.missing)
        self.kept = frozenset(
            one.ordinal for one in self._provisions if one.ordinal not in lost and _stands(one, store, planner.cache)
        )
        self._notes = [f"{why}: its combinations end as errors" for why in gone.values()]
        releases = _releases([one for one in self.missing if one.ordinal not in self.kept], planner)
        notes = (*self.facts.notes, *self._notes)
        return Plan(combos, self.interpreters, tuple(releases), exclude_newer=planner.date, notes=notes)

    def _check(self, planner: Planner) -> None:
        indexes = tuple(index_names(planner.indexes))
        if indexes != self.facts.indexes:
            what = f"run {self.directory.path.name} reads {', '.join(self.facts.indexes)}, not {', '.join(indexes)}"
            raise UsageProblem("--spip-resume", what, "set UV_DEFAULT_INDEX and the like as they were")
        if str(planner.sandbox.level) != self.facts.sandbox:
            what = f"run {self.directory.path.name} has {self.facts.sandbox_summary}, and here is {planner.sandbox.summary}"
            raise UsageProblem("--spip-resume", what, "go on where it began, or start a new run")

    def _project(self, cache: Cache) -> Project | None:
        """Return the project as it was when the run was planned: its directory may hold something else by now."""
        if not self.facts.project:
            return None
        from pytest_spip.provision.project import Project  # most runs have none

        try:
            return Project.from_plain(self.facts.project, cache)
        except FileNotFoundError as error:
            what = f"the project of run {self.directory.path.name} left the cache ({error.filename})"
            raise UsageProblem("--spip-resume", what, "start a new run") from error

    def _gone(self, cache: Cache) -> dict[str, str]:
        """Return the interpreters that work is left for and that are not what they were, with the reason."""
        used = {combo.interpreter for combo in self.missing if not combo.plan_verdict}
        return gone_interpreters([one for one in self.interpreters if one.id in used], cache)

    def _judged(self, combo: Combo, gone: Mapping[str, str]) -> Combo:
        if combo.plan_verdict or combo.interpreter not in gone:
            return combo
        verdict = Verdict(Outcome.ERROR, Phase.PLAN, Reason.NO_INTERPRETER, gone[combo.interpreter])
        return dataclasses.replace(combo, plan_verdict=verdict)

    def open(self, writer: RunWriter) -> list[str]:
        """Open the new session, and take in what earlier workers left; return the names of files that are damaged."""
        forgotten = {one.ordinal for one in self._provisions} - self.kept
        hosts = list(dict.fromkeys([*self.facts.hosts, socket.gethostname()]))
        writer.go_on({"hosts": hosts, "notes": [*self.facts.notes, *self._notes]}, forgotten)
        damaged = writer.merge(self.directory.workers)
        for name in damaged:  # out of the way of the worker that will have its name
            (self.directory.workers / name).rename(self.directory.workers / f"{name}.damaged-{writer.session}")
        return [*self.facts.damaged_telemetry, *damaged]

    @property
    def line(self) -> str:
        """Say in one line what is left."""
        name = self.directory.path.name
        if not self.missing:
            return f"run {name} is complete: nothing is left to run"
        return f"run {name} goes on: {len(self.missing)} of {len(self.combos)} combinations are left"

    def exit_status(self, status: int, summary: Summary) -> int:
        """Return the status of the whole run where this session's would not tell: earlier verdicts fail it too."""
        if status == NOTHING_RAN and not summary.missing:
            status = 0
        return 1 if status == 0 and self.failing else status

    def release(self) -> None:
        """Let other processes go on with the run."""
        if self._hold:
            self._hold.release()


def gone_interpreters(interpreters: Iterable[Interpreter], cache: Cache) -> dict[str, str]:
    """Return, by id, why interpreters are not what they were when their run was planned."""
    found = {one.id: (one, probe(Path(one.path), cache)) for one in interpreters}
    return {
        name: f"{one.path} is gone since the run was planned" if now is None else f"{one.path} is now {now.version}"
        for name, (one, now) in found.items()
        if now is None or name not in (now.id, id_apart(now))
    }


def recorded_settings(facts: RunFacts) -> Settings:
    """Return the settings that a run was made with."""
    return _settings(facts.settings)


def _stands(done: Provisioned, store: WheelStore, cache: Cache) -> bool:
    """Return True if what provisioning made still counts: errors do not, nor do wheels and trees that left the cache."""
    if isinstance(done, Refused):
        return done.verdict.outcome is not Outcome.ERROR
    tree = done.environment.tree
    return all(store.get(wheel.sha256) == wheel for wheel in done.environment.wheels) and (not tree or cache.use(tree))


def _releases(combos: Iterable[Combo], planner: Planner) -> Iterator[Release]:
    """Yield the releases of combinations that are to be provisioned; one that is listed no more has no files."""
    wanted: dict[str, dict[str, None]] = {}
    for combo in combos:
        if not combo.plan_verdict:
            for package, version in combo.releases:
                wanted.setdefault(package, {})[version] = None
    for package, versions in wanted.items():
        listed = {release.version: release for release in planner.considered(package)}
        yield from (listed.get(version) or Release(package, version, ()) for version in versions)
