"""The scheduler: whatever happens in whatever order, every unit is run, by one worker at a time, and nobody stands idle."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pytest_spip.dispatch.messages import (
    Command,
    Event,
    Finished,
    Listed,
    Quarantine,
    Ready,
    Run,
    Steal,
    Stolen,
    Stop,
    Unit,
    WorkerJoined,
    WorkerLeft,
    WorkerLimit,
)
from pytest_spip.dispatch.scheduler import LARGEST_CHUNK, WARM_UP, Scheduler

COSTS = st.sampled_from([1e-9, 0.01, 0.016, 0.5, 2.0, 40.0, 1e6]) | st.floats(1e-3, 100)
LOOSE = st.builds(Unit, group=st.sampled_from(["", "a", "b", "c"]), cost=COSTS)
TIED = st.builds(Unit, group=st.sampled_from(["@x", "@y"]), cost=COSTS, tied=st.just(True))
UNITS = st.lists(LOOSE, max_size=300) | st.lists(LOOSE | TIED, max_size=100) | st.lists(TIED, max_size=30)


class Session(RuleBasedStateMachine):
    """A session as its scheduler sees it, with what the outside world would know of it."""

    keeps = 0

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler(keeps=self.keeps)
        self.units: dict[int, Unit] = {}
        self.waiting: set[int] = set()
        self.quarantined: set[int] = set()
        self.finished: set[int] = set()
        self.deaths: Counter[int] = Counter()
        self.held: dict[str, list[int]] = {}
        self.met: dict[str, set[str]] = {}
        self.asked: dict[str, tuple[int, ...]] = {}
        self.stopped: set[str] = set()
        self.owners: dict[str, str] = {}
        self.lost: list[tuple[str, int]] = []
        self.admitted = math.inf
        self.listed = False
        self.joined = 0

    # what there is to know

    @property
    def ready(self) -> set[int]:
        """What could be run and is in nobody's hands."""
        given = {unit for units in self.held.values() for unit in units}
        return self.units.keys() - self.waiting - self.quarantined - self.finished - given

    @property
    def loose(self) -> set[int]:
        """What could be given to anybody."""
        return {unit for unit in self.ready if self.deaths[unit] or self.units[unit].group not in self.owners}

    @property
    def over(self) -> bool:
        """Whether every unit is finished, or given up."""
        return self.listed and self.units.keys() == self.finished | self.quarantined

    def begun(self, worker: str) -> list[int]:
        """Return what a worker could have begun by now."""
        units = self.held[worker]
        return units if worker in self.stopped else units[: max(0, len(units) - self.keeps)]

    @property
    def active(self) -> list[str]:
        """Workers that run something."""
        return [worker for worker in self.held if self.begun(worker)]

    @property
    def idle(self) -> list[str]:
        """Workers that wait for something."""
        return [worker for worker in self.held if not self.begun(worker) and worker not in self.stopped]

    # what the scheduler commands

    def tell(self, event: Event) -> None:
        """Tell the scheduler, and do what it commands."""
        for command in self.scheduler.handle(event):
            self.obey(command)

    def obey(self, command: Command) -> None:
        """Do as is told, which must be possible."""
        match command:
            case Run(worker, units):
                assert worker not in self.stopped, "given work after it was told that none will come"
                assert units
                assert set(units) <= self.ready, "handed out what is waiting, finished, or in another's hands"
                assert len(set(units)) == len(units)
                assert len(self.active) < self.admitted or self.begun(worker)
                assert len(units) == 1 or not any(self.deaths[unit] for unit in units), "a suspect goes alone"
                self.held[worker] += units
                self.met[worker] |= {self.units[unit].group for unit in units}
                for unit in units:
                    self.own(worker, unit)
            case Steal(worker, units):
                assert not self.loose, "asked back while there is something to hand out"
                assert worker not in self.asked, "asked twice"
                assert units
                assert tuple(self.held[worker][-len(units) :]) == units
                assert len(self.held[worker]) - len(units) > self.keeps, "asked for what is running"
                self.asked[worker] = units
            case Quarantine(unit):
                assert self.deaths[unit] >= 2
                assert unit not in self.finished
                self.quarantined.add(unit)
            case Stop(worker):
                assert worker not in self.stopped, "stopped twice"
                assert self.listed, "stopped before it is known what comes"
                assert not self.waiting, "stopped while something will come"
                assert not self.ready, "stopped while something is there"
                assert self.over or (self.keeps and not self.asked), "stopped while something may come back"
                self.stopped.add(worker)

    def own(self, worker: str, unit: int) -> None:
        """See that a tied unit is given to its group's owner, or make the worker that; a suspect goes to anybody."""
        if self.units[unit].tied and not self.deaths[unit]:
            assert self.owners.setdefault(self.units[unit].group, worker) == worker, "tied to another worker"

    # what happens

    @initialize(units=UNITS, data=st.data())
    def plan(self, units: list[Unit], data: st.DataObject) -> None:
        """Choose the units; they are told when a worker has collected."""
        self.planned = dict(enumerate(units))
        every = sorted(self.planned)
        some = st.lists(st.sampled_from(every)) if every else st.just([])
        self.late = frozenset(data.draw(st.one_of(st.just(every), st.just([]), some)))

    @precondition(lambda self: not self.listed)
    @rule()
    def list_units(self) -> None:
        """The units become known."""
        self.listed = True
        self.units, self.waiting = self.planned, set(self.late)
        self.tell(Listed(self.planned, self.late))

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
        """Somebody says what is known, of units that are neither waiting nor in quarantine."""
        known = sorted(self.units.keys() - self.waiting - self.quarantined)
        self.tell(Ready(data.draw(st.lists(st.sampled_from(known), max_size=3)) if known else [10_000]))

    @precondition(lambda self: self.quarantined)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        """Somebody wants a unit run again that was given up."""
        unit = data.draw(st.sampled_from(sorted(self.quarantined)))
        self.quarantined.remove(unit)
        self.tell(Ready([unit]))

    @precondition(lambda self: len(self.held) < 9)
    @rule()
    def join(self) -> None:
        """A worker comes."""
        self.joined += 1
        name = f"gw{self.joined}"
        self.held[name] = []
        self.met[name] = set()
        self.tell(WorkerJoined(name))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), crashed=st.booleans())
    def leave(self, data: st.DataObject, *, crashed: bool) -> None:
        """A worker goes, by itself or over the unit that it was running."""
        worker = data.draw(st.sampled_from(sorted(self.active if crashed and self.active else self.held)))
        begun, units = self.begun(worker), self.held.pop(worker)
        if crashed and begun:
            self.deaths[begun[0]] += 1
        self.asked.pop(worker, None)
        self.stopped.discard(worker)
        self.owners = {group: owner for group, owner in self.owners.items() if owner != worker}
        self.lost += [(worker, unit) for unit in units]
        self.tell(WorkerLeft(worker, crashed))
        for unit in begun[:1] if crashed else ():
            assert (unit in self.quarantined) == (self.deaths[unit] > 1 and unit not in self.finished)

    @precondition(lambda self: self.active)
    @rule(data=st.data(), many=st.integers(1, 70))
    def finish(self, data: st.DataObject, many: int) -> None:
        """A worker finishes some of what it was given, in order."""
        worker = data.draw(st.sampled_from(sorted(self.active)))
        for _ in range(many):
            if self.begun(worker):
                self.finish_first(worker)

    def finish_first(self, worker: str) -> None:
        """A worker finishes one unit."""
        unit = self.held[worker].pop(0)
        self.finished.add(unit)
        self.lost.append((worker, unit))
        self.tell(Finished(worker, unit))

    @precondition(lambda self: self.lost)
    @rule(data=st.data())
    def finish_late(self, data: st.DataObject) -> None:
        """The verdict comes of a unit that a worker once had: again, or after somebody else was given it."""
        worker, unit = data.draw(st.sampled_from(self.lost))
        if unit not in self.held.get(worker, []):
            self.quarantined.discard(unit)
            self.finished.add(unit)
            self.tell(Finished(worker, unit))

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        """A worker gives back what it had not begun of what it was asked for, or less."""
        worker = data.draw(st.sampled_from(sorted(self.asked)))
        there = [unit for unit in self.asked[worker] if unit in self.held[worker]]
        self.give_back(worker, there[data.draw(st.integers(0, len(there))) :])

    def give_back(self, worker: str, units: list[int]) -> None:
        """A worker answers."""
        del self.asked[worker]
        self.held[worker] = [unit for unit in self.held[worker] if unit not in units]
        self.lost += [(worker, unit) for unit in units]
        self.tell(Stolen(worker, units))

    @rule(workers=st.none() | st.integers(0, 9))
    def set_limit(self, workers: int | None) -> None:
        """More or fewer workers may hold work."""
        self.admitted = math.inf if workers is None else workers
        self.tell(WorkerLimit(workers))

    @rule()
    def hear_of_the_gone(self) -> None:
        """News of a worker that is gone comes late, and of units that nobody knows."""
        self.tell(Finished("gone", 10_000))
        self.tell(Stolen("gone", [0]))
        self.tell(WorkerLeft("gone", crashed=True))

    # what always holds

    @invariant()
    def nobody_is_idle(self) -> None:
        """While something is ready nobody waits who could be a help, unless enough others are at work.

        No help is who has met other groups only, where those who are at work are done before it has met theirs.
        """
        idle = self.idle if len(self.active) < self.admitted else []
        left: dict[str, float] = {}
        assert not idle or all(self.owners.get(self.units[unit].group) not in idle for unit in self.ready)
        for unit in self.loose if idle else ():
            assert not self.deaths[unit], "a suspect goes to anybody"
            group = self.units[unit].group
            left[group] = left.get(group, 0.0) + self.units[unit].cost
        assert not left or all(self.met[worker].isdisjoint(left) and self.met[worker] for worker in idle)
        for group, cost in left.items():
            at_it = sum(group in self.met[worker] for worker in self.active if worker not in self.stopped)
            assert cost < WARM_UP * at_it + 1e-6

    @invariant()
    def queues_are_bounded(self) -> None:
        """No worker holds more than a chunk."""
        assert all(len(units) <= LARGEST_CHUNK for units in self.held.values())

    @invariant()
    def suspects_are_alone(self) -> None:
        """With a suspect a worker holds only what it does not begin before, or after it."""
        for units in self.held.values():
            for place in (place for place, unit in enumerate(units) if self.deaths[unit] and unit not in self.finished):
                assert place <= self.keeps
                assert len(units) - place - 1 <= self.keeps

    @invariant()
    def who_waits_for_nothing_is_stopped(self) -> None:
        """When nothing can come idle workers know it, so that they run the last unit that they hold."""
        spare = any(len(units) > self.keeps + 1 for units in self.held.values())
        stuck = self.keeps and self.listed and not (self.waiting or self.ready or self.asked or spare)
        assert not (self.idle and (self.over or stuck))

    @invariant()
    def books_agree(self) -> None:
        """The scheduler knows what each worker holds, in order, how much is to do, and whether all is done."""
        assert all(list(self.scheduler.pending(worker)) == units for worker, units in self.held.items())
        assert self.scheduler.busy == len(self.active)
        assert self.scheduler.ready == len(self.ready)
        assert self.scheduler.done == self.over

    def teardown(self) -> None:
        """However far it has come, a session can be brought to its end."""
        if not self.listed:
            self.list_units()
        self.set_limit(None)
        waiting, self.waiting = sorted(self.waiting), set()
        self.tell(Ready(waiting))
        while not self.over:
            for worker in list(self.asked):
                self.give_back(worker, [unit for unit in self.asked[worker] if unit in self.held[worker]])
            if not self.active:
                assert not self.idle, "who is there waits for ever"
                self.join()
            for worker in self.active:
                self.finish_first(worker)
            self.books_agree()
        assert self.scheduler.done


class SessionOfXdist(Session):
    """The same with workers that begin a unit only when they know the next, or that none will come."""

    keeps = 1


SETTINGS = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],  # says how busy the machine is, not what the scheduler does
)
TestSession = Session.TestCase
TestSession.settings = SETTINGS
TestSessionOfXdist = SessionOfXdist.TestCase
TestSessionOfXdist.settings = SETTINGS


@pytest.mark.parametrize("cost", [0.0, math.inf, math.nan])
@pytest.mark.parametrize("keeps", [0, 1])
def test_senseless_estimates_lose_nothing(cost: float, keeps: int) -> None:
    """Whatever the estimates say, each unit is handed out once."""
    scheduler = Scheduler(keeps=keeps)
    workers = ["gw0", "gw1", "gw2"]
    for worker in workers:
        scheduler.handle(WorkerJoined(worker))
    scheduler.handle(Listed({unit: Unit("a", cost if unit % 2 else 1.0) for unit in range(500)}))
    ran: list[int] = []
    while not scheduler.done:
        worker, unit = next((worker, units[0]) for worker in workers if (units := scheduler.pending(worker)))
        ran.append(unit)
        events: list[Event] = [Finished(worker, unit)]
        while events:
            commands = scheduler.handle(events.pop())
            events += [Stolen(each.worker, each.units) for each in commands if isinstance(each, Steal)]
    assert sorted(ran) == list(range(500))
