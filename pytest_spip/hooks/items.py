"""What controller and workers share of a matrix in pytest: the collector, the items, and the reports that carry results."""

from __future__ import annotations

import dataclasses
from collections import ChainMap
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_spip.errors import UsageProblem
from pytest_spip.hooks.function_attributes import FunctionAttributes
from pytest_spip.hooks.reports import PROPERTY, location_file, skip_place
from pytest_spip.model import NO_CHECK, Combo, Interpreter, Outcome, Phase, Reason, Result, Verdict
from pytest_spip.names import MODULE_PREFIX
from pytest_spip.report.properties import properties
from pytest_spip.report.texts import TAIL, failure_text, one_line
from pytest_spip.session.slots import MARKER, NOTHING, DeviceRequest, read_device_request

if TYPE_CHECKING:
    from pytest_spip.session.executor import Executor
    from pytest_spip.session.installs import Additions

__all__ = ["Matrix", "MatrixCollector", "MatrixItem", "attach_result", "failed_result"]


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
        result = self._matrix.result(self.combo, self._need, self.timeout)
        self.result = dataclasses.replace(result, reruns=result.reruns + self._attempts)
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

    def need(self) -> DeviceRequest:
        """Return the devices that markers ask for, the nearest one first. Raises ``UsageProblem``."""
        marks = list(self.iter_markers("spip"))
        if any(mark.args for mark in marks):
            raise UsageProblem(MARKER, "its arguments have names", 'write it like spip(slots={"gpu": 1})')
        return read_device_request(ChainMap(*(dict(mark.kwargs) for mark in marks)))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return the story of a failed combination, never a traceback of ours."""
        if isinstance(excinfo.value, CombinationFailed):
            return failure_text(excinfo.value.result, lines=TAIL)
        if isinstance(excinfo.value, UsageProblem):
            return str(excinfo.value)
        return super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Place the item in the file that configures pytest: who annotates files needs one that exists."""
        return self.config.rootpath / location_file(self.config), 0, self.name


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

    def executor(self, combo: Combo) -> Executor:
        """Return this process's executor, when the combination is provisioned."""
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

    def result(self, combo: Combo, need: DeviceRequest, timeout: float) -> Result:
        """Run a combination in this process's executor, with the devices that it needs; 0 seconds leave it to the run's limit."""
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
