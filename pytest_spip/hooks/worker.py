"""A matrix in an xdist worker that is a pytest session: it reads the plan, and runs what it is sent."""

from __future__ import annotations

import signal
import time
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

import pytest

from pytest_spip.hooks.items import Matrix
from pytest_spip.model import NEEDS, Combo, Interpreter, Result
from pytest_spip.names import MODULE_PREFIX
from pytest_spip.session.executor import Executor
from pytest_spip.session.slots import DeviceRequest
from pytest_spip.session.worker_spec import WorkerSpec

if TYPE_CHECKING:
    from pytest_spip.session.installs import Additions

__all__ = ["WorkerMatrix"]


class WorkerMatrix(Matrix):
    """In an xdist worker: reads the plan, runs what it is sent."""

    def __init__(self, config: pytest.Config, spec: WorkerSpec, worker: str) -> None:
        super().__init__(config, spec.check.kind)
        self._spec = spec
        self._worker = worker
        self._executor = Executor(spec, worker)
        self.needs = f"{spec.room}/{NEEDS}"

    def plan(self) -> Sequence[Combo]:
        """Return the plan, as the run database has it."""
        return self._executor.plan()

    def interpreter(self, combo: Combo) -> Interpreter:
        """Return a combination's interpreter."""
        return self._executor.interpreter(combo)

    def executor(self, combo: Combo) -> Executor:
        """Return the executor: nothing is handed out before it is provisioned."""
        return self._executor

    def additions(self) -> Additions:
        """Return what finds further wheels, made when it is needed first."""
        if self._additions is None:
            from pytest_spip.session.installs import Additions  # most workers have no use for what it imports

            self._additions = Additions(self._spec, self._worker, self.config.rootpath, self._executor.interpreters)
        return self._additions

    def combos(self) -> Sequence[Combo]:
        """Return the plan, as the run database has it, or what was left of it."""
        return self._executor.combos()

    def result(self, combo: Combo, need: DeviceRequest, timeout: float) -> Result:
        """Run a combination here."""
        return self._executor.result(combo, need, timeout=timeout)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Leave the loop to xdist; but where hosts share the run, nothing is kept back in it."""
        if self._spec.shared:
            from pytest_spip.hooks.shared_worker import run_at_once  # few sessions share a run

            run_at_once(session.config)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None, None, None]:
        """Measure what a report costs; let go of it, for it is the controller's now."""
        start = time.perf_counter()
        yield
        if hasattr(report, "spip"):
            self._executor.report_took(report.spip["ordinal"], time.perf_counter() - start)
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
        """Close the executor."""
        self.close()
        self._executor.close()
