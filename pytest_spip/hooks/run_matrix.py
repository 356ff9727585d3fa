"""A matrix that this session runs: the controller's side of provisioning, verdicts and reports as they arrive."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_spip.errors import UsageProblem
from pytest_spip.hooks.attempts import FINAL
from pytest_spip.hooks.closing import Closing
from pytest_spip.hooks.extensions import Extensions
from pytest_spip.hooks.failure_texts import FailureTexts
from pytest_spip.hooks.functions import Functions
from pytest_spip.hooks.header import builds_line
from pytest_spip.hooks.items import MatrixItem
from pytest_spip.hooks.planned_matrix import PlannedMatrix
from pytest_spip.hooks.progress import ProgressLine
from pytest_spip.hooks.reports import location_file
from pytest_spip.model import Combo, Outcome, Phase, Reason, Result, Verdict
from pytest_spip.run.text import harmless
from pytest_spip.session.planned import Planned
from pytest_spip.session.run import Run
from pytest_spip.session.slots import DeviceRequest
from pytest_spip.session.worker_spec import MAIN

if TYPE_CHECKING:
    from pytest_spip.hooks.shared_loop import SharedLoop
    from pytest_spip.hooks.stats import StatsReporter
    from pytest_spip.hooks.xdist_plugin import Distribution
    from pytest_spip.session.bisecting import Bisections
    from pytest_spip.session.executor import Executor
    from pytest_spip.session.installs import Additions

__all__ = ["RunMatrix"]


class RunMatrix(PlannedMatrix):
    """Provisions, records, reports; without xdist's workers, for then ``distribution`` is None, it runs items too."""

    def __init__(
        self,
        config: pytest.Config,
        planned: Planned,
        closing: Closing,
        *,
        run: Run,
        extensions: Extensions,
        distribution: Distribution | None,
        stats: StatsReporter | None,
    ) -> None:
        super().__init__(config, planned, closing)
        self._run = run
        self._extensions = extensions
        self._distribution = distribution
        self._stats = stats
        self._executor: Executor | None = None
        self._failure_texts = FailureTexts(config)
        self._lost_attempts: Counter[int] = Counter()
        self._failing = 0
        self._results: dict[int, Result] = {}
        self._progress_line = ProgressLine(config, distribution.running if distribution else dict)

    def start(self) -> None:
        """Begin to say how far the run is."""
        self._progress_line.start(self._run)
        if self._stats:
            self._stats.start()

    def additions(self) -> Additions:
        """Return what finds further wheels, made when it is needed first."""
        if self._additions is None:
            from pytest_spip.session.installs import Additions  # most sessions have no use for what it imports

            interpreters = self._planned.plan.interpreters
            self._additions = Additions(self._run.worker_spec(), MAIN, self.config.rootpath, interpreters)
        return self._additions

    def _run_lines(self) -> list[str]:
        run = self._run
        why = self._distribution.why_pytest if self._distribution else ""
        return [
            f"environments on {run.places.root.summary}",
            run.how,
            *([f"workers are pytest sessions, for {why}"] if why else []),
            *run.devices.lines,
            *builds_line(run.plan, run.missing),
            *([run.shared.line] if run.shared else []),
            f"run {run.places.directory.path.name}",
        ]

    # running

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Without workers, provisioning begins when the items are known, and their markers are what they can be."""
        if self._distribution:
            return
        ours = [item for item in session.items if isinstance(item, MatrixItem)]
        try:
            for item in ours:
                item.need()
            needed = [combo.ordinal for _, combo in Functions.needing(session.items)]
            selected = (item.combo.ordinal for item in ours)
            if self._run.shared:
                loop = self._loop()
                self._run.start(selected, loop.listener, needed=needed)
            else:
                self._run.start(selected, needed=needed)
        except UsageProblem as error:
            raise pytest.UsageError(str(error)) from error

    def _loop(self) -> SharedLoop:
        """Have items run as they are claimed."""
        from pytest_spip.hooks.shared_loop import SharedLoop  # few sessions share a run

        loop = SharedLoop(self._run.may_judge)
        self.config.pluginmanager.register(loop, "spip-shared-loop")
        return loop

    def result(self, combo: Combo, need: DeviceRequest, timeout: float) -> Result:
        """Run a combination in this process; in a bisection those first that decide whether it is to be run at all."""
        if self._run.bisections:
            self._run_before(combo, self._run.bisections)
        if combo.ordinal in self._results:
            return self._results.pop(combo.ordinal)
        return self.executor(combo).result(combo, need, timeout=timeout)

    def _run_before(self, combo: Combo, bisections: Bisections) -> None:
        while other := bisections.next_before(combo.ordinal):
            result = self.executor(other).result(other)
            self._results[other.ordinal] = result
            self._run.found(other.ordinal, result.verdict)

    def executor(self, combo: Combo) -> Executor:
        """Return this process's executor, when the combination is provisioned."""
        if self._executor is None:
            from pytest_spip.session.executor import Executor  # where workers run items, this process runs none

            self._executor = Executor(self._run.worker_spec(), MAIN)
        with self._executor.waiting():
            self._run.wait_for(combo.ordinal)
        return self._executor

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Enter the verdict into the ledger and pass it on; print a failure's text once and refer to it when it repeats."""
        result = self._result_of(report)
        if result is None:
            return
        if report.outcome not in FINAL:  # it is run again
            self._lost_attempts[result.ordinal] += result.verdict.reason is Reason.WORKER_LOST
            return
        result = dataclasses.replace(result, reruns=result.reruns + self._lost_attempts.pop(result.ordinal, 0))
        combo = self._run.plan.combos[result.ordinal]
        self._failing += report.failed
        self._run.record(result, failing=report.failed)  # before anybody else sees it
        self._extensions.verdict(combo, result)
        if report.failed:
            report.longrepr = self._failure_texts.text(report.nodeid, result)

    def _result_of(self, report: pytest.TestReport) -> Result | None:
        plain = vars(report).get("spip")
        if plain is not None:
            return Result.from_plain(plain)
        # xdist speaks of an item over which a worker died in a report whose ``when`` is no phase of pytest's.
        combo = self._run.combo_of(report.nodeid)
        if combo and self._run.shared and report.when == "setup" and report.failed:
            self._record_broken(combo, report)
        if not combo or report.when in ("setup", "call", "teardown"):
            return None
        report.when = "setup"  # an error of ours, not a failure of the package
        report.location = (location_file(self.config), 0, combo.id)
        return self._run.lost(combo, str(report.longrepr))

    def _record_broken(self, combo: Combo, report: pytest.TestReport) -> None:
        """Record an error where a hook of somebody kept a combination from running: other hosts would wait for its verdict."""
        lines = report.longreprtext.strip().splitlines()
        self._failing += 1
        detail = harmless(f"its setup failed: {lines[-1] if lines else 'nobody says why'}")
        self._run.record(
            Result(combo.ordinal, Verdict(Outcome.ERROR, Phase.PLAN, Reason.INTERNAL, detail)), failing=True
        )

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

    def pytest_enter_pdb(self) -> None:
        """Leave the terminal to a debugger, which runs where tests run in this process."""
        self._progress_line.pause()

    def pytest_leave_pdb(self) -> None:
        """Have the terminal again."""
        self._progress_line.go_on()

    # ending

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> Generator[None, None, None]:
        """Merge what the workers recorded, once all of them have ended."""
        self._run.stop()
        if self._stats:
            self._stats.stop()
        self._progress_line.stop()
        yield
        self.close()
        if self._executor:
            self._executor.close()
        summary = self._run.finish()
        try:
            self._run.share()
        except OSError as error:
            self._closing.add_problem(f"--spip-reuse: cannot share this run's verdicts ({error.strerror})")
        if self._run.unrecorded:
            self._closing.add_problem(self._run.unrecorded)
        self._closing.close(session, exitstatus, summary, self._run.places.directory, self._failing)
