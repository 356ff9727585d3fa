"""Simulates a cluster that shares one database, event by event: ``python -m benchmarks.cluster``.

Hosts claim, work and complete as sessions do. The database is some processors that serve transactions in the order in which
they come; what each costs is what ``python -m benchmarks.queue`` measures. Found is where the database becomes the ceiling.
Workers of a host are a rate: a host with 64 workers and 16 ms a combination ends 4 000 a second. A session records and claims at
its ticks, and when a batch is full or its workers run out of work. Nothing is measured here; the same numbers come out each time.
"""

from __future__ import annotations

import argparse
import dataclasses
import heapq
import sys
from collections.abc import Iterator, Sequence

from benchmarks.tables import table

__all__ = ["Cluster", "Cost", "Outcome", "main", "simulate"]

BATCH = 500
"""Results of a transaction."""
TINY = 1e-6
SOON = 0.001
"""Seconds after which a session that waits for work looks again, at least."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """Milliseconds of the server's processors: for a transaction, and for each task in it.

    ``look`` is a heartbeat, with what a session looks at then.
    """

    claim: float = 0.79
    claim_task: float = 0.0051
    complete: float = 0.84
    complete_task: float = 0.0045
    look: float = 1.0


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Hosts that share a database. ``tick`` are the seconds after which a session records and claims, ``look`` those between two
    heartbeats with a look at the whole; ``most`` is what a host holds; ``seconds`` what a combination takes in a worker."""

    hosts: int = 1000
    workers: int = 64
    tasks: int = 10_000_000
    seconds: float = 1.0
    most: int = 256
    tick: float = 1.0
    look: float = 20.0
    processors: int = 8
    round_trip: float = 0.004
    cost: Cost = Cost()

    @property
    def rate(self) -> float:
        """Combinations a second of one host, all of whose workers are busy."""
        return self.workers / self.seconds

    @property
    def ideal(self) -> float:
        """Seconds of the whole, if the database cost nothing."""
        return self.tasks / (self.hosts * self.rate)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of it: seconds of the whole, the share of the database's processors that was busy, and transactions."""

    makespan: float
    busy: float
    transactions: int
    longest: float

    def efficiency(self, cluster: Cluster) -> float:
        """Return the share of the workers' time in which they worked."""
        return cluster.ideal / self.makespan


class _Database:
    """Processors that serve transactions first come, first served."""

    def __init__(self, processors: int) -> None:
        self._free = [0.0] * processors
        self.busy = 0.0
        self.transactions = 0
        self.longest = 0.0

    def serve(self, now: float, milliseconds: float) -> float:
        """Return when a transaction that comes now is done."""
        began = max(heapq.heappop(self._free), now)
        done = began + milliseconds / 1000
        heapq.heappush(self._free, done)
        self.busy += milliseconds / 1000
        self.transactions += 1
        self.longest = max(self.longest, done - now)
        return done


@dataclasses.dataclass
class _Host:
    """A session: ``held`` are claimed and not ended, ``ended`` wait to be recorded, ``coming`` are being claimed."""

    looked: float
    since: float = 0.0
    held: float = 0.0
    ended: float = 0.0
    coming: int = 0
    step: int = 0

    def work(self, now: float, rate: float) -> None:
        """Work from when that was last asked until now, then begin with what was claimed meanwhile."""
        done = min(self.held, (now - self.since) * rate)
        self.held += self.coming - done
        self.ended += done
        self.coming, self.since = 0, now


def simulate(cluster: Cluster) -> Outcome:
    """Let a cluster run to the last recorded result."""
    database, cost = _Database(cluster.processors), cluster.cost
    ready, recorded, now, last = cluster.tasks, 0, 0.0, 0.0
    hosts = [_Host(-cluster.look * number / cluster.hosts) for number in range(cluster.hosts)]
    due = [(cluster.tick * number / cluster.hosts, number) for number in range(cluster.hosts)]
    while recorded < cluster.tasks:
        now, number = heapq.heappop(due)
        host = hosts[number]
        host.work(now, cluster.rate)
        spent = 0.0
        if host.step == 0 and host.ended >= 1 - TINY:
            batch = min(int(host.ended + TINY), BATCH)
            host.ended -= batch
            recorded += batch
            spent = cost.complete + batch * cost.complete_task
            host.step = int(host.ended < BATCH)
        elif host.step <= 1 and now - host.looked >= cluster.look:
            host.looked, host.step = now, 2
            spent = cost.look
        elif host.step <= 2 and ready and (wanted := min(_wanted(cluster, host, ready), ready)):
            ready -= wanted
            host.coming, host.step = wanted, 3
            spent = cost.claim + wanted * cost.claim_task
        else:
            host.step = 0
            heapq.heappush(due, (now + _until_it_wakes(cluster, host, ready), number))
            continue
        last = database.serve(now + cluster.round_trip / 2, spent) + cluster.round_trip / 2
        heapq.heappush(due, (last, number))
    return Outcome(last, database.busy / (last * cluster.processors), database.transactions, database.longest)


def _until_it_wakes(cluster: Cluster, host: _Host, ready: int) -> float:
    """Return the seconds until a session looks again: a tick, or less where a batch is full or its workers run out of work."""
    if host.held < 1:
        return cluster.tick
    spare = host.held - cluster.workers if ready else host.held
    soon = min(spare, BATCH - host.ended) / cluster.rate
    return min(cluster.tick, max(soon, SOON))


def _wanted(cluster: Cluster, host: _Host, ready: int) -> int:
    """Return how many combinations a session claims: none while half of what it may hold is there, less at the end."""
    ahead = min(cluster.most, max(ready // (2 * cluster.hosts), 2 * cluster.workers))
    return max(ahead - int(host.held), 0) if host.held <= ahead // 2 else 0


CASES = (
    ("a combination takes 10 s", Cluster(seconds=10.0)),
    ("3 s", Cluster(seconds=3.0)),
    ("1 s", Cluster()),
    ("0.3 s", Cluster(seconds=0.3)),
    ("0.3 s, held 2 048", Cluster(seconds=0.3, most=2048)),
    ("0.3 s, held 2 048, ticks of 5 s", Cluster(seconds=0.3, most=2048, tick=5.0)),
    ("0.3 s, held 2 048, 32 processors", Cluster(seconds=0.3, most=2048, processors=32)),
    ("16 ms (imports)", Cluster(seconds=0.016)),
    ("16 ms, held 8 192", Cluster(seconds=0.016, most=8192)),
    ("16 ms, held 8 192, 32 processors", Cluster(seconds=0.016, most=8192, processors=32)),
    ("16 ms, 100 hosts", Cluster(seconds=0.016, hosts=100)),
    ("16 ms, 100 hosts, held 8 192", Cluster(seconds=0.016, hosts=100, most=8192)),
    ("16 ms, 10 hosts", Cluster(seconds=0.016, hosts=10)),
    ("16 ms, 10 hosts, held 8 192", Cluster(seconds=0.016, hosts=10, most=8192)),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate, and print the table."""
    parser = argparse.ArgumentParser(description="Simulate a cluster that shares one database.")
    parser.add_argument("--tasks", type=int, default=10_000_000)
    for field in dataclasses.fields(Cost):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=float, default=field.default, metavar="MS")
    arguments = vars(parser.parse_args(argv))
    tasks, cost = arguments.pop("tasks"), Cost(**arguments)
    print("\n".join(table(rows([(name, dataclasses.replace(one, tasks=tasks, cost=cost)) for name, one in CASES]))))
    return 0


def rows(cases: Sequence[tuple[str, Cluster]]) -> Iterator[list[str]]:
    """Yield what came of each case."""
    yield [
        "1 000 hosts x 64 workers, 8 processors",
        "ideal, s",
        "took, s",
        "of ideal",
        "database busy",
        "tasks/s",
        "longest wait, ms",
    ]
    for name, cluster in cases:
        outcome = simulate(cluster)
        yield [
            name,
            f"{cluster.ideal:,.0f}",
            f"{outcome.makespan:,.0f}",
            f"{outcome.efficiency(cluster):.0%}",
            f"{outcome.busy:.0%}",
            f"{cluster.tasks / outcome.makespan:,.0f}",
            f"{1000 * outcome.longest:,.0f}",
        ]


if __name__ == "__main__":
    sys.exit(main())
