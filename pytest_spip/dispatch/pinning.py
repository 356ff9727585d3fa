"""Which processors each worker keeps to: cores before their second threads, and never across NUMA nodes. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from pytest_spip.common.machine import Cpu

__all__ = ["Pins", "pin_plan"]


def pin_plan(workers: int, topology: Sequence[Cpu]) -> tuple[frozenset[int], ...]:
    """Return the processors of each worker, by index; empty sets where no topology is known.

    While there are cores enough each worker has its own, with all their threads; then threads of its own; more workers
    than threads share them evenly. Neighbours by index lie on different nodes.
    """
    slots = _spread(topology)
    if not slots:
        return (frozenset(),) * workers
    nodes = [slots[index % len(slots)].node for index in range(workers)]
    shares = {
        node: iter(_shares([cpu for cpu in slots if cpu.node == node], count)) for node, count in Counter(nodes).items()
    }
    return tuple(next(shares[node]) for node in nodes)


def _spread(topology: Sequence[Cpu]) -> list[Cpu]:
    """Return processors in the order in which workers take them: first threads of all cores first, nodes in turn."""
    threads: Counter[int] = Counter()
    places: Counter[tuple[int, int]] = Counter()
    ranked = []
    for cpu in sorted(topology, key=lambda cpu: cpu.number):
        rank = threads[cpu.core]
        ranked.append((rank, places[cpu.node, rank], cpu.node, cpu))
        threads[cpu.core] += 1
        places[cpu.node, rank] += 1
    return [cpu for *_, cpu in sorted(ranked, key=lambda entry: entry[:3])]


def _shares(cpus: Sequence[Cpu], workers: int) -> Iterator[frozenset[int]]:
    """Yield the processors of each of a node's workers; those left over go to whoever has the core, else in turn."""
    owners: dict[int, int] = {}
    dealt: list[set[int]] = [set() for _ in range(workers)]
    for index, cpu in enumerate(cpus):
        owner = index if index < workers else owners.get(cpu.core, index % workers)
        owners.setdefault(cpu.core, owner)
        dealt[owner].add(cpu.number)
    yield from (frozenset(dealt[index] or {cpus[index % len(cpus)].number}) for index in range(workers))


class Pins:
    """Gives each worker a place in a plan: a worker that takes over from one that died gets the place that fell free."""

    def __init__(self, plan: Sequence[frozenset[int]]) -> None:
        self._plan = plan
        self._holders: Counter[int] = Counter()
        self._places: dict[str, int] = {}

    def take(self, worker: str) -> frozenset[int]:
        """Return a worker's processors: the first place that the fewest hold."""
        place = min(range(len(self._plan)), key=lambda index: self._holders[index])
        self._places[worker] = place
        self._holders[place] += 1
        return self._plan[place]

    def give_back(self, worker: str) -> None:
        """A worker is gone; one that had no place is passed over."""
        if worker in self._places:
            self._holders[self._places.pop(worker)] -= 1
