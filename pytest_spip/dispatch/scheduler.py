"""The scheduler: hands out units of work grouped by interpreter, in chunks that shrink towards the end."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import assert_never

__all__ = [
    "Command",
    "Event",
    "Finished",
    "Listed",
    "Ready",
    "Run",
    "Scheduler",
    "Stop",
    "WorkerJoined",
    "WorkerLeft",
]

LARGEST_CHUNK = 64
"""Units handed out at once at most: about as many import checks as amortise one message."""
LOW_WATER = 2
"""A worker with fewer pending units is given more. It runs a unit only when it knows the next, so one is never enough."""


@dataclasses.dataclass(frozen=True, slots=True)
class Listed:
    """The units of the run are known: unit number to group. ``waiting`` are those that are not ready yet."""

    groups: Mapping[int, str]
    waiting: frozenset[int] = frozenset()


@dataclasses.dataclass(frozen=True, slots=True)
class Ready:
    """Units that were waiting, or that a :class:`WorkerLeft` was blamed on, can be run now; others are passed over."""

    units: Sequence[int]


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerJoined:
    """A worker can take work."""

    worker: str


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerLeft:
    """A worker died or was shut down; what it had not finished goes to others, but for ``blamed``, which killed it."""

    worker: str
    blamed: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Finished:
    """A worker finished a unit."""

    worker: str
    unit: int


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """Command: have a worker run units, in this order."""

    worker: str
    units: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Stop:
    """Command: tell a worker that nothing more will come, so that it runs the last unit it holds."""

    worker: str


Event = Listed | Ready | WorkerJoined | WorkerLeft | Finished
Command = Run | Stop


@dataclasses.dataclass(slots=True)
class _Worker:
    pending: deque[int] = dataclasses.field(default_factory=deque)
    group: str = ""
    stopped: bool = False


class Scheduler:
    """State and transitions: :meth:`handle` takes an event and returns commands; the edge carries them out."""

    def __init__(self) -> None:
        self._groups: dict[int, str] = {}
        self._ready: dict[str, deque[int]] = {}
        self._waiting: set[int] = set()
        self._blamed: set[int] = set()
        self._workers: dict[str, _Worker] = {}
        self._listed = False

    @property
    def done(self) -> bool:
        """Whether every unit was handed out and finished."""
        return self._exhausted and not any(worker.pending for worker in self._workers.values())

    @property
    def _exhausted(self) -> bool:
        """Whether nothing is left to hand out, now or later."""
        return self._listed and not self._waiting and not self._left

    @property
    def _left(self) -> int:
        return sum(map(len, self._ready.values()))

    def pending(self, worker: str) -> tuple[int, ...]:
        """Return what a worker was given and has not finished, in order."""
        return tuple(self._workers[worker].pending) if worker in self._workers else ()

    def handle(self, event: Event) -> list[Command]:
        """Take an event in and return what is to be done about it."""
        match event:
            case Listed():
                self._list(event)
            case Ready():
                self._make_ready(event.units)
            case WorkerJoined():
                self._workers[event.worker] = _Worker()
            case WorkerLeft():
                self._take_back(event)
            case Finished():
                self._finish(event)
            case _:
                assert_never(event)
        return self._hand_out()

    def _list(self, event: Listed) -> None:
        self._listed = True
        self._groups = dict(event.groups)
        self._waiting = set(event.waiting)
        for unit, group in event.groups.items():
            if unit not in event.waiting:
                self._ready.setdefault(group, deque()).append(unit)

    def _make_ready(self, units: Iterable[int]) -> None:
        for unit in units:
            held = self._waiting if unit in self._waiting else self._blamed
            if unit in held:
                held.remove(unit)
                self._ready.setdefault(self._groups[unit], deque()).append(unit)

    def _take_back(self, event: WorkerLeft) -> None:
        worker = self._workers.pop(event.worker, None)
        for unit in reversed(worker.pending if worker else ()):
            if unit == event.blamed:
                self._blamed.add(unit)
            else:
                self._ready.setdefault(self._groups[unit], deque()).appendleft(unit)

    def _finish(self, event: Finished) -> None:
        worker = self._workers.get(event.worker)
        if worker and event.unit in worker.pending:
            worker.pending.remove(event.unit)

    def _hand_out(self) -> list[Command]:
        commands: list[Command] = []
        # The emptiest first: when little is left, it goes to those who would stand idle.
        for name, worker in sorted(self._workers.items(), key=lambda item: len(item[1].pending)):
            if not worker.stopped and len(worker.pending) < LOW_WATER and (chunk := self._chunk(worker)):
                worker.pending.extend(chunk)
                commands.append(Run(name, chunk))
        if self._exhausted:
            commands += [Stop(name) for name, worker in self._workers.items() if not worker.stopped]
            for worker in self._workers.values():
                worker.stopped = True
        return commands

    def _chunk(self, worker: _Worker) -> tuple[int, ...]:
        """Take half of a fair share off one group: chunks shrink as the work does, and the tail is spread thin."""
        size = max(LOW_WATER - len(worker.pending), min(LARGEST_CHUNK, self._left // (2 * len(self._workers))))
        taken: list[int] = []
        while len(taken) < size and (group := self._best_group(worker)) is not None:
            queue = self._ready[group]
            taken += [queue.popleft() for _ in range(min(size - len(taken), len(queue)))]
            worker.group = group
        return tuple(taken)

    def _best_group(self, worker: _Worker) -> str | None:
        """Return the worker's own group while it lasts, then the one with most left for each worker at it."""
        if self._ready.get(worker.group):
            return worker.group
        open_groups = [group for group, queue in self._ready.items() if queue]
        crowd = {group: sum(other.group == group for other in self._workers.values()) for group in open_groups}
        return max(open_groups, key=lambda group: len(self._ready[group]) / (1 + crowd[group]), default=None)
