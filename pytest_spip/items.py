"""The pytest edge: collector, items, what they print, and the two plugins that are registered when a matrix is asked for."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_spip.errors import SpipError, UsageProblem
from pytest_spip.model import MODULE_PREFIX, Combo, Interpreter, Outcome, Plan, Result
from pytest_spip.options import OPTIONS, Settings, make_settings
from pytest_spip.report import jsonfile, terminal
from pytest_spip.report.analysis import Summary, signature
from pytest_spip.session import BenchSpec, Controller, Planner, Workbench

__all__ = ["MatrixCollector", "MatrixItem", "activate"]

TAIL = 12
"""Lines of output shown with a failure; ``-v`` shows all that were kept."""


class CombinationFailed(Exception):
    """Carries the result of a combination that did not pass to ``repr_failure``."""

    def __init__(self, result: Result) -> None:
        self.result = result
        super().__init__(result.verdict.detail)


class MatrixCollector(pytest.Collector):
    """The node ``spip``: its items are the combinations of the plan."""

    def __init__(self, *, matrix: Matrix, **keywords: Any) -> None:
        super().__init__(**keywords)
        self._matrix = matrix

    def collect(self) -> Iterator[MatrixItem]:
        """Yield an item per combination that the command line selects, in the plan's order."""
        for combo in self._matrix.combos():
            yield MatrixItem.from_parent(self, name=combo.id, combo=combo, matrix=self._matrix)


class MatrixItem(pytest.Item):
    """One combination."""

    def __init__(self, *, combo: Combo, matrix: Matrix, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.combo = combo
        self.result: Result | None = None
        self._matrix = matrix
        self.add_marker("spip")

    def runtest(self) -> None:
        """Run the combination in its own environment."""
        self.result = self._matrix.run(self.combo)
        if self.result.verdict.outcome is Outcome.SKIPPED:
            pytest.skip(one_line(self.result))
        if self.result.verdict.outcome is not Outcome.PASSED:
            raise CombinationFailed(self.result)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return the story of a failed combination, never a traceback of ours."""
        if isinstance(excinfo.value, CombinationFailed):
            return story(excinfo.value.result, lines=TAIL)
        return super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Place the item in no file: its node id says it all."""
        return self.config.rootpath / MODULE_PREFIX, None, self.name


def one_line(result: Result) -> str:
    """Return reason and detail."""
    reason = result.verdict.reason.value if result.verdict.reason else result.verdict.outcome.value
    return f"{reason}: {result.verdict.detail}" if result.verdict.detail else reason


def story(result: Result, *, lines: int) -> str:
    """Return reason, phase, the last lines of output, and how to see it again."""
    verdict = result.verdict
    words = [f"{verdict.outcome.value} in phase {verdict.phase.value}: {one_line(result)}"]
    words += [f"    {line}" for line in result.output.rstrip().splitlines()[-lines:]]
    words += [f"see it again: {result.reproduce}"] if result.reproduce else []
    return "\n".join(words)


# -- activation ---------------------------------------------------------------------------------------------------------


def activate(config: pytest.Config, named: Sequence[str]) -> None:
    """Register the controller's or the worker's plugin; take our node ids out of what pytest will look for on disk."""
    try:
        settings = _settings(config, named)
    except SpipError as error:
        raise pytest.UsageError(str(error)) from error
    if named:
        config.args[:] = [arg for arg in config.args if arg not in named]
    elif config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args[:] = []  # ordinary tests run beside a matrix only when they are named
    workerinput = getattr(config, "workerinput", None)
    matrix: Matrix
    if workerinput is not None:
        matrix = WorkerMatrix(config, named, BenchSpec(**workerinput["spip"]), workerinput["workerid"])
    else:
        matrix = ControllerMatrix(config, named, settings)
    config.pluginmanager.register(matrix, "spip-matrix")


def _settings(config: pytest.Config, named: Sequence[str]) -> Settings:
    values = {option.name: _value(config, option.dest) for option in OPTIONS}
    if named and not config.getoption("spip_matrix") and not values["matrix"]:
        values["matrix"], values["python"] = _from_node_ids(named, values["python"])
    settings = make_settings(values, config.invocation_params.dir)
    if not settings.matrix:
        raise UsageProblem("--spip", "no matrix is named", "add --spip-matrix=REQ, or spip_matrix to the ini file")
    return settings


def _value(config: pytest.Config, dest: str) -> Any:
    given = config.getoption(dest)
    return config.getini(dest) if given is None else given


def _from_node_ids(named: Sequence[str], python: str) -> tuple[list[str], str]:
    """Return the smallest matrix and interpreters that hold the node ids, so that an id alone can be pasted back."""
    requirements, pythons = [], []
    for arg in named:
        package, _, rest = arg.split("::", 1)[1].partition("[")
        version, _, label = rest.removesuffix("]").rpartition("-")
        requirements.append(f"{package}=={version}" if version else package)
        pythons += [label_to_python(label)] if label else []
    return list(dict.fromkeys(requirements)), python or ",".join(dict.fromkeys(pythons))


def label_to_python(label: str) -> str:
    """Return what ``--spip-python`` calls a label: ``py312`` is ``3.12``, ``pypy310`` is ``pypy3.10``."""
    kind = "pypy" if label.startswith("pypy") else "py"
    number = label.removeprefix(kind)
    dotted = number if "." in number else f"{number[:1]}.{number[1:]}"
    return ("pypy" if kind == "pypy" else "") + dotted


class Matrix:
    """What controller and worker have in common: the collector, and reports that carry results."""

    def __init__(self, config: pytest.Config, named: Sequence[str]) -> None:
        self.config = config
        self._named = named

    def combos(self) -> list[Combo]:
        """Return the combinations that the command line selects."""
        every = self.plan_combos()
        if not self._named:
            return every
        chosen = [combo for combo in every if any(_selects(name, combo.nodeid) for name in self._named)]
        unmatched = [name for name in self._named if not any(_selects(name, combo.nodeid) for combo in every)]
        if unmatched:
            raise pytest.UsageError(f"{unmatched[0]}: no such combination in the plan; see --collect-only for those there are")
        return chosen

    def plan_combos(self) -> list[Combo]:
        """Return the plan's combinations."""
        raise NotImplementedError

    def run(self, combo: Combo) -> Result:
        """Run a combination in this process's workbench."""
        raise NotImplementedError

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Put our collector before whatever else the session collects."""
        report = yield
        if isinstance(collector, pytest.Session) and report.passed:
            path = self.config.rootpath / MODULE_PREFIX
            ours = MatrixCollector.from_parent(collector, name=MODULE_PREFIX, nodeid=MODULE_PREFIX, path=path, matrix=self)
            report.result = [ours, *report.result]
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Let the report carry the result; what went wrong on our side is pytest's error, not its failure."""
        report = yield
        if isinstance(item, MatrixItem) and call.when == "call" and item.result is not None:
            report.spip = item.result.to_plain()
            report.user_properties += _properties(item.result)
            if item.result.verdict.outcome is Outcome.ERROR and report.failed:
                report.when = "setup"
        return report


def _selects(name: str, nodeid: str) -> bool:
    return nodeid == name or nodeid.startswith((f"{name}[", f"{name}::"))


def _properties(result: Result) -> list[tuple[str, object]]:
    verdict = result.verdict
    pairs: dict[str, object] = {"spip_outcome": verdict.outcome.value, "spip_phase": verdict.phase.value}
    pairs |= {"spip_reason": verdict.reason.value} if verdict.reason else {}
    pairs |= {"spip_reproduce": result.reproduce} if result.reproduce else {}
    return list(pairs.items())


# -- a worker -----------------------------------------------------------------------------------------------------------


class WorkerMatrix(Matrix):
    """In an xdist worker: reads the plan, runs what it is told."""

    def __init__(self, config: pytest.Config, named: Sequence[str], spec: BenchSpec, worker: str) -> None:
        super().__init__(config, named)
        self._bench = Workbench(spec, worker)

    def plan_combos(self) -> list[Combo]:
        """Return the plan, as the run database has it."""
        return list(self._bench.combos.values())

    def run(self, combo: Combo) -> Result:
        """Run a combination here."""
        return self._bench.result(combo)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None, None, None]:
        """Measure what a report costs."""
        start = time.perf_counter()
        yield
        if hasattr(report, "spip"):
            self._bench.report_took(report.spip["ordinal"], time.perf_counter() - start)

    def pytest_unconfigure(self) -> None:
        """Close the workbench."""
        self._bench.close()


# -- the controller -----------------------------------------------------------------------------------------------------


class ControllerMatrix(Matrix):
    """In the process that the user started: plans, provisions, records, reports; without xdist it runs items too."""

    def __init__(self, config: pytest.Config, named: Sequence[str], settings: Settings) -> None:
        super().__init__(config, named)
        self._settings = settings
        self._planner: Planner | None = None
        self._plan: Plan | None = None
        self.controller: Controller | None = None
        self._bench: Workbench | None = None
        self._summary: Summary | None = None
        self._stories: dict[str, str] = {}
        self._live = LiveLine(config)
        self._distributed = bool(config.getoption("tx", None)) and config.getoption("dist", "no") != "no"

    # planning

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Plan, and unless pytest only lists, create the run. Before workers start, and before the header is printed."""
        try:
            self._check_reports()
            self._planner = Planner(self._settings, self.config.rootpath, os.environ)
            self._plan = self._planner.plan(self._offered(), self._choose)
            if not self.config.option.collectonly:
                self._create()
        except SpipError as error:
            self._give_back()
            raise pytest.UsageError(str(error)) from error

    def _create(self) -> None:
        assert self._planner is not None and self._plan is not None, "planned before"
        command = shlex.join(["pytest", *map(str, self.config.invocation_params.args)])
        self.controller = Controller(self._planner, self._plan, self.config.rootpath, command, os.environ)
        if self._distributed:
            from pytest_spip.distribute import Distribution

            self.config.pluginmanager.register(Distribution(self.config, self.controller), "spip-distribution")
        self.controller.prepare()

    def _check_reports(self) -> None:
        if self._distributed and self.config.getoption("dist") == "each":
            raise UsageProblem("--dist", "'each' would run every combination on every worker", "leave the option out")
        for kind, path in self._settings.report:
            if kind == "json" and not path:
                raise UsageProblem("--spip-report", "json needs a path", "write it like --spip-report=json:out.json")
            if path and not (self.config.invocation_params.dir / path).parent.is_dir():
                raise UsageProblem("--spip-report", f"{path}: no such directory", "create it first")

    def _offered(self) -> list[str]:
        offers = self.config.hook.pytest_spip_interpreters(config=self.config)
        return [str(path) for offer in offers for path in offer]

    def _choose(self, combos: list[Combo], interpreters: Sequence[Interpreter]) -> None:
        self.config.hook.pytest_spip_plan(config=self.config, combos=combos, interpreters=interpreters)

    def plan_combos(self) -> list[Combo]:
        """Return the plan."""
        assert self._plan is not None, "collected after the session started"
        return list(self._plan.combos)

    def pytest_report_header(self) -> list[str]:
        """Say what is planned, where environments live, and what was noticed."""
        assert self._plan is not None, "the header comes after the session started"
        lines = [f"spip: {matrix_line(self._plan)}"]
        if self.controller:
            lines += [f"spip: environments on {self.controller.root.summary}; runner cold, sandbox level 1"]
            lines += [f"spip: run {self.controller.directory.path.name}"]
        return [*lines, *(f"spip: note: {note}" for note in self._plan.notes)]

    # running

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Without workers, provisioning begins when the items are known."""
        if self.controller and not self._distributed:
            self.controller.start(item.combo.ordinal for item in session.items if isinstance(item, MatrixItem))

    def run(self, combo: Combo) -> Result:
        """Run a combination in this process."""
        assert self.controller is not None, "items run only in a run"
        if self._bench is None:
            self._bench = Workbench(self.controller.bench_spec(), "main")
        self.controller.wait_for(combo.ordinal)
        return self._bench.result(combo)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Enter the verdict into the ledger; tell a story once and refer to it when it repeats."""
        result = self._result_of(report)
        if result is None or self.controller is None:
            return
        self.controller.record(result)
        combo = self.controller.plan.combos[result.ordinal]
        self.config.hook.pytest_spip_verdict(config=self.config, combo=combo, result=result)
        if report.failed:
            report.longrepr = self._told(report.nodeid, result)
        self._live.show(self.controller.progress)

    def _result_of(self, report: pytest.TestReport) -> Result | None:
        if hasattr(report, "spip"):
            return Result.from_plain(report.spip)
        lost = report.when == "???" and self.controller and self.controller.by_nodeid.get(report.nodeid)
        if lost and self.controller:
            report.when = "setup"  # an error of ours, not a failure of the package
            return self.controller.lost(lost, str(report.longrepr))
        return None

    def _told(self, nodeid: str, result: Result) -> str:
        first = self._stories.setdefault(signature(result), nodeid)
        verbose = self.config.get_verbosity() > 0
        if first == nodeid or verbose:
            return story(result, lines=1000 if verbose else TAIL)
        return f"{one_line(result)}\nlike {first}; see it again: {result.reproduce}"

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Name the reason beside the outcome in verbose mode; leave the dots out where a live line tells more."""
        plain = getattr(report, "spip", None)
        if plain is None or hasattr(report, "wasxfail"):
            return None
        outcome, _, reason, _ = plain["verdict"]
        category = "error" if report.failed and report.when == "setup" else report.outcome
        letter = "" if self._live.on else {"passed": ".", "failed": "F", "skipped": "s", "error": "E"}[category]
        return category, letter, outcome.upper() + (f" ({reason})" if reason else "")

    # ending

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self) -> Generator[None, None, None]:
        """Merge what the workers recorded, once all of them have ended."""
        if self.controller:
            self.controller.stop()
        yield
        self._live.clear()
        if self._bench:
            self._bench.close()
        if self.controller:
            self._summary = self.controller.finish()

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write the reports: the terminal's always, others as asked for."""
        if self._summary is None or self._plan is None:
            return
        for kind, path in (("terminal", ""), *(pair for pair in self._settings.report if pair[0] != "terminal")):
            place = str(self.config.invocation_params.dir / path) if path else ""
            self._write_report(kind, place, terminalreporter)

    def _write_report(self, kind: str, path: str, terminalreporter: pytest.TerminalReporter) -> None:
        summary, plan = self._summary, self._plan
        try:
            known = self.config.hook.pytest_spip_report(config=self.config, kind=kind, path=path, summary=summary, plan=plan)
        except OSError as error:
            known = True
            terminalreporter.write_line(f"spip: --spip-report={kind}: cannot write {path} ({error.strerror})", red=True)
        if not known:
            terminalreporter.write_line(f"spip: --spip-report: no report is named {kind!r}; there are terminal and json", red=True)

    @pytest.hookimpl(trylast=True)
    def pytest_spip_report(self, kind: str, path: str, summary: Summary) -> bool | None:
        """Our own reports."""
        if kind == "terminal":
            reporter = self.config.pluginmanager.get_plugin("terminalreporter")
            if reporter is not None:
                write_terminal(reporter, summary)
            return True
        if kind == "json":
            jsonfile.write(summary, Path(path))
            return True
        return None

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Give everything back, off the critical path."""
        self._give_back()

    def _give_back(self) -> None:
        if self.controller:
            self.controller.leave()
        elif self._planner:
            self._planner.close()
        self.controller = self._planner = None


def matrix_line(plan: Plan) -> str:
    """Return ``47 releases of colorama x 5 Pythons = 235 combinations``."""
    releases: dict[str, set[str]] = {}
    for combo in plan.combos:
        releases.setdefault(combo.package, set()).add(combo.version)
    what = ", ".join(f"{len(versions)} of {package}" for package, versions in releases.items())
    pythons = " ".join(one.label for one in plan.interpreters)
    return f"{what} x {len(plan.interpreters)} Pythons ({pythons}) = {len(plan.combos)} combinations"


def write_terminal(reporter: pytest.TerminalReporter, summary: Summary) -> None:
    """Write grid, groups and summary line."""
    reporter.section("spip: versions x Pythons")
    _write_lines(reporter, terminal.grid_lines(summary))
    if summary.groups:
        reporter.section("spip: why")
        _write_lines(reporter, terminal.group_lines(summary.groups))
    reporter.write_line("")
    reporter.write_line(f"spip: {terminal.summary_line(summary)}", bold=True)


def _write_lines(reporter: pytest.TerminalReporter, lines: Iterator[terminal.Line]) -> None:
    for line in lines:
        for text, style in line:
            markup = {{"dim": "light"}.get(style, style): True} if style else {}
            reporter.write(text, **markup)
        reporter.line("")


class LiveLine:
    """One line at the bottom of a terminal, rewritten as the run goes on; elsewhere pytest's dots do."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self.on = sys.stdout.isatty() and config.get_verbosity() == 0 and not config.option.collectonly
        self._last = 0.0

    def show(self, progress: Any) -> None:
        """Rewrite the line, a few times a second at most."""
        now = time.monotonic()
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if self.on and reporter is not None and (now - self._last > 0.1 or progress.done == progress.planned):
            self._last = now
            reporter.rewrite(f"spip: {progress.line(now)}", erase=True)

    def clear(self) -> None:
        """End the line."""
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if self.on and reporter is not None and self._last:
            reporter.line("")


