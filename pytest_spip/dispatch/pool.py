"""The worker pool: what each worker holds, who is idle, and from whom there is most to take."""

from __future__ import annotations

import dataclasses
import heapq
import itertools
from collections import deque
from collections.abc import Iterable

from pytest_spip.dispatch.backlog import Queue

__all__ = ["Worker", "WorkerPool"]

NOWHERE = -1.0


@dataclasses.dataclass(slots=True, eq=False)
class Worker:
    """A worker: the units that it ``held`` last we knew, in order, and what they cost together (``load``, seconds).

    ``queue`` is the one that it was last given work from, ``warm_groups`` are the groups that it was ever given work of.
    ``bound`` is the load by which it stands in the heap of those to take from, if it does.
    """

    name: str
    held: deque[int] = dataclasses.field(default_factory=deque)
    load: float = 0.0
    queue: Queue | None = None
    warm_groups: set[str] = dataclasses.field(default_factory=set)
    suspects: int = 0
    steal_pending: bool = False
    declined: bool = False
    stopped: bool = False
    active: bool = False
    bound: float = NOWHERE


class WorkerPool:
    """All workers. One is active when it holds a unit that it can begin; else, unless it was stopped, it is idle."""

    def __init__(self, keeps: int) -> None:
        self._keeps = keeps
        self._workers: dict[str, Worker] = {}
        self._idle: dict[Worker, None] = {}
        self._warm_idle: dict[str | None, dict[Worker, None]] = {}
        self._loads: list[tuple[float, int, Worker]] = []
        self._ticket = itertools.count()
        self.active = 0
        self.steals = 0
        self.hands = 0

    # who is here

    def get(self, name: str) -> Worker | None:
        """Return a worker, or nothing if it is not here."""
        return self._workers.get(name)

    def join(self, name: str) -> None:
        """Add an idle worker."""
        worker = self._workers[name] = Worker(name)
        self.hands += 1
        self._set_idle(worker)

    def leave(self, name: str) -> Worker | None:
        """Remove a worker and return it as it was, or nothing if it was not here."""
        if (worker := self._workers.pop(name, None)) is None:
            return None
        self.answered(worker)
        self.active -= worker.active
        self._unset_idle(worker)
        self.hands -= not worker.stopped
        self.go_to(worker, None)
        worker.stopped = worker.declined = True  # nobody takes from it any more
        return worker

    def stop(self, worker: Worker) -> None:
        """Note that a worker was dismissed: nothing more will come."""
        worker.stopped = True
        self.hands -= 1
        self._unset_idle(worker)
        self.go_to(worker, None)
        self.settle(worker)

    # who does what

    @property
    def idle(self) -> list[Worker]:
        """Workers that could begin at once."""
        return list(self._idle)

    @property
    def idle_count(self) -> int:
        """How many are idle."""
        return len(self._idle)

    def idle_worker(self, groups: Iterable[str]) -> Worker:
        """Return an idle worker, of which there is one: who has met one of the groups, else who has met none at all.

        Of several it is the one that worked last.
        """
        known = (self._warm_idle.get(group) for group in [*groups, None])
        return next(reversed(next(filter(None, known), self._idle)))

    def is_idle(self, name: str) -> bool:
        """Whether a worker is here and idle."""
        return self._workers.get(name) in self._idle

    def awaits(self, group: str) -> bool:
        """Whether somebody who has met the group is idle."""
        return bool(self._warm_idle.get(group))

    def go_to(self, worker: Worker, queue: Queue | None) -> None:
        """Have a worker work at a queue, or at none."""
        if worker.queue is queue:
            return
        if worker.queue is not None:
            worker.queue.active_workers -= 1
        worker.queue = queue
        if queue is not None:
            queue.active_workers += 1
            self._warm(worker, queue.group)

    def _warm(self, worker: Worker, group: str) -> None:
        if group not in worker.warm_groups:
            idle = worker in self._idle
            self._unset_idle(worker)
            worker.warm_groups.add(group)
            if idle:  # still, if it keeps a unit back
                self._set_idle(worker)

    def settle(self, worker: Worker) -> None:
        """Note whether a worker is active or idle after what it holds has changed."""
        active = len(worker.held) > (0 if worker.stopped else self._keeps)
        if active != worker.active:
            worker.active = active
            self.active += 1 if active else -1
            if active:
                self._unset_idle(worker)
            elif not worker.stopped:
                self._set_idle(worker)

    def _set_idle(self, worker: Worker) -> None:
        self._idle[worker] = None
        for group in worker.warm_groups or (None,):
            self._warm_idle.setdefault(group, {})[worker] = None

    def _unset_idle(self, worker: Worker) -> None:
        self._idle.pop(worker, None)
        for group in worker.warm_groups or (None,):
            self._warm_idle.get(group, {}).pop(worker, None)

    # from whom there is something to take

    def offer(self, worker: Worker) -> None:
        """Note that a worker may have more to take than before."""
        if worker.load > worker.bound and self._spares(worker):
            worker.bound = worker.load
            heapq.heappush(self._loads, (-worker.load, next(self._ticket), worker))

    def steal_victim(self) -> Worker | None:
        """Return the worker with the greatest load of those that have something to take."""
        while self._loads:
            bound, _, worker = self._loads[0]
            if worker.bound == -bound == worker.load and self._spares(worker):
                return worker
            # Loads fall without a word, so that entries are upper bounds: the first one is brought up to date.
            heapq.heappop(self._loads)
            if worker.bound == -bound:
                worker.bound = NOWHERE
                self.offer(worker)
        return None

    def _spares(self, worker: Worker) -> bool:
        return len(worker.held) > self._keeps + 1 and not (worker.steal_pending or worker.declined)

    def ask(self, worker: Worker) -> None:
        """Note that a worker is being asked for units."""
        worker.steal_pending = True
        self.steals += 1

    def answered(self, worker: Worker) -> None:
        """Note that a worker has answered, if it was asked."""
        self.steals -= worker.steal_pending
        worker.steal_pending = False
