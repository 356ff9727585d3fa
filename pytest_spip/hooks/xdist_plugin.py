"""The hooks that xdist asks. The only importer of xdist."""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Callable, Generator, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from xdist.remote import Producer
from xdist.workermanage import parse_tx_spec_config

from pytest_spip.common.machine import Machine
from pytest_spip.dispatch.autoscale import PROFILES, Load, Policy
from pytest_spip.dispatch.concurrency import ConcurrencyController
from pytest_spip.dispatch.pinning import Pins, pin_plan
from pytest_spip.hooks.exit_status import item_lines
from pytest_spip.hooks.reports import location_file, make_report, phase_report, trim
from pytest_spip.hooks.worker_mode import reason_for_phases, reason_for_pytest
from pytest_spip.hooks.xdist_nodes import send_signal
from pytest_spip.hooks.xdist_scheduling import SpipScheduling
from pytest_spip.session import worker_main
from pytest_spip.session.run import Run

if TYPE_CHECKING:
    from execnet import XSpec
    from xdist.workermanage import WorkerController

    from pytest_spip.hooks.forked_workers import ForkedWorkers

__all__ = ["Distribution"]


class Distribution:
    """The hooks that xdist asks: which scheduler, what a worker must know, and which program it is.

    A worker is a pytest session only where somebody has a use for that; ``why_pytest`` says who. Else it runs combinations and
    nothing besides, and what pytest would have called for an item is called here, as far as somebody listens.
    """

    def __init__(self, config: pytest.Config, run: Run, workers: ForkedWorkers | None) -> None:
        self._config = config
        self._run = run
        self._forked = workers
        self._nodes: list[WorkerController] = []
        self.why_pytest = reason_for_pytest(config)
        self._scheduling = SpipScheduling(config, run, collects=bool(self.why_pytest), log=_log(config))
        self._undone: list[str] = []
        self._phases = bool(reason_for_phases(config))
        self._file = location_file(config)
        if not self.why_pytest:
            _limit_workers(config, len(run.missing))
        count = len(parse_tx_spec_config(config))
        self._pins = Pins(pin_plan(count, Machine().topology()) if run.settings.pin else (frozenset(),))
        self._concurrency: ConcurrencyController | None = None
        if run.settings.adapts:
            policy = Policy(PROFILES[run.settings.profile or "balanced"], 1, count)
            self._concurrency = ConcurrencyController(policy, Machine(), self._scheduling.set_limit, self._load)

    def workers(self) -> tuple[int, int]:
        """Return how many workers are busy and idle."""
        return self._scheduling.workers()

    def running(self) -> dict[str, str]:
        """Return what each worker that has work runs: the id of a combination, or a test's node id."""
        return self._scheduling.running()

    def _load(self) -> Load:
        return Load(self.workers()[0], self._run.peak)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: WorkerController, error: object) -> None:
        """Let whoever takes over have the worker's processors; count those that never got as far as to work."""
        self._pins.give_back(node.gateway.id)
        if error is not None:
            self._scheduling.node_down(node, str(error))
        elif self._scheduling.leaves_early(node) and not self._shuts_down():
            # As by pytest.exit in a worker. Where it holds work, or is the last, xdist would end in an internal error.
            node.workeroutput["shouldstop"] = f"worker {node.gateway.id} ended its session before all was done"

    def _shuts_down(self) -> bool:
        """Return True if xdist has dismissed all workers, as after -x."""
        return bool(vars(self._config.pluginmanager.get_plugin("dsession"))["shuttingdown"])

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name test functions that were not run; combinations are in the report."""
        for line in item_lines([nodeid for nodeid in self._undone if not self._run.combo_of(nodeid)]):
            terminalreporter.write_line(line, red=True)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self) -> SpipScheduling:
        """Offer our scheduler."""
        if self._concurrency:
            self._concurrency.start()
        return self._scheduling

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_getremotemodule(self) -> ModuleType | None:
        """Have workers run our own loop, where nobody needs pytest there."""
        return None if self.why_pytest else worker_main

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_setupnodes(self, specs: Sequence[XSpec]) -> None:
        """Have xdist's workers forked, where they can be."""
        if self._forked is not None and not self.why_pytest:
            self._forked.number_on(len(specs))
            vars(self._config.pluginmanager.get_plugin("dsession"))["nodemanager"].group = self._forked

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: WorkerController) -> None:
        """Tell a worker where its run is."""
        cpus = tuple(sorted(self._pins.take(node.gateway.id)))
        spec = dataclasses.replace(self._run.worker_spec(), cpus=cpus, shared=self._run.shared is not None)
        node.workerinput["spip"] = spec.to_plain()
        self._nodes.append(node)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_from_serializable(self, data: Mapping[str, Any]) -> pytest.TestReport | None:
        """Make the report of what our own loop sends."""
        if self.why_pytest or "seconds" not in data:
            return None
        plain = json.loads(data["spip"])
        return make_report(self._run.plan.combos[plain["ordinal"]], plain, data["seconds"], self._file)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None, None, None]:
        """Go on with the worker's next combination when this one is in the ledger; tell who listens what an item would tell."""
        node = vars(report).get("node")
        if self.why_pytest or node is None or not hasattr(report, "spip"):
            return (yield)
        if self._phases:
            self._config.hook.pytest_runtest_logstart(nodeid=report.nodeid, location=report.location)
            if report.when == "call":
                self._config.hook.pytest_runtest_logreport(report=phase_report(report, "setup"))
        yield
        self._scheduling.mark_test_complete(node, vars(report)["spip"]["ordinal"])
        if self._phases:
            self._config.hook.pytest_runtest_logreport(report=phase_report(report, "teardown"))
            self._config.hook.pytest_runtest_logfinish(nodeid=report.nodeid, location=report.location)
        else:
            trim(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Interrupt workers as soon as the session is interrupted; execnet would let them go on for five seconds.

        A session that ends before its time, as one whose last worker is not replaced, is not green.
        """
        self._scheduling.stop()
        self._undone = self._scheduling.undone()
        if self._undone and exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.INTERRUPTED
        if self._concurrency:
            self._concurrency.stop()
        for node in self._nodes if exitstatus == pytest.ExitCode.INTERRUPTED else ():
            send_signal(node, signal.SIGINT)


def _log(config: pytest.Config) -> Callable[..., None]:
    """Return what schedulers write their log with, which ``--debug`` shows."""
    log: Callable[..., None] = Producer("spipsched", enabled=config.option.debug)
    return log


def _limit_workers(config: pytest.Config, combinations: int) -> None:
    """See that no more workers start than there is work for."""
    if set(config.option.tx) == {"popen"}:
        del config.option.tx[max(combinations, 1) :]
