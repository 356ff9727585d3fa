"""What is to be seen of a run that several hosts share: who takes part, what each holds, how fast it goes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import func, select

from pytest_spip.hosts import schema
from pytest_spip.hosts.database import Database, clock
from pytest_spip.hosts.records import Records
from pytest_spip.hosts.reservations import Reservations

__all__ = ["BUILD", "AgentStatus", "RunStatus", "live_agents", "run_status", "shared_runs"]

BUILD = "build/"
"""Begins the key of what an agent has reserved to build."""


@dataclasses.dataclass(frozen=True, slots=True)
class AgentStatus:
    """One agent: ``age`` are seconds since it began, ``left`` those until its lease ends, less than 0 once it has ended."""

    id: str
    host: str
    age: float
    left: float
    has_left: bool
    judged: int
    failing: int
    holds: int
    state: Mapping[str, Any]
    digest: Mapping[str, Any]

    @property
    def is_lost(self) -> bool:
        """Whether it is silent for longer than its lease, without having said goodbye."""
        return self.left < 0 and not self.has_left

    @property
    def rate(self) -> float:
        """Verdicts a second since it began."""
        return self.judged / self.age if self.age > 0 else 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class RunStatus:
    """A run: ``age`` are seconds since it was published; ``ready`` wait for an agent, ``running`` are held by one.

    ``builds`` say what is being built, and on which host.
    """

    run: str
    host: str
    size: int
    ready: int
    running: int
    done: int
    failing: int
    age: float
    agents: tuple[AgentStatus, ...]
    builds: tuple[str, ...] = ()

    @property
    def is_done(self) -> bool:
        """Whether every combination has its verdict."""
        return self.done >= self.size


def live_agents(database: Database, run: str) -> int:
    """Return how many agents of a run have not left, and are not lost."""
    agents = schema.agent.c
    query = select(func.count()).where(agents.run == run, ~agents.has_left, agents.until > clock())
    return database.run(lambda connection: int(connection.execute(query).scalar_one()))


def shared_runs(database: Database) -> list[str]:
    """Return the names of the runs that are published, the newest first."""
    runs = schema.run.c
    query = select(runs.run).where(runs.plan_hash != "").order_by(runs.created.desc())
    return database.run(lambda connection: list(connection.execute(query).scalars()))


def run_status(database: Database, run: str) -> RunStatus | None:
    """Return how a run stands; None where there is none of the name."""
    runs = schema.run.c
    about = select(runs.facts, runs.size, clock() - runs.created).where(runs.run == run, runs.plan_hash != "")
    found = database.run(lambda connection: connection.execute(about).one_or_none())
    if found is None:
        return None
    facts, size, age = found
    agents = tuple(_agents(database, run))
    running, done = sum(one.holds for one in agents), sum(one.judged for one in agents)
    return RunStatus(
        run,
        str(json.loads(facts).get("host", "")),
        size,
        size - running - done,
        running,
        done,
        sum(one.failing for one in agents),
        age,
        agents,
        tuple(_builds(database, run)),
    )


def _builds(database: Database, run: str) -> Iterator[str]:
    """Yield what is being built, and where: what agents have reserved to build."""
    for one in Reservations(Records(database, run, "")).active():
        if one.key.startswith(BUILD):
            yield f"{one.body.get('what', one.key)} on {one.body.get('host', one.agent)}"


def _agents(database: Database, run: str) -> list[AgentStatus]:
    agents, leases, tasks = schema.agent.c, schema.lease.c, schema.task.c
    held = (
        select(leases.agent, func.count().label("holds"))
        .join(schema.task, (tasks.lease == leases.id) & schema.is_running)
        .where(leases.run == run)
        .group_by(leases.agent)
        .subquery()
    )
    counted = (
        select(leases.agent, func.sum(leases.done).label("done"), func.sum(leases.failing).label("failing"))
        .where(leases.run == run)
        .group_by(leases.agent)
        .subquery()
    )
    query = (
        select(
            agents.id,
            agents.host,
            clock() - agents.began,
            agents.until - clock(),
            agents.has_left,
            func.coalesce(counted.c.done, 0),
            func.coalesce(counted.c.failing, 0),
            func.coalesce(held.c.holds, 0),
            agents.state,
            agents.digest,
        )
        .outerjoin(counted, counted.c.agent == agents.id)
        .outerjoin(held, held.c.agent == agents.id)
        .where(agents.run == run)
        .order_by(agents.began)
    )
    rows = database.run(lambda connection: connection.execute(query).all())
    return [_agent(row) for row in rows]


def _agent(row: Sequence[Any]) -> AgentStatus:
    facts: list[Any] = [*row[:-2], json.loads(row[-2]), json.loads(row[-1])]
    return AgentStatus(*facts)
