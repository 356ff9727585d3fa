"""What our scheduler makes of xdist's calls."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_spip.hooks.xdist_scheduling import FUTILE, SpipScheduling

NODEID = "spip::demo-0[py312]"


class Node:
    """Stands for xdist's hand on a worker; ``sent`` is what it was given to run, ``questions`` counts what it was asked."""

    def __init__(self, name: str) -> None:
        self.gateway = SimpleNamespace(id=name)
        self.workerinfo = {"spip_plan": "plan"}
        self.shutting_down = False
        self.closed = False
        self.sent: list[int] = []
        self.questions = 0

    def notify_inproc(self, _: str, **__: object) -> None:
        """Take what xdist is told of the worker."""

    def send_runtest_some(self, units: list[int]) -> None:
        """Take work."""
        if self.closed:
            raise OSError("cannot send (already closed?)")
        self.sent += units

    def send_steal(self, _: list[int]) -> None:
        """Take a question."""
        self.questions += 1

    def shutdown(self) -> None:
        """End."""
        self.shutting_down = True


class Session:
    """A session with a few combinations, as far as a scheduler sees it."""

    def __init__(
        self, *, ready: bool = True, ending: bool = False, collects: bool = False, count: int = 1, cost: float = 1.0
    ) -> None:
        self.nodeids = [f"spip::demo-{ordinal}[py312]" for ordinal in range(count)]
        combos: list[Any] = [
            SimpleNamespace(ordinal=ordinal, label="py312", nodeid=nodeid)
            for ordinal, nodeid in enumerate(self.nodeids)
        ]
        self.listeners: list[Any] = []
        run: Any = SimpleNamespace(
            shared=None,
            plan_hash="plan",
            missing=combos,
            plan=SimpleNamespace(combos=combos),
            combo_of=lambda nodeid: combos[self.nodeids.index(nodeid)],
            cost=lambda _: cost,
            is_ready=lambda _: ready,
            may_judge=lambda _: True,
            needs=dict,
            start=lambda _, listener, **__: self.listeners.append(listener),
        )
        self.distributed = SimpleNamespace(shuttingdown=ending, queue=queue.Queue(), shouldstop="")
        config: Any = SimpleNamespace(
            option=SimpleNamespace(tx=["popen"], dist="load"),
            pluginmanager=SimpleNamespace(get_plugin=lambda _: self.distributed),
        )
        self.scheduling = SpipScheduling(config, run, collects=collects, log=lambda *_: None)

    def joined(self, name: str) -> Any:
        """Have a worker come, and return it."""
        node: Any = Node(name)
        self.scheduling.add_node(node)
        self.scheduling.add_node_collection(node, list(self.nodeids))
        return node

    def answer(self, node: Any) -> None:
        """Have a worker answer all that it was asked."""
        for _ in range(node.questions):
            self.scheduling.remove_pending_tests_from_node(node, [])
        node.questions = 0


@pytest.fixture
def session() -> Iterator[Session]:
    """A session whose combination is provisioned."""
    made = Session()
    yield made
    made.scheduling.stop()


@pytest.mark.parametrize("ending", [False, True])
@pytest.mark.parametrize("noticed", [False, True])
def test_what_gets_ready_while_the_last_worker_is_replaced(*, noticed: bool, ending: bool) -> None:
    """The worker that takes its place is given it, whether xdist has noticed the death by then or not; unless all ends."""
    session = Session(ready=False, ending=ending)
    first = session.joined("gw0")
    first.shutting_down = True
    if not noticed:
        session.listeners[0].ready([0])
    assert session.scheduling.remove_node(first) is None
    if noticed:
        session.listeners[0].ready([0])
    second = session.joined("gw1")
    session.scheduling.stop()
    given = [] if ending else [0]
    assert (first.sent, second.sent) == (([], given) if noticed else (given, given))


@pytest.mark.parametrize("closed", [False, True])
def test_who_died_with_another_did_not_die_of_its_work(session: Session, *, closed: bool) -> None:
    """What a dead worker ran is given to one that is dead too: that is no second death over it, and it is run again."""
    first, second = session.joined("gw0"), session.joined("gw1")
    second.closed = closed
    assert session.scheduling.remove_node(first) is None
    assert second.sent == ([] if closed else [0])
    assert session.scheduling.remove_node(second) is None
    third = session.joined("gw2")
    assert third.sent == [0]
    session.answer(third)
    assert session.scheduling.remove_node(third) == NODEID


def test_second_death_counts(session: Session) -> None:
    """A worker that acknowledged what it was given, and then died, died over it."""
    first, second = session.joined("gw0"), session.joined("gw1")
    assert session.scheduling.remove_node(first) is None
    session.answer(second)
    assert session.scheduling.remove_node(second) == NODEID
    assert first.questions == 0, "receipts are asked for after a death"


@pytest.mark.parametrize("collects", [False, True])
def test_what_is_given_on_top_excuses_nobody(*, collects: bool) -> None:
    """A worker that dies of what it acknowledged long ago dies of it, also where it has just been given more."""
    session = Session(collects=collects, count=300, cost=0.01)
    assert session.scheduling.remove_node(session.joined("gw0")) is None
    second = session.joined("gw1")
    assert second.sent[0] == 0
    third = session.joined("gw2")
    session.answer(second)
    session.answer(third)
    done, given = 0, len(third.sent)
    while len(third.sent) == given:
        session.scheduling.mark_test_complete(third, third.sent[done])
        done += 1
    begun = third.sent[done]
    assert session.scheduling.remove_node(third) is None
    fourth = session.joined("gw3")
    assert fourth.sent[0] == begun
    session.answer(fourth)
    assert session.scheduling.remove_node(fourth) == session.nodeids[begun]
    session.scheduling.stop()


def test_workers_that_did_something_did_not_die_in_vain() -> None:
    """Only who never finished anything counts where a session is given up for workers that die before they run anything."""
    made = Session(count=200)
    made.scheduling.remove_node(made.joined("gw-first"))
    workers = [made.joined(f"gw{number}") for number in range(30)]
    for worker in workers:
        made.answer(worker)
        if worker.sent:
            made.scheduling.mark_test_complete(worker, worker.sent[0])
    for worker in [one for one in workers if one.sent]:
        made.scheduling.remove_node(worker)
    assert made.distributed.shouldstop == ""
    made.scheduling.stop()


def test_a_worker_of_pytest_dies_before_it_is_dismissed() -> None:
    """It begins what it keeps back when it is dismissed: it has to acknowledge that too."""
    session = Session(collects=True)
    assert session.scheduling.remove_node(session.joined("gw0")) is None
    second = session.joined("gw1")
    assert (second.sent, second.shutting_down) == ([0], True)
    assert session.scheduling.remove_node(second) is None
    third = session.joined("gw2")
    session.answer(third)
    assert session.scheduling.remove_node(third) == NODEID
    session.scheduling.stop()


def test_workers_that_acknowledge_nothing_end_the_session(session: Session) -> None:
    """Where each dies before it has said that it was given something, there would be no end otherwise."""
    deaths = 0
    while not session.distributed.shouldstop:
        assert session.scheduling.remove_node(session.joined(f"gw{deaths}")) is None
        deaths += 1
        assert deaths < 50
    assert deaths == 2 * FUTILE + 2  # the first one was not asked
    assert "workers died before they ran anything" in session.distributed.shouldstop
