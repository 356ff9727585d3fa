"""The backlog: units that are ready and in nobody's hands, in a queue for each group, longest first."""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from pytest_spip.dispatch.messages import Unit

__all__ = ["Backlog", "Queue"]


class Queue:
    """Ready units of one group, ``cost`` seconds together. ``active_workers`` counts the workers that are at it.

    ``owner`` is the worker that alone may have units of a group that is ``tied``, once it was given one.
    """

    __slots__ = ("_gone", "_ranks", "active_workers", "cost", "group", "owner", "tied")

    def __init__(self, group: str, *, tied: bool = False) -> None:
        self.group = group
        self.tied = tied
        self.owner = ""
        self.cost = 0.0
        self.active_workers = 0
        self._ranks: list[int] = []
        self._gone: set[int] = set()

    def __len__(self) -> int:
        return len(self._ranks) - len(self._gone)

    @property
    def first(self) -> int:
        """The rank of the longest unit."""
        while self._ranks[0] in self._gone:
            self._gone.remove(heapq.heappop(self._ranks))
        return self._ranks[0]

    def push(self, rank: int, cost: float) -> None:
        """Add a unit."""
        heapq.heappush(self._ranks, rank)
        self.cost += cost

    def pop(self, cost: float) -> None:
        """Remove the longest unit, which is of this cost."""
        heapq.heappop(self._ranks)
        self._pay(cost)

    def discard(self, rank: int, cost: float) -> None:
        """Remove a unit from anywhere; the heap learns of it when it comes up."""
        self._gone.add(rank)
        self._pay(cost)

    def _pay(self, cost: float) -> None:
        self.cost = self.cost - cost if self else 0.0  # nothing costs nothing, however the sum was rounded


class Backlog:
    """All queues; ``cost`` is that of all of them, in seconds.

    A unit's rank is its place among all units of the run, longest first and then in the plan's order.
    """

    def __init__(self, units: Mapping[int, Unit]) -> None:
        self._units = units
        self._order = sorted(units, key=lambda unit: -units[unit].cost)
        self._rank = {unit: rank for rank, unit in enumerate(self._order)}
        groups = {unit.group: unit.tied for unit in units.values()}
        self._queues = {group: Queue(group, tied=tied) for group, tied in groups.items()}
        self._tied = [queue for queue in self._queues.values() if queue.tied]
        self._count = 0
        self.cost = 0.0

    def __len__(self) -> int:
        return self._count

    @property
    def open(self) -> list[Queue]:
        """The queues that have units."""
        return [queue for queue in self._queues.values() if queue]

    def queue(self, unit: int) -> Queue:
        """Return the queue in which a unit stands when it is ready."""
        return self._queues[self._units[unit].group]

    @property
    def owned(self) -> int:
        """The number of units that only their group's owner may have."""
        return sum(len(queue) for queue in self._tied if queue.owner)

    def disown(self, worker: str) -> None:
        """Let others have what only this worker was allowed to have."""
        for queue in self._tied:
            if queue.owner == worker:
                queue.owner = ""

    def longest(self, queue: Queue) -> float:
        """Return the cost of the longest unit of a queue that has one."""
        return self._units[self._order[queue.first]].cost

    def add(self, unit: int) -> None:
        """Put a unit in its place."""
        about = self._units[unit]
        self._queues[about.group].push(self._rank[unit], about.cost)
        self._count += 1
        self.cost += about.cost

    def take(self, queue: Queue) -> int:
        """Remove and return the longest unit of a queue that has one."""
        unit = self._order[queue.first]
        cost = self._units[unit].cost
        queue.pop(cost)
        self._lose(cost)
        return unit

    def discard(self, unit: int) -> None:
        """Remove a unit that is here."""
        about = self._units[unit]
        self._queues[about.group].discard(self._rank[unit], about.cost)
        self._lose(about.cost)

    def _lose(self, cost: float) -> None:
        self._count -= 1
        self.cost = self.cost - cost if self._count else 0.0
