"""A discrete-event simulation of a run: workers and their controller, driven by the real scheduler.

Time is simulated: workers run units for as long as they are said to take, messages travel, and the controller is one thread,
at which events wait for their turn. What the scheduler itself takes is part of the controller's seconds per verdict.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import random
from collections import deque
from collections.abc import Mapping

from pytest_spip.dispatch.messages import (
    Command,
    Event,
    Finished,
    Listed,
    Quarantine,
    Run,
    Steal,
    Stolen,
    Stop,
    Unit,
    WorkerJoined,
)
from pytest_spip.dispatch.scheduler import Scheduler

__all__ = ["Machine", "Simulated", "drawn", "equal", "guessed", "simulate"]


@dataclasses.dataclass(frozen=True)
class Machine:
    """What runs the units; all costs in seconds.

    ``latency`` is that of a message, one way; ``controller`` its time for a verdict; ``meeting`` what a worker's first unit of
    a group takes beside its own time.
    """

    workers: int
    latency: float = 0.005
    controller: float = 0.0003
    meeting: float = 0.3


@dataclasses.dataclass(frozen=True)
class Simulated:
    """What came of it. ``work`` are the seconds of all units together, ``longest`` those of the longest one.

    ``met`` are the seconds in which workers met groups, on all workers together; ``controlling`` those in which the
    controller was busy. ``messages`` went to workers, ``stolen`` units changed hands.
    """

    workers: int
    units: int
    makespan: float
    work: float
    longest: float
    met: float
    controlling: float
    messages: int
    stolen: int

    @property
    def rate(self) -> float:
        """Units per second."""
        return self.units / self.makespan

    @property
    def utilisation(self) -> float:
        """The part of the workers' time in which they ran units."""
        return self.work / (self.makespan * self.workers)

    @property
    def controller_busy(self) -> float:
        """The part of the time in which the controller was busy."""
        return self.controlling / self.makespan

    @property
    def ideal(self) -> float:
        """Seconds below which no schedule can come: a fair share, or the longest unit."""
        return max(self.longest, self.work / self.workers)


def equal(count: int, seconds: float, groups: int) -> dict[int, Unit]:
    """Return units that take equally long, dealt out over the groups."""
    kinds = [Unit(f"py{number}", seconds) for number in range(groups)]
    return {unit: kinds[unit % groups] for unit in range(count)}


def drawn(count: int, median: float, sigma: float, groups: int, seed: int = 0) -> dict[int, Unit]:
    """Return units whose seconds are drawn from a lognormal distribution, dealt out over the groups."""
    dice = random.Random(seed)
    return {unit: Unit(f"py{unit % groups}", median * dice.lognormvariate(0.0, sigma)) for unit in range(count)}


def guessed(units: Mapping[int, Unit], sigma: float, seed: int = 1) -> dict[int, Unit]:
    """Return the same units with estimates that are off by a lognormal factor."""
    dice = random.Random(seed)
    return {number: Unit(unit.group, unit.cost * dice.lognormvariate(0.0, sigma)) for number, unit in units.items()}


def simulate(machine: Machine, units: Mapping[int, Unit], estimates: Mapping[int, Unit] | None = None) -> Simulated:
    """Run units that take what they cost; the scheduler is told the estimates (by default the truth)."""
    return _Simulation(machine, units).run(estimates or units)


@dataclasses.dataclass(slots=True)
class _Worker:
    name: str
    queue: deque[int] = dataclasses.field(default_factory=deque)
    running: int | None = None
    met: set[str] = dataclasses.field(default_factory=set)


class _Simulation:
    """The machine's state, and what will happen in it, by time. Whatever is to come is an event or a command."""

    def __init__(self, machine: Machine, units: Mapping[int, Unit]) -> None:
        self._machine = machine
        self._units = units
        self._scheduler = Scheduler()
        self._workers = {name: _Worker(name) for name in (f"gw{number}" for number in range(machine.workers))}
        self._agenda: list[tuple[float, int, Event | Command | _Worker]] = []
        self._order = itertools.count()
        self._free = self._met = self._controlling = 0.0
        self._messages = self._stolen = 0

    def run(self, estimates: Mapping[int, Unit]) -> Simulated:
        """Play until nothing is to come."""
        for name in self._workers:
            self._scheduler.handle(WorkerJoined(name))
        for command in self._scheduler.handle(Listed(estimates)):
            self._at(self._machine.latency, command)
        ended = 0.0
        while self._agenda:
            now, _, what = heapq.heappop(self._agenda)
            if isinstance(what, _Worker):
                ended = now
                self._finish(now, what)
            else:
                self._happen(now, what)
        assert self._scheduler.done, "every unit is finished"
        return self._told(ended)

    def _told(self, ended: float) -> Simulated:
        costs = [unit.cost for unit in self._units.values()]
        return Simulated(
            workers=self._machine.workers,
            units=len(costs),
            makespan=max(ended, self._free),
            work=sum(costs),
            longest=max(costs),
            met=self._met,
            controlling=self._controlling,
            messages=self._messages,
            stolen=self._stolen,
        )

    def _at(self, time: float, what: Event | Command | _Worker) -> None:
        heapq.heappush(self._agenda, (time, next(self._order), what))

    def _happen(self, now: float, what: Event | Command) -> None:
        match what:
            case Run(worker, units):
                self._workers[worker].queue.extend(units)
                self._begin(now, self._workers[worker])
            case Steal(worker, units):
                queue = self._workers[worker].queue
                back = [unit for unit in units if unit in queue]
                self._workers[worker].queue = deque(unit for unit in queue if unit not in back)
                self._stolen += len(back)
                self._at(now + self._machine.latency, Stolen(worker, back))
            case Stop() | Quarantine():
                pass
            case _:
                self._control(now, what)

    def _control(self, now: float, event: Event) -> None:
        """An event comes to the controller, waits for its turn, and is answered."""
        seconds = self._machine.controller if isinstance(event, Finished) else 0.0
        self._free = max(now, self._free) + seconds
        self._controlling += seconds
        for command in self._scheduler.handle(event):
            self._messages += 1
            self._at(self._free + self._machine.latency, command)

    def _begin(self, now: float, worker: _Worker) -> None:
        if worker.running is not None or not worker.queue:
            return
        worker.running = worker.queue.popleft()
        unit = self._units[worker.running]
        meeting = 0.0 if unit.group in worker.met else self._machine.meeting
        worker.met.add(unit.group)
        self._met += meeting
        self._at(now + meeting + unit.cost, worker)

    def _finish(self, now: float, worker: _Worker) -> None:
        assert worker.running is not None, "it ran something"
        self._at(now + self._machine.latency, Finished(worker.name, worker.running))
        worker.running = None
        self._begin(now, worker)
