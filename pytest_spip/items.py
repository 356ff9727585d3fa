"""The pytest edge that controller and workers share: activation, the collector, the items."""

from __future__ import annotations

import dataclasses
import signal
import time
from collections import ChainMap
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_spip.benchspec import BenchSpec
from pytest_spip.errors import SpipError, UsageProblem
from pytest_spip.hooks.function_attributes import FunctionAttributes
from pytest_spip.hooks.ini_values import ini_value
from pytest_spip.hooks.listing import only_lists
from pytest_spip.model import NEEDS, NO_CHECK, Combo, Interpreter, Outcome, Phase, Reason, Result, Verdict
from pytest_spip.names import MODULE_PREFIX
from pytest_spip.nodeids import options_for
from pytest_spip.options import OPTIONS, Option, Settings, make_settings
from pytest_spip.reports import PROPERTY, TAIL, location_file, one_line, properties, skip_place, story
from pytest_spip.slots import MARKER, NOTHING, Need, read_need
from pytest_spip.workbench import Workbench

if TYPE_CHECKING:
    from pytest_spip.additions import Additions

__all__ = ["Matrix", "MatrixCollector", "MatrixItem", "activate", "attach_result", "failed_result"]

ENDLESS = 1_000_000
RESUME = next(option for option in OPTIONS if option.name == "resume")


class CombinationFailed(Exception):
    """Carries the result of a combination that did not pass to ``repr_failure``."""

    def __init__(self, result: Result) -> None:
        self.result = result
        super().__init__(result.verdict.detail)


def failed_result(call: pytest.CallInfo[Any]) -> Result | None:
    """Return the result of a combination that failed; None where it was something else that raised."""
    error = call.excinfo.value if call.excinfo else None
    return error.result if isinstance(error, CombinationFailed) else None


class MatrixCollector(pytest.Collector):
    """The node ``spip``: its items are the combinations of the plan."""

    def __init__(self, *, matrix: Matrix, **keywords: Any) -> None:
        super().__init__(**keywords)
        self._matrix = matrix

    def collect(self) -> Iterator[MatrixItem]:
        """Yield an item per combination, in the plan's order."""
        for combo in self._matrix.combos():
            # Named in full, and parsed as a pasted id is: pytest would else take the brackets for a part of the name.
            yield MatrixItem.from_parent(self, name=combo.id, nodeid=combo.nodeid, combo=combo, matrix=self._matrix)


class MatrixItem(FunctionAttributes, pytest.Item):
    """One combination."""

    def __init__(self, *, combo: Combo, matrix: Matrix, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.combo = combo
        self.originalname = combo.package
        self.result: Result | None = None
        self.timeout = 0.0
        self._matrix = matrix
        self._need = NOTHING
        self._attempts = 0
        self.add_marker("spip")

    def begin(self) -> None:
        """Forget what came of the item, as before its first attempt."""
        self.result = None
        self._attempts = 0

    def _initrequest(self) -> None:
        """Begin another attempt: plugins that repeat items ask functions' items, which have fixtures to make anew."""

    def setup(self) -> None:
        """Read the markers: what is wrong with them is an error, and no failure of the package."""
        self._need = self.need()

    def runtest(self) -> None:
        """Run the combination in its own environment."""
        self.result = dataclasses.replace(
            self._matrix.result(self.combo, self._need, self.timeout), reruns=self._attempts
        )
        self._attempts += 1
        self.forget_properties()  # those of an earlier attempt
        self.user_properties += properties(self.result)
        if self.result.verdict.outcome is Outcome.SKIPPED:
            pytest.skip(one_line(self.result))
        if self.result.verdict.outcome is not Outcome.PASSED:
            raise CombinationFailed(self.result)

    def forget_properties(self) -> None:
        """Take what we said of the item off it; what others said stays."""
        self.user_properties[:] = [pair for pair in self.user_properties if not pair[0].startswith(PROPERTY)]

    def need(self) -> Need:
        """Return the devices that markers ask for, the nearest one first. Raises ``UsageProblem``."""
        marks = list(self.iter_markers("spip"))
        if any(mark.args for mark in marks):
            raise UsageProblem(MARKER, "its arguments have names", 'write it like spip(slots={"gpu": 1})')
        return read_need(ChainMap(*(dict(mark.kwargs) for mark in marks)))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return the story of a failed combination, never a traceback of ours."""
        if isinstance(excinfo.value, CombinationFailed):
            return story(excinfo.value.result, lines=TAIL)
        if isinstance(excinfo.value, UsageProblem):
            return str(excinfo.value)
        return super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Place the item in the file that configures pytest: who annotates files needs one that exists."""
        return self.config.rootpath / location_file(self.config), 0, self.name


# -- activation ---------------------------------------------------------------------------------------------------------


def activate(config: pytest.Config, named: Sequence[str]) -> None:
    """Register the controller's or the worker's plugin; take our node ids out of what pytest will look for on disk."""
    workerinput = getattr(config, "workerinput", None)
    try:
        settings = None if workerinput is not None else _settings(config, named)
        check = settings.check if settings else BenchSpec.from_plain(vars(config)["workerinput"]["spip"]).check.kind
    except SpipError as error:
        raise pytest.UsageError(str(error)) from error
    if named:
        config.args[:] = [arg for arg in config.args if arg not in named]
    elif config.args_source is not pytest.Config.ArgsSource.ARGS and check != NO_CHECK:
        config.args[:] = []  # ordinary tests run beside a matrix only when they are named, or instead of it
    matrix: Matrix
    if workerinput is not None:
        matrix = WorkerMatrix(config, BenchSpec.from_plain(workerinput["spip"]), workerinput["workerid"])
    else:
        from pytest_spip.controller import ControllerMatrix  # workers have no use for what planning imports

        assert settings is not None, "made above"
        _let_workers_restart(config)
        if only_lists(config):
            config.option.dist, config.option.tx = "no", []  # there is no run that workers could be of
        matrix = ControllerMatrix(config, named, settings)
    from pytest_spip.functions import Functions  # they import this module
    from pytest_spip.hooks.attempts import Attempts
    from pytest_spip.hooks.forked import Unforked
    from pytest_spip.hooks.timeouts import Timeouts

    config.pluginmanager.register(matrix, "spip-matrix")
    config.pluginmanager.register(Attempts(), "spip-attempts")
    config.pluginmanager.register(Unforked(), "spip-unforked")
    config.pluginmanager.register(timeouts := Timeouts(config), "spip-timeouts")
    config.pluginmanager.register(Functions(config, matrix, timeouts), "spip-functions")


def _let_workers_restart(config: pytest.Config) -> None:
    """Have xdist replace dead workers for as long as there is work: a combination that kills two is given up, not the run."""
    if config.getoption("maxworkerrestart", "") is None:
        config.option.maxworkerrestart = str(ENDLESS)


def _settings(config: pytest.Config, named: Sequence[str]) -> Settings:
    if _value(config, RESUME):
        return _resumed(config, named)
    values = {option.name: _value(config, option) for option in OPTIONS}
    if named and not config.getoption("spip_matrix") and not values["matrix"]:
        values |= options_for(named, values)
    if values["sandbox"] == "off" and config.getoption("spip_sandbox") is None:
        raise UsageProblem("spip_sandbox", "an ini file cannot turn it off", "use --spip-sandbox=off for this once")
    settings = make_settings(values, config.invocation_params.dir)
    if values["matrix"] and not settings.matrix:
        raise UsageProblem("--spip-matrix", f"{values['matrix'][0]} names no requirement", "write one a line")
    if not settings.matrix:
        raise UsageProblem("--spip", "no matrix is named", "add --spip-matrix=REQ, or spip_matrix to the ini file")
    return settings


def _resumed(config: pytest.Config, named: Sequence[str]) -> Settings:
    from pytest_spip.resume import is_complete, resumed_settings  # workers have no use for what it imports

    if named:
        raise UsageProblem("--spip-resume", f"{named[0]} is chosen when a run is planned", "choose with -k")
    given = {option.name: config.getoption(option.dest) for option in OPTIONS}
    given = {name: value for name, value in given.items() if value is not None}
    given["resume"] = _value(config, RESUME)
    settings = resumed_settings(config.rootpath, given, config.invocation_params.dir)
    if is_complete(config.rootpath, settings):
        config.option.dist, config.option.tx = "no", []  # there is nothing for workers to do
    return settings


def _value(config: pytest.Config, option: Option) -> Any:
    given = config.getoption(option.dest)
    return ini_value(config, option) if given is None else given


class Matrix:
    """What controller and worker have in common: the collector, and reports that carry results."""

    needs = ""
    """Path of the file in which workers name the functions' items, and the combination that each needs; empty for none."""

    def __init__(self, config: pytest.Config, check: str) -> None:
        self.config = config
        self._check = check
        self._additions: Additions | None = None

    def plan(self) -> Sequence[Combo]:
        """Return the whole plan, whatever of it is done."""
        raise NotImplementedError

    def interpreter(self, combo: Combo) -> Interpreter:
        """Return a combination's interpreter."""
        raise NotImplementedError

    def bench(self, combo: Combo) -> Workbench:
        """Return this process's workbench, when the combination is provisioned."""
        raise NotImplementedError

    def additions(self) -> Additions:
        """Return what finds further wheels in this process."""
        raise NotImplementedError

    def close(self) -> None:
        """Give back what finds further wheels."""
        if self._additions:
            self._additions.close()
            self._additions = None

    def combos(self) -> Sequence[Combo]:
        """Return the plan's combinations."""
        raise NotImplementedError

    def result(self, combo: Combo, need: Need, timeout: float) -> Result:
        """Run a combination in this process's workbench, with the devices that it needs; 0 seconds leave it to the run's limit."""
        raise NotImplementedError

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Put our collector before whatever else the session collects."""
        report = yield
        if isinstance(collector, pytest.Session) and report.passed and self._check != NO_CHECK:
            path = self.config.rootpath  # --nf asks for its age
            ours = MatrixCollector.from_parent(
                collector, name=MODULE_PREFIX, nodeid=MODULE_PREFIX, path=path, matrix=self
            )
            report.result = [ours, *report.result]
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Let the report carry the result; what went wrong on our side is pytest's error, not its failure."""
        report = yield
        if not isinstance(item, MatrixItem):
            return report
        if call.when == "setup" and report.skipped:  # by a mark, or a hook
            verdict = Verdict(Outcome.SKIPPED, Phase.PLAN, Reason.EXCLUDED, _why_skipped(report))
            vars(report)["spip"] = Result(item.combo.ordinal, verdict).to_plain()
        if call.when == "call" and item.result is not None:
            attach_result(report, item.result)
        if call.when == "teardown":
            item.forget_properties()  # items live as long as the session does
        return report


def attach_result(report: pytest.TestReport, result: Result) -> None:
    """Let a report carry a result: pytest takes what a report bears to the controller."""
    vars(report)["spip"] = result.to_plain()
    if result.verdict.outcome is Outcome.ERROR and report.failed:
        report.when = "setup"
    if result.verdict.outcome is Outcome.SKIPPED and report.skipped and not hasattr(report, "wasxfail"):
        report.longrepr = skip_place(result)


def _why_skipped(report: pytest.TestReport) -> str:
    if hasattr(report, "wasxfail"):
        return report.wasxfail.splitlines()[0] if report.wasxfail else "not to be run"
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
    return reason.removeprefix("Skipped: ").partition("\n")[0]


# -- a worker -----------------------------------------------------------------------------------------------------------


class WorkerMatrix(Matrix):
    """In an xdist worker: reads the plan, runs what it is told."""

    def __init__(self, config: pytest.Config, spec: BenchSpec, worker: str) -> None:
        super().__init__(config, spec.check.kind)
        self._spec = spec
        self._worker = worker
        self._bench = Workbench(spec, worker)
        self.needs = f"{spec.room}/{NEEDS}"

    def plan(self) -> Sequence[Combo]:
        """Return the plan, as the run database has it."""
        return self._bench.plan()

    def interpreter(self, combo: Combo) -> Interpreter:
        """Return a combination's interpreter."""
        return self._bench.interpreter(combo)

    def bench(self, combo: Combo) -> Workbench:
        """Return the workbench: nothing is handed out before it is provisioned."""
        return self._bench

    def additions(self) -> Additions:
        """Return what finds further wheels, made when it is needed first."""
        if self._additions is None:
            from pytest_spip.additions import Additions  # most workers have no use for what it imports

            self._additions = Additions(self._spec, self._worker, self.config.rootpath, self._bench.interpreters)
        return self._additions

    def combos(self) -> Sequence[Combo]:
        """Return the plan, as the run database has it, or what was left of it."""
        return self._bench.combos()

    def result(self, combo: Combo, need: Need, timeout: float) -> Result:
        """Run a combination here."""
        return self._bench.result(combo, need, timeout=timeout)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None, None, None]:
        """Measure what a report costs; let go of it, for it is the controller's now."""
        start = time.perf_counter()
        yield
        if hasattr(report, "spip"):
            self._bench.report_took(report.spip["ordinal"], time.perf_counter() - start)
        if report.nodeid.startswith(f"{MODULE_PREFIX}::"):
            self._forget(report)

    def _forget(self, report: pytest.TestReport) -> None:
        """A worker's terminal reporter has nobody to tell, and keeps every report of the session for that."""
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        for reports in getattr(reporter, "stats", {}).values():
            if reports and reports[-1] is report:
                reports.pop()

    def pytest_keyboard_interrupt(self) -> None:
        """One interrupt is enough: the terminal and the controller both send one."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def pytest_unconfigure(self) -> None:
        """Close the workbench."""
        self.close()
        self._bench.close()
