"""xdist's Scheduling protocol over our pure scheduler."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain

import pytest

from pytest_spip.dispatch.heartbeat import PERIOD, Heartbeat, Question
from pytest_spip.dispatch.messages import (
    Command,
    Event,
    Finished,
    Listed,
    Quarantine,
    Ready,
    Steal,
    Stolen,
    Stop,
    Unit,
    Withdrawn,
    WorkerJoined,
    WorkerLeft,
    WorkerLimit,
)
from pytest_spip.dispatch.messages import Run as RunUnits
from pytest_spip.dispatch.scheduler import Scheduler
from pytest_spip.errors import UsageProblem
from pytest_spip.hooks.xdist_nodes import Node, send_signal
from pytest_spip.model import Combo
from pytest_spip.names import MODULE_PREFIX
from pytest_spip.session.readiness import Listener
from pytest_spip.session.run import Run
from pytest_spip.session.worker_spec import PLAN

__all__ = ["SpipScheduling"]

ORDINARY = 0.01
"""Seconds that an ordinary test beside the matrix is taken to cost."""
FUTILE = 3
"""Workers, as a multiple of those that were asked for, that may die without having finished anything, one after another."""
MOST = 8
"""Workers that count for that at most: with many, a few of them dying show that all will."""


class SpipScheduling:
    """Turns xdist's calls into events and the scheduler's commands into messages.

    Workers that collect, as pytest sessions do, know a unit as a position in their collection; others as a combination's
    ordinal. Called from xdist's thread, from provisioning threads when a combination gets ready, and from a thread of its own
    that asks workers for a sign of life.
    """

    def __init__(self, config: pytest.Config, run: Run, *, collects: bool, log: Callable[..., None]) -> None:
        self.config = config
        self.log = log
        self._run = run
        self._collects = collects
        self._keeps = int(collects and run.shared is None)
        self._scheduler = Scheduler(keeps=self._keeps)
        self._nodes: dict[str, Node] = {}
        self._ids: list[str] = []
        self._nodeids: Mapping[int, str] = {}
        self._units: Mapping[int, Sequence[int]] = {}
        self._judging: frozenset[int] = frozenset()
        self._lock = threading.RLock()
        self._heartbeat = Heartbeat()
        self._ended = threading.Event()
        self._futile = 0
        self._useful: set[str] = set()
        self._crashed = False
        self._dismissed: set[str] = set()

    # what xdist reads

    @property
    def nodes(self) -> list[Node]:
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

    # what plugins read of xdist's schedulers

    @property
    def numnodes(self) -> int:
        """How many workers are asked for."""
        return len(self.config.option.tx)

    @property
    def collection(self) -> list[str] | None:
        """The node ids, once they are known; all else counts by their places here."""
        return list(self._ids) or None

    @property
    def node2collection(self) -> dict[Node, list[str]]:
        """The node ids that each worker has collected."""
        with self._lock:
            return {node: list(self._ids) for name, node in self._nodes.items() if name in self._heartbeat}

    @property
    def node2pending(self) -> dict[Node, list[int]]:
        """What each worker holds, first what it runs."""
        with self._lock:
            return {node: self._places(self._scheduler.pending(name)) for name, node in self._nodes.items()}

    @property
    def pending(self) -> list[int]:
        """What nobody holds and nobody has finished."""
        with self._lock:
            return self._places(self._scheduler.waiting)

    def _places(self, units: Iterable[int]) -> list[int]:
        places = {unit: place for place, unit in enumerate(self._nodeids)}
        return [places[unit] for unit in units]

    # what xdist reports

    def add_node(self, node: Node) -> None:
        """A worker has started. It can work once it has collected; our own loop has no need to."""
        self._nodes[node.gateway.id] = node
        if not self._collects:
            meant = node.workerinfo.get(PLAN) == self._run.plan_hash
            ids = self._ids or [combo.nodeid for combo in self._run.missing]
            node.notify_inproc("collectionfinish", node=node, ids=ids if meant else [])

    def add_node_collection(self, node: Node, collection: Sequence[str]) -> None:
        """A worker has collected. The first one's list is everybody's."""
        if not self._ids:
            self._begin(list(collection))
        if collection is not self._ids and list(collection) != self._ids:
            self.config.issue_config_time_warning(
                pytest.PytestWarning(f"{node.gateway.id} collected other items; it gets no work"), 2
            )
            self._dismiss(node)
            return
        with self._lock:
            self._heartbeat.joined(node.gateway.id, time.monotonic())
            self._handle(WorkerJoined(node.gateway.id))

    def schedule(self) -> None:
        """Xdist's wake-up call; whatever can be handed out was handed out when the event came in."""

    def mark_test_complete(self, node: Node, item_index: int, duration: float = 0) -> None:
        """A worker has finished an item."""
        self._futile = 0
        self._useful.add(node.gateway.id)
        self._handle(Finished(node.gateway.id, item_index))

    def mark_test_pending(self, item: str) -> None:
        """Somebody wants an item that crashed workers run again."""
        self._handle(Ready([unit for unit, nodeid in self._nodeids.items() if nodeid == item]))

    def remove_pending_tests_from_node(self, node: Node, indices: Sequence[int]) -> None:
        """A worker gives back what it was asked for, or some of it; asked for nothing, it shows that it is there."""
        worker = node.gateway.id
        with self._lock:
            if self._heartbeat.answered(worker, time.monotonic()) is Question.UNITS:
                self._handle(Stolen(worker, indices))

    def remove_node(self, node: Node) -> str | None:
        """A worker is gone; return the node id of the item that is given up, if it killed another worker before."""
        worker = node.gateway.id
        # A worker that was dismissed, by -x or --maxfail, leaves what it held; it did not die over it.
        crashed = not hasattr(node, "workeroutput")
        with self._lock:
            del self._nodes[worker]
            # Of several that die at once the others may be given the first one's work before their deaths are known.
            pending = self._scheduler.pending(worker)
            received = self._heartbeat.has_received(worker, pending[: self._keeps + 1])
            self._heartbeat.forget(worker)
            self._crashed |= crashed
            self._futile += crashed and not (pending and (received or worker in self._useful))
            commands = self._handle(WorkerLeft(worker, crashed=crashed and received))
        self._give_up_in_time("")
        return next((self._nodeids[each.unit] for each in commands if isinstance(each, Quarantine)), None)

    def node_down(self, node: Node, error: str) -> None:
        """A worker is gone; count it where it had not even come so far as to collect. ``error`` is what it said last."""
        if node.gateway.id not in self._nodes:
            self._futile += 1
            self._give_up_in_time(error.strip().rpartition("\n")[2])

    def _dismiss(self, node: Node) -> None:
        self._dismissed.add(node.gateway.id)
        node.shutdown()

    # what others ask and tell

    def leaves_early(self, node: Node) -> bool:
        """Return True if a worker ends without having been dismissed, while there is work."""
        return node.gateway.id not in self._dismissed and bool(self.undone())

    def set_limit(self, workers: int) -> None:
        """Give work to so many workers at most."""
        self._handle(WorkerLimit(workers))

    def workers(self) -> tuple[int, int]:
        """Return how many workers are busy and idle."""
        with self._lock:
            busy = self._scheduler.busy
            return busy, len(self._nodes) - busy

    def running(self) -> dict[str, str]:
        """Return the ids of what workers run, by worker."""
        with self._lock:
            held = {name: self._scheduler.pending(name) for name in self._nodes}
            return {
                name: self._nodeids[units[0]].removeprefix(f"{MODULE_PREFIX}::")
                for name, units in held.items()
                if units
            }

    def undone(self) -> list[str]:
        """Return the node ids of what was planned and neither finished nor given up."""
        with self._lock:
            held = {unit for node in self._nodes for unit in self._scheduler.pending(node)}
            left = {*self._scheduler.waiting, *held}
        return [nodeid for unit, nodeid in self._nodeids.items() if unit in left]

    def stop(self) -> None:
        """Ask nobody for signs of life any more."""
        self._ended.set()

    # what we do

    def _begin(self, ids: list[str]) -> None:
        """Learn what the units are, and have them provisioned."""
        self._ids = ids
        combos = {unit: self._run.combo_of(nodeid) for unit, nodeid in enumerate(ids)}
        if not self._collects:
            combos = {combo.ordinal: combo for combo in combos.values() if combo}
        self._nodeids = dict(zip(combos, ids, strict=True))
        judged = {combo.ordinal: [unit] for unit, combo in combos.items() if combo}
        units = {unit: self._unit(combo, self._nodeids[unit]) for unit, combo in combos.items()}
        needed = self._needed() if self._collects else {}
        for ordinal, functions in needed.items():
            label = self._run.plan.combos[ordinal].label
            units |= {one: _tied(Unit(label, ORDINARY), self._scope(self._nodeids[one])) for one in functions}
        self._units = {one: judged.get(one, []) + needed.get(one, []) for one in {**judged, **needed}}
        self._judging = frozenset(chain.from_iterable(judged.values()))
        ready = [ordinal for ordinal in self._units if self._run.is_ready(ordinal)]
        waiting = frozenset(chain.from_iterable(self._units.values())).difference(self._runnable(ready))
        self._handle(Listed(units, waiting))
        try:
            self._run.start(judged, self._listener, needed=needed, workers=self.numnodes)
        except UsageProblem as error:
            self._give_up(str(error))
            return
        threading.Thread(target=self._watch, name="heartbeat", daemon=True).start()

    def _needed(self) -> dict[int, list[int]]:
        """Return the units of test functions by the combination that they need."""
        needs, found = self._run.needs(), defaultdict(list)
        for unit, nodeid in self._nodeids.items():
            if nodeid in needs:
                found[needs[nodeid]].append(unit)
        return found

    def _unit(self, combo: Combo | None, nodeid: str) -> Unit:
        if combo:
            return _tied(Unit(combo.label, self._run.cost(combo)), self._group(nodeid))
        return _tied(Unit("", ORDINARY), self._scope(nodeid))

    def _group(self, nodeid: str) -> str:
        """Return the group of an item, which --dist=loadgroup has one worker run: xdist has put it behind the node id."""
        grouped = self.config.option.dist == "loadgroup" and nodeid.rfind("@") > nodeid.rfind("]")
        return nodeid.rpartition("@")[2] if grouped else ""

    def _scope(self, nodeid: str) -> str:
        """Return what ties a test in a file to others by the --dist that the user named; "" for nothing."""
        match self.config.option.dist:
            case "loadscope":
                return nodeid.rpartition("::")[0]
            case "loadfile":
                return nodeid.partition("::")[0]
            case _:
                return self._group(nodeid)

    def _on_ready(self, ordinals: Sequence[int]) -> None:
        distributed = self.config.pluginmanager.get_plugin("dsession")
        if distributed is not None and distributed.shuttingdown:
            return  # the session is ending before its time; where all workers are dead, those that replace them are to come
        self._handle(Ready(list(self._runnable(ordinals))))

    def _runnable(self, ordinals: Iterable[int]) -> Iterator[int]:
        """Yield the units of provisioned combinations, but for verdicts that other hosts may be at."""
        for ordinal in ordinals:
            for unit in self._units[ordinal]:
                if unit not in self._judging or self._run.may_judge(ordinal):
                    yield unit

    @property
    def _listener(self) -> Listener:
        return Listener(self._on_ready, self._on_withdrawn, self._on_elsewhere, self._give_up)

    def _on_withdrawn(self, ordinals: Sequence[int]) -> None:
        self._handle(Withdrawn([unit for one in ordinals for unit in self._units[one] if unit in self._judging]))

    def _on_elsewhere(self, ordinals: Sequence[int]) -> None:
        for unit in [unit for one in ordinals for unit in self._units.get(one, ()) if unit in self._judging]:
            self._handle(Finished("", unit))
        with self._lock:
            self._ask_all()  # xdist looks whether all is done when it has heard of something

    def _handle(self, event: Event) -> list[Command]:
        with self._lock:
            commands = self._scheduler.handle(event)
            for command in commands:
                self._carry_out(command)
            return commands

    def _carry_out(self, command: Command) -> None:
        if isinstance(command, Quarantine) or (node := self._nodes.get(command.worker)) is None:
            return
        # A dead worker's channel is closed before xdist reports it; what it was given comes back with that news.
        with contextlib.suppress(OSError):
            match command:
                case RunUnits(units=units):
                    with self._receipt(node, units):
                        node.send_runtest_some(list(units))
                case Steal(units=units):
                    self._ask(node, Question.UNITS, units)
                case Stop() if self._collects:
                    with self._receipt(node):
                        self._dismiss(node)  # it runs what it holds; our own loop holds nothing back, and would drop it

    @contextlib.contextmanager
    def _receipt(self, node: Node, units: Sequence[int] = ()) -> Iterator[None]:
        """Have a worker acknowledge what it is given, once any has crashed. Who cannot be reached has not received it."""
        if self._crashed:
            self._heartbeat.asked(node.gateway.id, Question.RECEIPT, units)
        yield
        if self._crashed:
            node.send_steal([])

    def _ask(self, node: Node, question: Question, units: Sequence[int] = ()) -> None:
        self._heartbeat.asked(node.gateway.id, question)
        node.send_steal(list(units))

    # signs of life

    def _ask_all(self) -> None:
        """Ask every worker whether it is there; the caller has the lock."""
        for worker in [node for node in self._nodes.values() if node.gateway.id in self._heartbeat]:
            with contextlib.suppress(OSError):
                self._ask(worker, Question.LIFE)

    def _watch(self) -> None:
        """Ask every worker regularly whether it is there, and kill those that give no answer: xdist then replaces them."""
        while not self._ended.wait(PERIOD):
            with self._lock:
                self._ask_all()
                silent = [self._nodes[name] for name in self._heartbeat.silent(time.monotonic()) if name in self._nodes]
            if self._has_heard_all():
                for node in silent:
                    send_signal(node, signal.SIGKILL)

    def _has_heard_all(self) -> bool:
        """Return True if everything that workers said was listened to: else it is us who are late."""
        distributed = self.config.pluginmanager.get_plugin("dsession")
        return distributed is None or distributed.queue.empty()

    def _give_up_in_time(self, words: str) -> None:
        """End the session when so many workers have died in vain that another one would, too."""
        distributed = self.config.pluginmanager.get_plugin("dsession")
        if distributed is not None and self._futile > FUTILE * min(max(self.numnodes, 2), MOST):
            said = f": {words}" if words else ""
            distributed.shouldstop = f"{self._futile} workers died before they ran anything{said}"
            distributed._max_worker_restart = 0  # noqa: SLF001  # xdist would replace workers while it ends

    def _give_up(self, why: str) -> None:
        distributed = self.config.pluginmanager.get_plugin("dsession")
        if distributed is not None:
            distributed.shouldstop = why


def _tied(unit: Unit, tie: str) -> Unit:
    return dataclasses.replace(unit, group=f"@{tie}", tied=True) if tie else unit
