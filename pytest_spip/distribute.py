"""xdist's Scheduling protocol over our pure scheduler. The only importer of xdist."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from pytest_spip.dispatch.scheduler import (
    Command,
    Event,
    Finished,
    Listed,
    Quarantine,
    Ready,
    Returned,
    Run,
    Scheduler,
    Stop,
    Take,
    Unit,
    WorkerJoined,
    WorkerLeft,
)
from pytest_spip.session import Run as RunSession

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

__all__ = ["Distribution", "SpipScheduling"]


class Distribution:
    """The hooks that xdist asks: which scheduler, and what a worker must know."""

    def __init__(self, config: pytest.Config, run: RunSession) -> None:
        self._config = config
        self._run = run
        self._nodes: list[WorkerController] = []

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self) -> SpipScheduling:
        """Offer our scheduler."""
        return SpipScheduling(self._config, self._run)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: WorkerController) -> None:
        """Tell a worker where its run is."""
        node.workerinput["spip"] = self._run.bench_spec().to_plain()
        self._nodes.append(node)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Interrupt workers as soon as the session is interrupted; execnet would let them go on for five seconds."""
        for node in self._nodes if exitstatus == pytest.ExitCode.INTERRUPTED else ():
            with contextlib.suppress(OSError, AttributeError):
                os.kill(node.gateway._rinfo().pid, signal.SIGINT)  # noqa: SLF001  # execnet tells it nowhere else


class SpipScheduling:
    """Turns xdist's calls into events and the scheduler's commands into messages.

    Units are positions in the collection, which every worker makes from the same plan. Called from xdist's thread, and
    from provisioning threads when a combination gets ready.
    """

    def __init__(self, config: pytest.Config, run: RunSession) -> None:
        self._config = config
        self._run = run
        self._scheduler = Scheduler(keeps=1)
        self._nodes: dict[str, WorkerController] = {}
        self._ids: list[str] = []
        self._position: dict[int, int] = {}
        self._lock = threading.RLock()

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
        """A worker has started; it can work once it has collected."""
        self._nodes[node.gateway.id] = node

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
        """A worker has given items back, or none of those that it was asked for."""
        self._handle(Returned(node.gateway.id, indices))

    def remove_node(self, node: WorkerController) -> str | None:
        """A worker is gone; return the node id of the item that is given up, if it had killed another before."""
        del self._nodes[node.gateway.id]
        # A worker that was told to stop, by -x or --maxfail, leaves what it held; it did not die over it.
        commands = self._handle(WorkerLeft(node.gateway.id, crashed=not hasattr(node, "workeroutput")))
        return next((self._ids[each.unit] for each in commands if isinstance(each, Quarantine)), None)

    # what we do

    def _begin(self, ids: list[str]) -> None:
        self._ids = ids
        combos = [self._run.by_nodeid.get(nodeid) for nodeid in ids]
        self._position = {combo.ordinal: place for place, combo in enumerate(combos) if combo}
        units = {place: Unit(combo.label if combo else "", cost=1.0) for place, combo in enumerate(combos)}
        self._handle(Listed(units, waiting=frozenset(self._position.values())))
        self._run.start(self._position, self._on_ready)

    def _on_ready(self, ordinal: int) -> None:
        if all(node.shutting_down for node in self.nodes):
            return  # the session is ending before its time
        self._handle(Ready([self._position[ordinal]]))

    def _handle(self, event: Event) -> list[Command]:
        with self._lock:
            commands = self._scheduler.handle(event)
            for command in commands:
                self._carry_out(command)
            return commands

    def _carry_out(self, command: Command) -> None:
        if isinstance(command, Quarantine) or (node := self._nodes.get(command.worker)) is None:
            return
        # A dead worker's channel is closed before xdist tells us; what it was given comes back with that news.
        with contextlib.suppress(OSError):
            match command:
                case Run(units=units):
                    node.send_runtest_some(list(units))
                case Take(units=units):
                    node.send_steal(list(units))
                case Stop():
                    node.shutdown()
