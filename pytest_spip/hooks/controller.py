"""The controller's side of the pytest edge: plans when the session starts, records as reports arrive, reports at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from typing import Any

import pytest

from pytest_spip.common.machine import Machine
from pytest_spip.common.processes import kill_descendants
from pytest_spip.compose.ram import discard
from pytest_spip.errors import SpipError, UsageProblem
from pytest_spip.hooks.attempts import FINAL
from pytest_spip.hooks.configuration import LEFT_OUT
from pytest_spip.hooks.debugger import Debugger
from pytest_spip.hooks.extensions import Extensions
from pytest_spip.hooks.failure_texts import FailureTexts
from pytest_spip.hooks.functions import Functions
from pytest_spip.hooks.header import matrix_line
from pytest_spip.hooks.items import Matrix, MatrixItem
from pytest_spip.hooks.listing import only_lists
from pytest_spip.hooks.progress import ProgressLine, StatsReporter
from pytest_spip.hooks.report_targets import ReportTargets
from pytest_spip.hooks.reports import location_file
from pytest_spip.hooks.signals import Interrupts
from pytest_spip.hooks.undone import SUMMARISED, honest_status
from pytest_spip.model import NO_CHECK, Combo, Interpreter, Plan, Reason, Result, Summary
from pytest_spip.record.rundb import DatabaseError
from pytest_spip.session.executor import MAIN, Executor
from pytest_spip.session.installs import Additions
from pytest_spip.session.planner import Planner
from pytest_spip.session.resume import Interrupted
from pytest_spip.session.run import Run
from pytest_spip.session.slots import DeviceRequest
from pytest_spip.session.summary import sum_up
from pytest_spip.session.umask import SessionUmask
from pytest_spip.settings import Settings

__all__ = ["ControllerMatrix"]


class ControllerMatrix(Matrix):
    """In the process that the user started: plans, provisions, records, reports; without xdist it runs items too."""

    def __init__(self, config: pytest.Config, named: Sequence[str], settings: Settings) -> None:
        super().__init__(config, settings.check)
        self._named = named
        self._settings = settings
        self._planner: Planner | None = None
        self._plan: Plan | None = None
        self._earlier: Interrupted | None = None
        self.active: Run | None = None
        self._executor: Executor | None = None
        self._interpreters: dict[str, Interpreter] = {}
        self._summary: Summary | None = None
        self._failure_texts = FailureTexts(config)
        self._umask = SessionUmask()
        self._extensions = Extensions(config)
        self._targets = ReportTargets(config, settings, self._extensions, self._umask.close_to_others)
        config.pluginmanager.register(self._targets, "spip-reports")
        self._lost_attempts: Counter[int] = Counter()
        self._progress_line = ProgressLine(config)
        self._why_pytest = ""
        self._stats: StatsReporter | None = None
        self._workers: Callable[[], tuple[int, int]] = lambda: (1, 0)
        self._interrupts = Interrupts(self._rescue)
        self._interrupts.install()
        config.pluginmanager.register(self._interrupts, "spip-interrupts")
        self._only_lists = only_lists(config)
        self._distributed = bool(config.getoption("tx", None)) and config.getoption("dist", "no") != "no"

    # planning

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Plan, and unless pytest only lists, create the run. Before workers start, and before the header is printed."""
        try:
            if self._distributed and self.config.getoption("dist") == "each":
                what = "'each' would run every combination on every worker"
                raise UsageProblem("--dist", what, "leave the option out")
            self._targets.check()
            Debugger.install(self.config)
            self._make_plan()
            if not self._only_lists:
                self._create()
        except SpipError as error:
            self._give_back()
            raise pytest.UsageError(str(error)) from error

    def _make_plan(self) -> None:
        """Plan, or take up the plan of the run that is to go on."""
        root = self.config.rootpath
        if not self._settings.resume:
            self._planner = Planner(self._settings, root, os.environ)
            self._plan = self._planner.plan(self._extensions.offered(), self._extensions.choose)
            return
        self._earlier = Interrupted(root, self._settings, keep=not self._only_lists)
        self._planner = Planner(self._settings, root, os.environ, self._earlier.date)
        self._plan = self._earlier.plan(self._planner)

    def _create(self) -> None:
        assert self._planner is not None, "planned before"
        assert self._plan is not None, "planned before"
        if self._earlier and not self._earlier.missing:
            return
        command = shlex.join(["pytest", *map(str, self.config.invocation_params.args)])
        self._open_stats()
        self.active = Run(self._planner, self._plan, self.config.rootpath, command, os.environ, self._earlier)
        if self._distributed:
            from pytest_spip.hooks.xdist_plugin import Distribution

            distribution = Distribution(self.config, self.active)
            self.config.pluginmanager.register(distribution, "spip-distribution")
            self._why_pytest = distribution.why_pytest
            self._workers = distribution.workers
        self._umask.close_to_others(self.config.rootpath / ".spip")
        self.active.prepare()
        self._progress_line.start(self.active)
        if self._stats:
            self._stats.start()

    def _open_stats(self) -> None:
        seconds, path = self._settings.stats
        if seconds:
            place = self.config.invocation_params.dir / path if path else None
            self._stats = StatsReporter(
                self.config,
                seconds,
                place,
                lambda: self._run.progress,
                lambda: self._workers(),  # noqa: PLW0108  # its source is made later
                Machine(),
            )

    @property
    def _run(self) -> Run:
        assert self.active is not None, "asked only while there is a run"
        return self.active

    @pytest.hookimpl(tryfirst=True)
    def pytest_spip_plan(self, combos: list[Combo]) -> None:
        """Keep the combinations that node ids on the command line select; without any, keep all."""
        for name in self._named:
            if not any(_selects(name, combo.nodeid) for combo in combos):
                raise UsageProblem(name, "no such combination in the plan", "see --collect-only for those there are")
        if self._named:
            combos[:] = [combo for combo in combos if any(_selects(name, combo.nodeid) for name in self._named)]

    def combos(self) -> Sequence[Combo]:
        """Return the plan, or what is left of it."""
        assert self._plan is not None, "collected after the session started"
        return self._earlier.missing if self._earlier else self._plan.combos

    def plan(self) -> Sequence[Combo]:
        """Return the whole plan."""
        assert self._plan is not None, "collected after the session started"
        return self._plan.combos

    def interpreter(self, combo: Combo) -> Interpreter:
        """Return a combination's interpreter."""
        if not self._interpreters:
            assert self._plan is not None, "collected after the session started"
            self._interpreters = {one.id: one for one in self._plan.interpreters}
        return self._interpreters[combo.interpreter]

    def additions(self) -> Additions:
        """Return what finds further wheels, made when it is needed first."""
        assert self._plan is not None, "asked for by tests"
        if self._additions is None:
            self._additions = Additions(self._run.worker_spec(), MAIN, self.config.rootpath, self._plan.interpreters)
        return self._additions

    def pytest_report_header(self) -> list[str]:
        """Say what is planned, where environments live, and what was noticed."""
        assert self._plan is not None, "the header comes after the session started"
        lines = [f"spip: {matrix_line(self._plan)}", *self._left_out()]
        if self.active:
            lines += [f"spip: environments on {self.active.root.summary}", f"spip: {self.active.how}"]
            lines += [f"spip: workers are pytest sessions, for {self._why_pytest}"] if self._why_pytest else []
            lines += [f"spip: {line}" for line in (*self.active.devices.lines, *self.active.builds_line())]
            lines += [f"spip: run {self.active.directory.path.name}"]
        if self._earlier:
            lines += [f"spip: {self._earlier.line}"]
        return [*lines, *(f"spip: note: {note}" for note in self._plan.notes)]

    def _left_out(self) -> list[str]:
        """Return a line on what of the project's pytest configuration does not hold for this session."""
        names = self.config.stash.get(LEFT_OUT, ())
        return [f"spip: the project's pytest settings are left to its suites: {', '.join(names)}"] if names else []

    # running

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Without workers, provisioning begins when the items are known, and their markers are what they can be."""
        if self.active and not self._distributed:
            ours = [item for item in session.items if isinstance(item, MatrixItem)]
            try:
                for item in ours:
                    item.need()
                needed = [combo.ordinal for _, combo in Functions.needing(session.items)]
                self.active.start((item.combo.ordinal for item in ours), needed=needed)
            except UsageProblem as error:
                raise pytest.UsageError(str(error)) from error

    def result(self, combo: Combo, need: DeviceRequest, timeout: float) -> Result:
        """Run a combination in this process."""
        return self.executor(combo).result(combo, need, timeout=timeout)

    def executor(self, combo: Combo) -> Executor:
        """Return this process's executor, when the combination is provisioned."""
        if self._executor is None:
            self._executor = Executor(self._run.worker_spec(), MAIN)
        with self._executor.waiting():
            self._run.wait_for(combo.ordinal)
        return self._executor

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Pass the verdict on; tell a story once and refer to it when it repeats."""
        result = self._result_of(report)
        if result is None or self.active is None:
            return
        if report.outcome not in FINAL:  # it is run again
            self._lost_attempts[result.ordinal] += result.verdict.reason is Reason.WORKER_LOST
            return
        result = dataclasses.replace(result, reruns=result.reruns + self._lost_attempts.pop(result.ordinal, 0))
        combo = self.active.plan.combos[result.ordinal]
        self.active.record(result, failing=report.failed)  # before anybody else sees it
        self._extensions.verdict(combo, result)
        if report.failed:
            report.longrepr = self._failure_texts.text(report.nodeid, result)

    def _result_of(self, report: pytest.TestReport) -> Result | None:
        plain = vars(report).get("spip")
        if plain is not None:
            return Result.from_plain(plain)
        # xdist speaks of an item over which a worker died in a report whose ``when`` is no phase of pytest's.
        combo = self.active and self.active.combo_of(report.nodeid)
        if not self.active or not combo or report.when in ("setup", "call", "teardown"):
            return None
        report.when = "setup"  # an error of ours, not a failure of the package
        report.location = (location_file(self.config), 0, combo.id)
        return self.active.lost(combo, str(report.longrepr))

    @pytest.hookimpl(wrapper=True)
    def pytest_report_teststatus(
        self, report: pytest.TestReport
    ) -> Generator[None, tuple[str, str, Any], tuple[str, str, Any]]:
        """Name the reason beside the outcome in verbose mode; leave the dots out where a live line says more."""
        category, letter, word = yield
        plain = vars(report).get("spip")
        if plain is None:
            return category, letter, word
        if not hasattr(report, "wasxfail") and report.outcome in FINAL:
            outcome, _, reason, _ = plain["verdict"]
            category = "error" if report.failed and report.when == "setup" else report.outcome
            letter = {"passed": ".", "failed": "F", "skipped": "s", "error": "E"}[category]
            word = outcome.upper() + (f" ({reason})" if reason else "")
        return category, "" if self._progress_line.live else letter, word

    # ending

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> Generator[None, None, None]:
        """Merge what the workers recorded, once all of them have ended."""
        if self.active:
            self.active.stop()
        if self._stats:
            self._stats.stop()
        self._progress_line.stop()
        yield
        self.close()
        if self._executor:
            self._executor.close()
        if self.active:
            self._summary = self.active.finish()
            self._targets.problems += [why for why in [self.active.unrecorded] if why]
            self._targets.database = self.active.directory.database
        elif self._earlier and self._plan and not self._only_lists:
            self._summary = sum_up(self._earlier.directory.database, self._plan)
        if self._earlier and self._summary:
            session.exitstatus = self._earlier.exit_status(int(session.exitstatus), self._summary)
        if self._summary and not self._summary.tried and self._check != NO_CHECK and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED  # nothing that was skipped is green
        if self._summary and self._check != NO_CHECK:
            session.exitstatus = honest_status(int(session.exitstatus), self._summary)
        if self._summary and self._plan:
            self._targets.write_files(self._summary, self._plan)
        self._fail_for_faults(session)
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if exitstatus not in SUMMARISED and reporter:
            self._write_summary(reporter)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
        """Write the terminal's report after pytest's own: the grid is what a person should see last."""
        yield
        self._write_summary(terminalreporter)
        self._fail_for_faults(terminalreporter._session)  # noqa: SLF001  # the hook does not pass it

    def _write_summary(self, reporter: pytest.TerminalReporter) -> None:
        if self._summary is not None and self._plan is not None:
            if self._check != NO_CHECK:
                self._targets.write("terminal", "", self._summary, self._plan)
            for line in (*self._targets.problems, *self._extensions.faults):
                reporter.write_line(f"spip: {line}", red=True)

    def _fail_for_faults(self, session: pytest.Session | None) -> None:
        """End with pytest's status of an internal error where a hook went wrong, or a report is missing."""
        wrong = self._targets.problems or self._extensions.faults
        if wrong and session and session.exitstatus != pytest.ExitCode.INTERRUPTED:
            session.exitstatus = pytest.ExitCode.INTERNAL_ERROR

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Give everything back, off the critical path."""
        self._give_back()

    def _rescue(self) -> None:
        """Leave nothing behind but what counts, now."""
        if self.active:
            with contextlib.suppress(DatabaseError):  # what cannot be written is run again
                self.active.writer.flush()
        kill_descendants()
        if self.active:
            discard(self.active.root.path)
        if self._planner:
            self._planner.cache.close()

    def _give_back(self) -> None:
        self._umask.restore()
        if self._stats:
            self._stats.stop()
        if self.active:
            self.active.leave(now=self._interrupts.came)
        elif self._planner:
            self._planner.close()
        if self._earlier:
            self._earlier.release()
        self.active = self._planner = None


def _selects(name: str, nodeid: str) -> bool:
    return nodeid == name or nodeid.startswith((f"{name}[", f"{name}::"))
