"""xdist's Scheduling protocol over our pure scheduler. The only importer of xdist."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import signal
import threading
from collections.abc import Generator, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from xdist.workermanage import parse_tx_spec_config

from pytest_spip import remote
from pytest_spip.dispatch.autoscale import PROFILES, Load, Policy
from pytest_spip.dispatch.governor import Governor
from pytest_spip.dispatch.machine import Machine
from pytest_spip.dispatch.pinning import Pins, pin_plan
from pytest_spip.dispatch.scheduler import (
    Command,
    Event,
    Finished,
    Listed,
    Ready,
    Run,
    Scheduler,
    Stop,
    WorkerJoined,
    WorkerLeft,
)
from pytest_spip.listeners import reason_for_phases, reason_for_pytest
from pytest_spip.reports import brother, make_report, slim
from pytest_spip.session import Run as RunSession
from pytest_spip.worker import PLAN

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

__all__ = ["Distribution", "SpipScheduling"]


class Distribution:
    """The hooks that xdist asks: which scheduler, what a worker must know, and which program it is.

    A worker is a pytest session only where somebody has a use for that; ``why_pytest`` says who. Else it runs combinations and
    nothing besides, and what pytest would have called for an item is called here, as far as somebody listens.
    """

    def __init__(self, config: pytest.Config, run: RunSession) -> None:
        self._config = config
        self._run = run
        self._nodes: list[WorkerController] = []
        self._scheduling = SpipScheduling(config, run, self)
        self.why_pytest = reason_for_pytest(config)
        self._phases = bool(reason_for_phases(config))
        if not self.why_pytest:
            _limit_workers(config, len(run.plan.combos))
        count = len(parse_tx_spec_config(config))
        self._pins = Pins(pin_plan(count, Machine().topology()) if run.settings.pin else (frozenset(),))
        self._governor: Governor | None = None
        if run.settings.adapts:
            policy = Policy(PROFILES[run.settings.profile or "balanced"], 1, count)
            self._governor = Governor(policy, Machine(), self._scheduling.admit, self._load)

    def workers(self) -> tuple[int, int]:
        """Return how many workers are busy and idle."""
        return self._scheduling.workers()

    def _load(self) -> Load:
        return Load(self.workers()[0], self._run.peak)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: WorkerController) -> None:
        """Let whoever takes over have the worker's processors."""
        self._pins.give_back(node.gateway.id)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self) -> SpipScheduling:
        """Offer our scheduler."""
        if self._governor:
            self._governor.start()
        return self._scheduling

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_getremotemodule(self) -> ModuleType | None:
        """Have workers run our own loop, where nobody needs pytest there."""
        return None if self.why_pytest else remote

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: WorkerController) -> None:
        """Tell a worker where its run is."""
        cpus = tuple(sorted(self._pins.take(node.gateway.id)))
        node.workerinput["spip"] = dataclasses.replace(self._run.bench_spec(), cpus=cpus).to_plain()
        self._nodes.append(node)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_from_serializable(self, data: Mapping[str, Any]) -> pytest.TestReport | None:
        """Make the report of what our own loop sends."""
        if self.why_pytest or "seconds" not in data:
            return None
        plain = json.loads(data["spip"])
        return make_report(self._run.plan.combos[plain["ordinal"]], plain, data["seconds"])

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None, None, None]:
        """Go on with the worker's next combination when this one is in the ledger; tell who listens what an item would tell."""
        node = vars(report).get("node")
        if self.why_pytest or node is None or not hasattr(report, "spip"):
            return (yield)
        if self._phases:
            self._config.hook.pytest_runtest_logstart(nodeid=report.nodeid, location=report.location)
            if report.when == "call":
                self._config.hook.pytest_runtest_logreport(report=brother(report, "setup"))
        yield
        self._scheduling.mark_test_complete(node, vars(report)["spip"]["ordinal"])
        if self._phases:
            self._config.hook.pytest_runtest_logreport(report=brother(report, "teardown"))
            self._config.hook.pytest_runtest_logfinish(nodeid=report.nodeid, location=report.location)
        else:
            slim(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Interrupt workers as soon as the session is interrupted; execnet would let them go on for five seconds."""
        if self._governor:
            self._governor.stop()
        for node in self._nodes if exitstatus == pytest.ExitCode.INTERRUPTED else ():
            with contextlib.suppress(OSError, AttributeError):
                os.kill(node.gateway._rinfo().pid, signal.SIGINT)  # noqa: SLF001  # execnet tells it nowhere else


def _limit_workers(config: pytest.Config, combinations: int) -> None:
    """See that no more workers start than there is work for."""
    if set(config.option.tx) == {"popen"}:
        del config.option.tx[max(combinations, 1) :]


class SpipScheduling:
    """Turns xdist's calls into events and the scheduler's commands into messages.

    Units are positions in the collection, which every worker makes from the same plan. Called from xdist's thread, and
    from provisioning threads when a combination gets ready.
    """

    def __init__(self, config: pytest.Config, run: RunSession, distribution: Distribution) -> None:
        self._config = config
        self._run = run
        self._distribution = distribution
        self._scheduler = Scheduler()
        self._nodes: dict[str, WorkerController] = {}
        self._ids: list[str] = []
        self._position: dict[int, int] = {}
        self._lock = threading.RLock()

    def admit(self, number: int) -> None:
        """Give work to so many workers at most."""
        # self._handle(Admit(number)): the scheduler's new event

    def workers(self) -> tuple[int, int]:
        """Return how many workers are busy and idle."""
        with self._lock:
            busy = sum(bool(self._scheduler.pending(name)) for name in self._nodes)
            return busy, len(self._nodes) - busy

    # what xdist reads

    @property
    def nodes(self) -> list[WorkerController]:
        """Workers that may still do something."""
        return list(self._nodes.values())

    @property
    def collection_is_completed(self) -> bool:
        """Work starts with the first worker; nobody waits for the others to collect."""
        return bool(self._ids)

    @property
    def tests_finished(self) -> bool:
        """Whether the session can be shut down."""
        return self._scheduler.done

    @property
    def has_pending(self) -> bool:
        """Whether anything was handed out or is still to be."""
        return bool(self._ids) and not self._scheduler.done

    # what xdist tells

    def add_node(self, node: WorkerController) -> None:
        """A worker has started. It can work once it has collected; our own loop has no need to."""
        self._nodes[node.gateway.id] = node
        if not self._distribution.why_pytest:
            meant = node.workerinfo.get(PLAN) == self._run.plan.hash
            node.notify_inproc("collectionfinish", node=node, ids=self._planned if meant else [])

    def add_node_collection(self, node: WorkerController, collection: Sequence[str]) -> None:
        """A worker has collected. The first one's list is everybody's."""
        if not self._ids:
            self._begin(list(collection))
        if list(collection) != self._ids:
            self._config.issue_config_time_warning(
                pytest.PytestWarning(f"{node.gateway.id} collected other items; it gets no work"), 2
            )
            node.shutdown()
            return
        self._handle(WorkerJoined(node.gateway.id))

    def schedule(self) -> None:
        """Xdist's wake-up call; whatever can be handed out was handed out when the event came in."""

    def mark_test_complete(self, node: WorkerController, item_index: int, duration: float = 0) -> None:
        """A worker has finished an item."""
        self._handle(Finished(node.gateway.id, item_index))

    def mark_test_pending(self, item: str) -> None:
        """Somebody wants an item that crashed a worker run again."""
        self._handle(Ready([self._ids.index(item)]))

    def remove_pending_tests_from_node(self, node: WorkerController, indices: Sequence[int]) -> None:
        """Answer to a request that we never make."""
        raise NotImplementedError("nothing was asked back")

    def remove_node(self, node: WorkerController) -> str | None:
        """A worker is gone; return the node id of the item that it died over, if it held any."""
        del self._nodes[node.gateway.id]
        # A worker that was told to stop, by -x or --maxfail, leaves what it held; it did not die over it.
        ended = hasattr(node, "workeroutput")
        pending = () if ended else self._scheduler.pending(node.gateway.id)
        self._handle(WorkerLeft(node.gateway.id, pending[0] if pending else None))
        return self._ids[pending[0]] if pending else None

    # what we do

    @functools.cached_property
    def _planned(self) -> list[str]:
        return [combo.nodeid for combo in self._run.plan.combos]

    def _begin(self, ids: list[str]) -> None:
        self._ids = ids
        combos = [self._run.by_nodeid.get(nodeid) for nodeid in ids]
        self._position = {combo.ordinal: place for place, combo in enumerate(combos) if combo}
        groups = {place: combo.label if combo else "" for place, combo in enumerate(combos)}
        self._handle(Listed(groups, waiting=frozenset(self._position.values())))
        self._run.start(self._position, self._on_ready)

    def _on_ready(self, ordinal: int) -> None:
        if all(node.shutting_down for node in self.nodes):
            return  # the session is ending before its time
        self._handle(Ready([self._position[ordinal]]))

    def _handle(self, event: Event) -> None:
        with self._lock:
            for command in self._scheduler.handle(event):
                self._carry_out(command)

    def _carry_out(self, command: Command) -> None:
        node = self._nodes.get(command.worker)
        if node is None:
            return
        # A dead worker's channel is closed before xdist tells us; what it was given comes back with that news.
        with contextlib.suppress(OSError):
            match command:
                case Run(units=units):
                    node.send_runtest_some(list(units))
                case Stop() if self._distribution.why_pytest:
                    node.shutdown()  # it runs what it holds; our own loop holds nothing back, and would drop it
