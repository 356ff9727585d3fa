"""The scheduler: whatever happens in whatever order, every unit is run, by one worker at a time, and nobody stands idle."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pytest_spip.dispatch.scheduler import (
    LARGEST_CHUNK,
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

# -- any order ----------------------------------------------------------------------------------------------------------


class Session(RuleBasedStateMachine):
    """A session as its scheduler sees it, with what the outside world would know of it."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler()
        self.units: set[int] = set()
        self.waiting: set[int] = set()
        self.blamed: set[int] = set()
        self.finished: set[int] = set()
        self.held: dict[str, list[int]] = {}
        self.stopped: set[str] = set()
        self.listed = False
        self.joined = 0

    @property
    def ready(self) -> set[int]:
        """What could be run and is in nobody's hands."""
        given = {unit for units in self.held.values() for unit in units}
        return self.units - self.waiting - self.blamed - self.finished - given

    def tell(self, event: Event) -> None:
        """Tell the scheduler, and do what it commands."""
        for command in self.scheduler.handle(event):
            assert command.worker in self.held, "a command for a worker that is not there"
            assert command.worker not in self.stopped, "a command for a worker that was stopped"
            self.obey(command)

    def obey(self, command: Command) -> None:
        """Do as a worker is told."""
        match command:
            case Run(worker, units):
                assert 0 < len(units) <= LARGEST_CHUNK
                assert set(units) <= self.ready, "handed out what is waiting, finished, or in another's hands"
                assert len(set(units)) == len(units)
                self.held[worker] += units
            case Stop(worker):
                assert self.listed
                assert not self.waiting, "stopped while something will come"
                assert not self.ready, "stopped while something is there"
                self.stopped.add(worker)

    @initialize(groups=st.lists(st.sampled_from(["", "a", "b", "c"]), max_size=300), data=st.data())
    def plan(self, groups: list[str], data: st.DataObject) -> None:
        """Choose the units; they are told when a worker has collected."""
        self.groups = dict(enumerate(groups))
        every = sorted(self.groups)
        self.late = set(data.draw(st.one_of(st.just(every), st.just([]), st.lists(st.sampled_from(every or [0])))))
        self.late &= set(every)

    @precondition(lambda self: not self.listed)
    @rule()
    def list_units(self) -> None:
        """The units become known."""
        self.listed = True
        self.units, self.waiting = set(self.groups), set(self.late)
        self.tell(Listed(self.groups, frozenset(self.late)))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def make_ready(self, data: st.DataObject) -> None:
        """Some of what is waiting is provisioned."""
        units = data.draw(st.lists(st.sampled_from(sorted(self.waiting)), min_size=1, max_size=40, unique=True))
        self.waiting -= set(units)
        self.tell(Ready(units))

    @precondition(lambda self: self.units)
    @rule(data=st.data())
    def make_ready_again(self, data: st.DataObject) -> None:
        """Somebody says again what is known, of any unit that is not waiting or blamed."""
        known = sorted(self.units - self.waiting - self.blamed)
        self.tell(Ready(data.draw(st.lists(st.sampled_from(known), max_size=3)) if known else []))

    @precondition(lambda self: self.blamed)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        """Somebody wants a unit that killed a worker run again."""
        unit = data.draw(st.sampled_from(sorted(self.blamed)))
        self.blamed.remove(unit)
        self.tell(Ready([unit]))

    @precondition(lambda self: len(self.held) < 9)
    @rule()
    def join(self) -> None:
        """A worker comes."""
        self.joined += 1
        name = f"gw{self.joined}"
        self.held[name] = []
        self.tell(WorkerJoined(name))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), crash=st.booleans())
    def leave(self, data: st.DataObject, *, crash: bool) -> None:
        """A worker goes, by itself or over the unit that it was running."""
        worker = data.draw(st.sampled_from(sorted(self.held)))
        units = self.held.pop(worker)
        self.stopped.discard(worker)
        guilty = units[0] if crash and units else None
        self.blamed |= set() if guilty is None else {guilty}
        self.tell(WorkerLeft(worker, guilty))

    @precondition(lambda self: any(self.held.values()))
    @rule(data=st.data(), many=st.integers(1, 70))
    def finish(self, data: st.DataObject, many: int) -> None:
        """A worker finishes some of what it was given, in order."""
        worker = data.draw(st.sampled_from(sorted(name for name, units in self.held.items() if units)))
        for unit in self.held[worker][:many]:
            self.held[worker].remove(unit)
            self.finished.add(unit)
            self.tell(Finished(worker, unit))

    @rule()
    def hear_of_the_gone(self) -> None:
        """News of a worker that is gone comes late, and of one that nobody knows."""
        self.tell(Finished("gone", 0))
        self.tell(WorkerLeft("gone"))

    @invariant()
    def nobody_is_idle(self) -> None:
        """A worker that was not stopped has something to do while there is something."""
        idle = [worker for worker, units in self.held.items() if not units and worker not in self.stopped]
        assert not (idle and self.ready)

    @invariant()
    def everybody_stops(self) -> None:
        """When nothing is left to hand out every worker knows it, so that it runs the last unit it holds."""
        if self.listed and not self.waiting and not self.ready:
            assert self.stopped == set(self.held)

    @invariant()
    def books_agree(self) -> None:
        """The scheduler knows what each worker holds, in order, and whether all is done."""
        assert all(list(self.scheduler.pending(worker)) == units for worker, units in self.held.items())
        over = self.units - self.blamed == self.finished
        assert self.scheduler.done == (self.listed and over)

    def teardown(self) -> None:
        """However far it has come, a session can be brought to its end."""
        if not self.listed:
            self.list_units()
        if self.waiting:
            waiting, self.waiting = sorted(self.waiting), set()
            self.tell(Ready(waiting))
        while self.ready or any(self.held.values()):
            if not any(self.held.values()):
                self.join()
            for worker in [name for name, units in self.held.items() if units]:
                unit = self.held[worker].pop(0)
                self.finished.add(unit)
                self.tell(Finished(worker, unit))
        self.books_agree()
        assert self.scheduler.done


TestSession = Session.TestCase
TestSession.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],  # says how busy the machine is, not what the scheduler does
)


# -- in order -----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Played:
    """What came of a session that was played to its end: who was given which chunks, and who ran what in order."""

    chunks: list[tuple[str, tuple[int, ...]]]
    ran: list[tuple[str, int]]


def play(groups: Sequence[str], workers: Sequence[str]) -> Played:
    """Play a session in which all is ready and workers take turns."""
    scheduler = Scheduler()
    chunks: list[tuple[str, tuple[int, ...]]] = []
    ran: list[tuple[str, int]] = []
    events: list[Event] = [*map(WorkerJoined, workers), Listed(dict(enumerate(groups)))]
    while events:
        commands = scheduler.handle(events.pop(0))
        chunks += [(command.worker, command.units) for command in commands if isinstance(command, Run)]
        if not events:
            held = [(worker, scheduler.pending(worker)) for worker in workers]
            events = [Finished(worker, units[0]) for worker, units in held if units]
            ran += [(event.worker, event.unit) for event in events if isinstance(event, Finished)]
    assert scheduler.done
    return Played(chunks, ran)


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
@pytest.mark.parametrize("units", [1, 2, 7, 100, 1000, 5000])
def test_chunks_shrink(units: int, workers: int) -> None:
    """Chunks begin at a fair share, never grow beyond what a message amortises, and end thin; each unit is in one."""
    played = play(["a"] * units, [f"gw{number}" for number in range(workers)])
    sizes = [len(chunk) for _, chunk in played.chunks]
    assert sorted(unit for _, chunk in played.chunks for unit in chunk) == list(range(units))
    assert max(sizes) <= LARGEST_CHUNK
    assert all(size <= 2 for size in sizes[-workers:])
    fair = [max(2, (units - sum(sizes[:place])) // (2 * workers)) for place in range(len(sizes))]
    assert all(size <= most for size, most in zip(sizes, fair, strict=True))


def test_large_chunks_come_first() -> None:
    """As long as there is plenty a worker is given the largest chunk."""
    sizes = [len(chunk) for _, chunk in play(["a"] * 1000, ["gw0", "gw1"]).chunks]
    assert sizes[:8] == [LARGEST_CHUNK] * 8


def test_workers_keep_to_a_group() -> None:
    """Workers spread over the interpreters and keep to theirs while it lasts, so that each meets as few as can be."""
    groups = ["py310", "py311", "py312", "py313"] * 200
    played = play(groups, ["gw0", "gw1", "gw2", "gw3"])
    firsts = {worker: groups[chunk[0]] for worker, chunk in reversed(played.chunks)}
    assert len(set(firsts.values())) == 4
    met = {worker: [groups[unit] for name, unit in played.ran if name == worker] for worker in firsts}
    changes = [before != after for labels in met.values() for before, after in pairwise(labels)]
    assert sum(changes) <= 12


def test_units_of_a_group_run_in_order() -> None:
    """One worker runs a group's units in the plan's order."""
    assert [unit for _, unit in play(["a"] * 300, ["gw0"]).ran] == list(range(300))


def test_work_begins_with_the_first_worker() -> None:
    """The first worker is given work before any other has come, and leaves some for them."""
    scheduler = Scheduler()
    assert scheduler.handle(Listed(dict.fromkeys(range(100), "a"))) == []
    (first,) = scheduler.handle(WorkerJoined("gw0"))
    (second,) = scheduler.handle(WorkerJoined("gw1"))
    assert isinstance(first, Run)
    assert isinstance(second, Run)
    assert (len(first.units), len(second.units)) == (50, 12)


def test_lost_work_is_run_first_by_others() -> None:
    """What a dead worker held goes to others, in its order and before the rest; what killed it does not."""
    scheduler = Scheduler()
    scheduler.handle(WorkerJoined("gw0"))
    scheduler.handle(Listed(dict.fromkeys(range(10), "a")))
    assert scheduler.pending("gw0") == (0, 1, 2, 3, 4)
    scheduler.handle(Finished("gw0", 0))
    scheduler.handle(WorkerLeft("gw0", blamed=1))
    assert scheduler.pending("gw0") == ()
    assert scheduler.handle(WorkerJoined("gw1")) == [Run("gw1", (2, 3, 4, 5))]


def test_nothing_to_do_is_done() -> None:
    """A session without units is over as soon as that is known, and workers are stopped."""
    scheduler = Scheduler()
    assert scheduler.handle(WorkerJoined("gw0")) == []
    assert not scheduler.done
    assert scheduler.handle(Listed({})) == [Stop("gw0")]
    assert scheduler.handle(WorkerJoined("gw1")) == [Stop("gw1")]
    assert scheduler.done


def test_waiting_units_keep_workers_waiting() -> None:
    """While something will come nobody is stopped; what comes goes to the emptiest; the last one ends it."""
    scheduler = Scheduler()
    scheduler.handle(Listed({0: "a", 1: "b", 2: "a"}, frozenset({0, 1, 2})))
    assert [scheduler.handle(WorkerJoined(name)) for name in ("gw0", "gw1")] == [[], []]
    assert scheduler.handle(Ready([1])) == [Run("gw0", (1,))]
    assert scheduler.handle(Ready([0])) == [Run("gw1", (0,))]
    assert scheduler.handle(Finished("gw1", 0)) == []
    assert scheduler.handle(Ready([2])) == [Run("gw1", (2,)), Stop("gw0"), Stop("gw1")]
    assert [scheduler.handle(Finished("gw0", 1)), scheduler.done] == [[], False]
    assert [scheduler.handle(Finished("gw1", 2)), scheduler.done] == [[], True]


def test_blamed_unit_runs_again_only_when_asked_for() -> None:
    """A unit that killed its worker counts as done, until somebody wants it run again."""
    scheduler = Scheduler()
    scheduler.handle(WorkerJoined("gw0"))
    scheduler.handle(Listed({0: "a"}))
    assert [scheduler.handle(WorkerLeft("gw0", blamed=0)), scheduler.done] == [[], True]
    assert [scheduler.handle(Ready([0])), scheduler.done] == [[], False]
    assert scheduler.handle(WorkerJoined("gw1")) == [Run("gw1", (0,)), Stop("gw1")]
