"""The scheduler: hands out units of work, longest first, in chunks that shrink towards the end, and evens out what is left.

It knows no time: costs are estimates, which decide the order of things and nothing else.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import assert_never

from pytest_spip.dispatch.backlog import Backlog, Queue
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
    Withdrawn,
    WorkerJoined,
    WorkerLeft,
    WorkerLimit,
)
from pytest_spip.dispatch.pool import Worker, WorkerPool

__all__ = ["Scheduler"]

LARGEST_CHUNK = 64
"""Units that a worker holds at most: about as many import checks as amortise one message."""
LARGEST_COST = 30.0
"""Seconds of work that a worker is given at most, unless it is a single unit."""
LOW_COST = 0.1
"""Seconds of work below which a worker is given more: several round trips of 5 to 20 ms."""
LOW_COUNT = 2
"""Units below which a worker is given more, whatever they cost."""
WARM_UP = 0.1
"""Seconds that a worker needs for its first unit of a group: a worktree and a fork server are made."""


class _State(enum.Enum):
    WAITING = enum.auto()
    READY = enum.auto()
    HELD = enum.auto()
    QUARANTINED = enum.auto()
    FINISHED = enum.auto()


class Scheduler:
    """State and transitions: :meth:`handle` takes an event and returns commands; the edge carries them out.

    ``keeps`` is the number of units at the end of its queue that a worker does not begin before it is given another, or
    stopped: 1 for xdist's own loop, 0 for one that runs whatever it holds.
    """

    def __init__(self, *, keeps: int = 0) -> None:
        self._keeps = keeps
        self._pool = WorkerPool(keeps)
        self._units: Mapping[int, Unit] = {}
        self._states: dict[int, _State] = {}
        self._backlog = Backlog({})
        self._suspects: deque[int] = deque()
        self._deaths: dict[int, int] = {}
        self._open: int | None = None
        self._waiting = 0
        self._limit = math.inf
        self._commands: list[Command] = []

    @property
    def done(self) -> bool:
        """Whether every unit is finished or in quarantine."""
        return self._open == 0

    @property
    def busy(self) -> int:
        """The number of workers that hold work which they can begin."""
        return self._pool.active

    @property
    def ready(self) -> int:
        """The number of units that are ready and not handed out."""
        return len(self._backlog) + len(self._suspects)

    @property
    def waiting(self) -> tuple[int, ...]:
        """What is neither handed out, finished nor given up."""
        return tuple(unit for unit, state in self._states.items() if state in (_State.WAITING, _State.READY))

    def pending(self, worker: str) -> tuple[int, ...]:
        """Return what a worker was given and has neither finished nor given back, in order."""
        known = self._pool.get(worker)
        return tuple(known.held) if known else ()

    def handle(self, event: Event) -> list[Command]:
        """Take an event in and return what is to be done about it, in order."""
        match event:
            case Finished():
                self._finish(event)
            case Ready():
                self._release(event.units)
            case Withdrawn():
                self._withdraw(event.units)
            case Stolen():
                self._take_in(event)
            case WorkerJoined():
                self._take_back(WorkerLeft(event.worker))  # who comes anew holds nothing
                self._pool.join(event.worker)
            case WorkerLeft():
                self._take_back(event)
            case WorkerLimit():
                self._limit = math.inf if event.workers is None else event.workers
            case Listed():
                self._list(event)
            case _:
                assert_never(event)
        if self._pool.idle_count:
            self._employ()
        commands, self._commands = self._commands, []
        return commands

    # units come

    def _list(self, event: Listed) -> None:
        self._units = event.units
        self._backlog = Backlog(event.units)
        self._open, self._waiting = len(event.units), len(event.waiting)
        self._states = dict.fromkeys(event.units, _State.WAITING)
        for unit in event.units:
            if unit not in event.waiting:
                self._make_ready(unit)

    def _release(self, units: Sequence[int]) -> None:
        for unit in units:
            state = self._states.get(unit)
            if state is _State.WAITING:
                self._waiting -= 1
                self._make_ready(unit)
            elif state is _State.QUARANTINED:
                self._settle(+1)
                self._make_ready(unit)

    def _withdraw(self, units: Sequence[int]) -> None:
        for unit in units:
            if self._states.get(unit) is _State.READY:
                self._take_off(unit)
                self._states[unit] = _State.WAITING
                self._waiting += 1

    def _take_off(self, unit: int) -> None:
        """Take what is ready off its queue."""
        self._suspects.remove(unit) if unit in self._deaths else self._backlog.discard(unit)

    def _make_ready(self, unit: int) -> None:
        self._states[unit] = _State.READY
        if unit in self._deaths:
            self._suspects.append(unit)
        else:
            self._backlog.add(unit)

    def _settle(self, change: int) -> None:
        assert self._open is not None, "units were listed"
        self._open += change

    # units go

    def _finish(self, event: Finished) -> None:
        worker = self._pool.get(event.worker)
        if worker and event.unit in worker.held:
            self._let_go(worker, [event.unit])
            worker.declined = False
            self._pool.offer(worker)
        self._close(event.unit)
        if worker and worker.active and self._is_low(worker):
            self._hand_out(worker)

    def _close(self, unit: int) -> None:
        state = self._states.get(unit)
        if state is None or state is _State.FINISHED:
            return
        if state is _State.READY:  # its worker was thought dead, and finished it after all
            self._take_off(unit)
        self._waiting -= state is _State.WAITING
        self._settle(0 if state is _State.QUARANTINED else -1)
        self._states[unit] = _State.FINISHED

    def _take_in(self, event: Stolen) -> None:
        worker = self._pool.get(event.worker)
        if worker is None:
            return
        self._pool.answered(worker)
        back = self._let_go(worker, event.units)
        worker.declined = not back  # until it finishes something, or it would be asked for ever
        self._pool.offer(worker)
        self._give_up(back)

    def _take_back(self, event: WorkerLeft) -> None:
        worker = self._pool.leave(event.worker)
        if worker is None:
            return
        self._backlog.disown(worker.name)
        if event.crashed and worker.active:
            self._blame(worker.held[0])
        self._give_up(worker.held)

    def _blame(self, unit: int) -> None:
        self._deaths[unit] = self._deaths.get(unit, 0) + 1
        if self._deaths[unit] > 1 and self._states[unit] is _State.HELD:
            self._states[unit] = _State.QUARANTINED
            self._settle(-1)
            self._commands.append(Quarantine(unit))

    def _let_go(self, worker: Worker, units: Sequence[int]) -> list[int]:
        """Take those of the units that a worker holds off it, and return them."""
        if len(units) == 1 and worker.held and worker.held[0] == units[0]:  # nearly always
            gone = [worker.held.popleft()]
        else:
            wanted = set(units)
            gone = [unit for unit in worker.held if unit in wanted]
            worker.held = deque(unit for unit in worker.held if unit not in wanted)
        for unit in gone:
            worker.load -= self._units[unit].cost
            worker.suspects -= unit in self._deaths
        if not worker.held:
            worker.load = 0.0  # however the sum was rounded
        self._pool.settle(worker)
        return gone

    def _give_up(self, units: Sequence[int]) -> None:
        """Put units back that somebody held; some may have been finished by who held them before."""
        for unit in units:
            if self._states[unit] is _State.HELD:
                self._make_ready(unit)

    # who gets what

    def _employ(self) -> None:
        """Give idle workers what is ready, else ask busy ones for some of theirs, else stop them."""
        pool = self._pool
        while self.ready and pool.idle_count and pool.active < self._limit and (worker := self._idle_worker()):
            self._hand_out(worker)
        if self.ready > self._backlog.owned:
            return
        while pool.steals < min(pool.idle_count, self._limit - pool.active) and self._ask():
            pass
        if self.done or (self._keeps and self._exhausted):
            for worker in pool.idle:
                pool.stop(worker)
                self._commands.append(Stop(worker.name))

    def _idle_worker(self) -> Worker | None:
        """Choose the idle worker that is given something next; none if none of them would be a help."""
        queues = self._backlog.open
        for queue in queues:
            if queue.owner and self._pool.is_idle(queue.owner):
                return self._pool.get(queue.owner)
        free = [queue for queue in queues if not queue.owner]
        worker = self._pool.idle_worker(queue.group for queue in free)
        return worker if self._suspects or any(self._helps(worker, queue) for queue in free) else None

    @staticmethod
    def _helps(worker: Worker, queue: Queue) -> bool:
        """Whether a worker is a help at a queue: not if it is another's, or if those at it are done before it has met the group."""
        if queue.owner:
            return queue.owner == worker.name
        return (
            not worker.warm_groups or queue.group in worker.warm_groups or queue.cost >= WARM_UP * queue.active_workers
        )

    @property
    def _exhausted(self) -> bool:
        """Whether nothing can come any more unless somebody dies.

        A worker that keeps a unit back must be stopped then, to run it; any other is left to wait for the dead one's work.
        """
        listed = self._open is not None
        return listed and not (self._waiting or self.ready or self._pool.steals or self._pool.steal_victim())

    def _is_low(self, worker: Worker) -> bool:
        """Whether a busy worker is to be given more before it runs dry. With a suspect it is left alone."""
        count = len(worker.held)
        low = count < LOW_COUNT + self._keeps or (worker.load < LOW_COST and count <= LARGEST_CHUNK // 2)
        return low and not worker.suspects and not worker.stopped and self._pool.active <= self._limit

    def _hand_out(self, worker: Worker) -> None:
        chunk = self._suspect(worker) if self._suspects else self._chunk(worker)
        if not chunk:
            return
        for unit in chunk:
            self._states[unit] = _State.HELD
            worker.load += self._units[unit].cost
        worker.held.extend(chunk)
        self._pool.settle(worker)
        self._pool.offer(worker)
        self._commands.append(Run(worker.name, tuple(chunk)))

    def _suspect(self, worker: Worker) -> list[int]:
        """Take a suspect for a worker, if it is idle: it must be alone, for the next death to be surely its own."""
        if worker.active:
            return []
        worker.suspects += 1
        suspect = self._suspects.popleft()
        self._pool.go_to(worker, self._backlog.queue(suspect))
        return [suspect]

    def _chunk(self, worker: Worker) -> list[int]:
        """Take units for a worker off the backlog: as many as it must have to begin, and more as long as they fit in."""
        needs = max(0, self._keeps + 1 - len(worker.held))
        most = 1 if worker.suspects else LARGEST_CHUNK - len(worker.held)
        fair = self._fair()
        room = self._room(fair) - worker.load
        queue: Queue | None = None
        chunk: list[int] = []
        while len(chunk) < most:
            more = len(chunk) < needs
            if not queue:
                # The next group can wait until this one is done.
                queue = self._queue_for(worker, fair, tied=more) if not chunk or more else None
            if not queue:
                break
            cost = self._backlog.longest(queue)
            # What is tied cannot be taken back: nobody is given more of it than it can begin.
            if (cost > room or queue.tied) and not more:
                break
            chunk.append(self._backlog.take(queue))
            queue.owner = worker.name if queue.tied else ""
            self._pool.go_to(worker, queue)
            room -= cost
        return chunk

    def _fair(self) -> float:
        """Half of what is ready for each worker, in seconds: what one gets too much of, the other half can even out."""
        return self._backlog.cost / (2 * max(1, min(self._pool.hands, self._limit)))

    def _room(self, fair: float) -> float:
        """How much work a worker may hold, in seconds: a fair part; but cheap units stream, if there are enough for all."""
        stream = min(LOW_COST, self._backlog.cost / max(1, self._pool.idle_count))
        return max(stream, min(LARGEST_COST, fair))

    def _queue_for(self, worker: Worker, fair: float, *, tied: bool) -> Queue | None:
        """Choose what a worker goes on with, if it can be of help anywhere; a ``tied`` group only if that is allowed.

        First what would decide the makespan if it began late. Else it stays, unless others would need longer with its help
        than those it leaves would without: so all groups come to an end together, and few workers meet many.
        """

        def appeal(queue: Queue) -> tuple[float, float]:
            warm_up = 0.0 if queue.group in worker.warm_groups else WARM_UP
            length = self._backlog.longest(queue) - warm_up
            if queue is worker.queue:
                others = queue.active_workers - 1
                left = queue.cost / others if others else math.inf
            else:
                left = (queue.cost - warm_up) / (queue.active_workers + 1)
            return length if length > fair else 0.0, left

        fit = (queue for queue in self._backlog.open if (tied or not queue.tied) and self._helps(worker, queue))
        return max(fit, key=appeal, default=None)

    def _ask(self) -> bool:
        """Ask the worker that has most to do for about half of what it does not run; tell whether there is one."""
        victim = self._pool.steal_victim()
        # Who comes new to a group needs longer for its first unit than a victim with little to do for all.
        if victim is None or not (victim.load >= WARM_UP or self._pool.awaits(self._units[victim.held[-1]].group)):
            return False
        costs = [self._units[unit].cost for unit in islice(victim.held, self._keeps + 1, None)]
        count, taken, half = 0, 0.0, sum(costs) / 2
        while count < len(costs) and (not count or taken < half):
            count += 1
            taken += costs[-count]
        self._pool.ask(victim)
        self._commands.append(Steal(victim.name, tuple(islice(victim.held, len(victim.held) - count, None))))
        return True
