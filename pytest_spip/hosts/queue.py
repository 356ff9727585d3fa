"""The queue of a run that several hosts share: each combination is handed out by a lease, and its result recorded once."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from pytest_spip.errors import QueueProblem
from pytest_spip.hosts import schema
from pytest_spip.hosts.bulk import in_slices, insert_tasks
from pytest_spip.hosts.database import Database, clock
from pytest_spip.hosts.schema import TaskState

__all__ = ["ATTEMPTS", "BATCH", "LEASE", "Agent", "Answer", "Counts", "Published", "Queue", "SharedPlan", "Task"]

LEASE = 60.0
"""Seconds that a lease lasts from its last heartbeat on."""
BATCH = 500
"""Results that are recorded in one transaction."""
ATTEMPTS = 3
"""Hosts that may be lost over a combination: then it is given up."""


@dataclasses.dataclass(frozen=True, slots=True)
class Agent:
    """One session of one host: ``id`` is its own, ``boot`` the kernel's that it runs on."""

    id: str
    host: str
    boot: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """A combination, by its ordinal, that is to be judged: tasks are handed out in the order in which they are published."""

    ordinal: int
    cost: float


@dataclasses.dataclass(frozen=True, slots=True)
class SharedPlan:
    """What whoever comes first publishes: the plan's hash, facts that all hosts must share, tasks, and the planned run itself."""

    hash: str
    facts: Mapping[str, Any]
    tasks: Sequence[Task]
    run: bytes = b""


@dataclasses.dataclass(frozen=True, slots=True)
class Published:
    """What stands in the database; ``is_ours`` if this host has published it."""

    hash: str
    facts: Mapping[str, Any]
    size: int
    is_ours: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """The result of a combination: what is asked of results in bulk, and the whole of it as JSON."""

    ordinal: int
    outcome: str
    reason: str | None
    failing: bool
    seconds: float
    fingerprint: str
    body: str


@dataclasses.dataclass(frozen=True, slots=True)
class Counts:
    """How far a run is: ``failing`` are those of the results that fail a session."""

    size: int
    done: int
    failing: int

    @property
    def is_done(self) -> bool:
        """Whether every combination has its result."""
        return self.done >= self.size


class Queue:
    """One agent's hand on the queue of one run. Used by one thread at a time; nothing here waits but for the database.

    All methods may raise ``QueueUnreachable``, when the database does not answer in time, and are safe to call again then.
    """

    def __init__(self, database: Database, run: str, agent: Agent, *, ttl: float = LEASE) -> None:
        self.database = database
        self.run = run
        self.agent = agent
        self.ttl = ttl
        self.lease: int | None = None
        self._low = 0
        self._size = 0
        self._is_unsure = False

    # publishing

    def look(self) -> Published | None:
        """Return what is published under the run's name, if anything is."""
        return self.database.run(self._published)

    def _published(self, connection: Connection) -> Published | None:
        columns = schema.run.c
        query = select(columns.plan_hash, columns.facts, columns.size).where(columns.run == self.run)
        row = connection.execute(query).one_or_none()
        return Published(row.plan_hash, json.loads(row.facts), row.size) if row and row.plan_hash else None

    def publish(self, plan: SharedPlan) -> Published:
        """Publish a plan, unless another host was faster; return what stands then, which may be another plan."""
        published = self.database.run(lambda connection: self._publish(connection, plan))
        self._size = published.size
        return published

    def _publish(self, connection: Connection, plan: SharedPlan) -> Published:
        if found := self._published(connection):
            return found
        values = {
            "plan_hash": plan.hash,
            "size": len(plan.tasks),
            "facts": json.dumps(dict(plan.facts)),
            "plan": plan.run,
        }
        statement = self._insert(schema.run).values(run=self.run, created=clock(), next_seq=1, **values)
        # A run's name may be there without a plan: agents have exchanged records under it.
        written = statement.on_conflict_do_update(
            index_elements=["run"], set_=values, where=schema.run.c.plan_hash == ""
        ).returning(schema.run.c.run)
        if connection.execute(written).one_or_none() is None:
            found = self._published(connection)
            assert found is not None, "whoever was faster has committed"
            return found
        insert_tasks(connection, self.run, ((task.ordinal, task.cost) for task in plan.tasks))
        return Published(plan.hash, plan.facts, len(plan.tasks), is_ours=True)

    def plan(self) -> bytes:
        """Return the planned run, as it was published."""
        query = select(schema.run.c.plan).where(schema.run.c.run == self.run)
        return self.database.run(lambda connection: bytes(connection.execute(query).scalar_one() or b""))

    # the agent

    def enter(self) -> None:
        """Enter this agent among the run's. Raises ``QueueProblem`` where a file would be shared by two machines."""
        self.database.run(self._enter)

    def _enter(self, connection: Connection) -> None:
        columns, mine = schema.agent.c, self.agent
        if not self.database.is_postgresql:
            others = select(columns.host).where(columns.boot != mine.boot, columns.until > clock(), ~columns.has_left)
            if host := connection.execute(others.limit(1)).scalar_one_or_none():
                raise QueueProblem(
                    f"{self.database.url.public} is in use on another machine ({host}), which SQLite cannot share:"
                    " use postgresql://, which pytest-spip serve can start"
                )
        values = {"run": self.run, "host": mine.host, "boot": mine.boot, "has_left": False}
        statement = self._insert(schema.agent).values(id=mine.id, began=clock(), until=clock() + self.ttl, **values)
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["id"], set_={"until": clock() + self.ttl, "has_left": False}
            )
        )

    def heartbeat(self, state: Mapping[str, Any]) -> bool:
        """Say that this agent lives, and extend its lease; return False where the lease was lost, with all that it held."""
        return self.database.run(lambda connection: self._beat(connection, json.dumps(dict(state))))

    def _beat(self, connection: Connection, state: str) -> bool:
        until = clock() + self.ttl
        agents = schema.agent
        connection.execute(update(agents).where(agents.c.id == self.agent.id).values(until=until, state=state))
        return self._extend(connection) if self.lease is not None else True

    def _extend(self, connection: Connection) -> bool:
        """Extend the lease; where it was lost, forget it."""
        mine = update(schema.lease).where(schema.lease.c.id == self.lease, schema.lease.c.is_open)
        extended = mine.values(until=clock() + self.ttl).returning(schema.lease.c.id)
        if connection.execute(extended).one_or_none() is None:
            self.lease = None
            return False
        return True

    def leave(self, digest: Mapping[str, Any]) -> None:
        """Give everything back that this agent holds, leave a digest of its telemetry, and be gone."""
        self.database.run(lambda connection: self._leave(connection, json.dumps(dict(digest))))
        self.lease = None

    def _leave(self, connection: Connection, digest: str) -> None:
        self._close(connection, schema.lease.c.agent == self.agent.id, counted=False)
        agents = schema.agent
        connection.execute(update(agents).where(agents.c.id == self.agent.id).values(has_left=True, digest=digest))

    # handing out

    def claim(self, count: int, held: Iterable[int] = ()) -> list[int]:
        """Take up to ``count`` ready combinations, the first ones; return their ordinals in that order.

        ``held`` is what the agent knows to hold: what its lease holds beside that was claimed without its knowing, when an
        answer was lost, and is returned first.
        """
        known = frozenset(held)

        def attempt(connection: Connection) -> list[int]:
            unsure, self._is_unsure = self._is_unsure, True  # until the answer is here
            self._hold_lease(connection)
            unknown = self._unknown(connection, known) if unsure else []
            return [*unknown, *self._take_low(connection, count - len(unknown))]

        taken = self.database.run(attempt)
        self._is_unsure = False
        return taken

    def _unknown(self, connection: Connection, known: frozenset[int]) -> list[int]:
        """Return what the lease holds and the agent does not know of."""
        tasks = schema.task.c
        held = select(tasks.ord).where(
            tasks.run == self.run, tasks.lease == self.lease, tasks.state == TaskState.RUNNING
        )
        return [ordinal for ordinal in connection.execute(held).scalars() if ordinal not in known]

    def _take_low(self, connection: Connection, count: int) -> list[int]:
        """Take ready tasks from where the last ones were found; all over again where those are too few."""
        if count <= 0:
            return []
        taken = self._take(connection, count)
        if len(taken) < count and self._low:
            self._low = 0  # tasks that were given back have low ranks
            taken += self._take(connection, count - len(taken))
        return taken

    def _take(self, connection: Connection, count: int) -> list[int]:
        tasks = schema.task.c
        ready = select(tasks.ord).where(tasks.run == self.run, tasks.state == TaskState.READY, tasks.rank >= self._low)
        return self._take_these(connection, ready.order_by(tasks.rank).limit(count))

    def _take_these(self, connection: Connection, ready: Any) -> list[int]:
        """Put ready tasks under our lease; those that another agent is just taking are passed over."""
        tasks = schema.task.c
        picked = ready.with_for_update(skip_locked=True).cte("picked")
        statement = (
            update(schema.task)
            .where(tasks.run == self.run, tasks.state == TaskState.READY, tasks.ord.in_(select(picked.c.ord)))
            .values(state=int(TaskState.RUNNING), lease=self.lease)
            .returning(tasks.rank, tasks.ord)
        )
        found = sorted((row.rank, row.ord) for row in connection.execute(statement))
        if found:
            self._low = found[0][0]
        return [ordinal for _, ordinal in found]

    def reclaim(self, ordinals: Sequence[int]) -> list[int]:
        """Take those of some combinations that nobody else has taken since a lease was lost; return them."""
        return self.database.run(lambda connection: self._reclaim(connection, ordinals))

    def _reclaim(self, connection: Connection, ordinals: Sequence[int]) -> list[int]:
        self._hold_lease(connection)
        tasks, low = schema.task.c, self._low
        found: list[int] = []
        for part in in_slices(ordinals, BATCH):
            mine = select(tasks.ord).where(
                tasks.run == self.run, tasks.ord.in_(part), tasks.lease == self.lease, tasks.state == TaskState.RUNNING
            )
            found += connection.execute(mine).scalars()
            ready = select(tasks.ord).where(tasks.run == self.run, tasks.ord.in_(part), tasks.state == TaskState.READY)
            found += self._take_these(connection, ready)
        self._low = low
        return found

    def _hold_lease(self, connection: Connection) -> None:
        if self.lease is not None and self._extend(connection):
            return
        values = {"run": self.run, "agent": self.agent.id, "until": clock() + self.ttl, "is_open": True}
        self.lease = int(
            connection.execute(insert(schema.lease).values(**values).returning(schema.lease.c.id)).scalar_one()
        )

    def give_back(self, ordinals: Sequence[int]) -> None:
        """Let others have combinations that this agent holds and will not run."""
        tasks = schema.task.c
        for part in in_slices(ordinals, BATCH):
            mine = update(schema.task).where(
                tasks.run == self.run, tasks.ord.in_(part), tasks.lease == self.lease, tasks.state == TaskState.RUNNING
            )
            free = mine.values(state=int(TaskState.READY), lease=None)
            self.database.run(lambda connection, free=free: connection.execute(free))  # type: ignore[misc]

    def reap(self) -> int:
        """Close leases that have expired, and free what they held; return how many combinations that were."""
        freed = self.database.run(self._reap)
        self._low = 0 if freed else self._low
        return freed

    def _reap(self, connection: Connection) -> int:
        return self._close(connection, schema.lease.c.until < clock(), counted=True)

    def _close(self, connection: Connection, which: Any, *, counted: bool) -> int:
        """Close leases of the run; return how many tasks are free now. ``counted`` if their agents were lost over them."""
        leases, tasks = schema.lease.c, schema.task.c
        closing = update(schema.lease).where(leases.run == self.run, leases.is_open, which)
        closed = list(connection.execute(closing.values(is_open=False).returning(leases.id)).scalars())
        if not closed:
            return 0
        held = and_(tasks.lease.in_(closed), tasks.state == TaskState.RUNNING, tasks.run == self.run)
        free = update(schema.task).where(held)
        values = {"state": int(TaskState.READY), "lease": None, "attempt": tasks.attempt + int(counted)}
        return len(list(connection.execute(free.values(values).returning(tasks.ord)).scalars()))

    # results

    def complete(self, answers: Sequence[Answer]) -> frozenset[int]:
        """Record results, at most :data:`BATCH`; return the ordinals of those that count: the others' lease was lost."""
        return self.database.run(lambda connection: self._complete(connection, answers))

    def _complete(self, connection: Connection, answers: Sequence[Answer]) -> frozenset[int]:
        leases, tasks = schema.lease.c, schema.task.c
        # Whoever closes the lease waits until this is done, or was faster.
        held = select(leases.id).where(leases.id == self.lease, leases.is_open).with_for_update()
        if self.lease is None or connection.execute(held).one_or_none() is None:
            self.lease = None
            return frozenset()
        by_ordinal = {answer.ordinal: answer for answer in answers}
        mine = and_(tasks.run == self.run, tasks.ord.in_(list(by_ordinal)), tasks.lease == self.lease)
        before = connection.execute(select(tasks.ord).where(mine, tasks.state == TaskState.DONE)).scalars()
        recorded = set(before)  # by a transaction whose answer was lost
        done = update(schema.task).where(mine, tasks.state == TaskState.RUNNING).values(state=int(TaskState.DONE))
        new = [by_ordinal[ordinal] for ordinal in connection.execute(done.returning(tasks.ord)).scalars()]
        if new:
            rows = [{"run": self.run, "lease": self.lease, **_columns(answer)} for answer in new]
            connection.execute(insert(schema.result), rows)
            failing = sum(answer.failing for answer in new)
            counted = {"done": leases.done + len(new), "failing": leases.failing + failing}
            connection.execute(update(schema.lease).where(leases.id == self.lease).values(**counted))
        return frozenset(recorded.union(answer.ordinal for answer in new))

    def counts(self) -> Counts:
        """Return how far the run is."""
        leases = schema.lease.c
        query = select(func.coalesce(func.sum(leases.done), 0), func.coalesce(func.sum(leases.failing), 0))
        done, failing = self.database.run(
            lambda connection: connection.execute(query.where(leases.run == self.run)).one()
        )
        if not self._size:
            published = self.look()
            self._size = published.size if published else 0
        return Counts(self._size, int(done), int(failing))

    def lost(self) -> list[int]:
        """Return the ordinals of combinations over which more hosts were lost than are allowed."""
        tasks = schema.task.c
        query = select(tasks.ord).where(
            tasks.run == self.run, tasks.state == TaskState.READY, tasks.attempt >= ATTEMPTS
        )
        return self.database.run(lambda connection: list(connection.execute(query).scalars()))

    def results(self, after: int = -1, limit: int = 1000) -> list[tuple[int, str, str]]:
        """Return recorded results behind an ordinal, a page of them: ordinal, id of the agent, and the result as JSON."""
        results, leases = schema.result.c, schema.lease.c
        query = (
            select(results.ord, leases.agent, results.body)
            .join(schema.lease, leases.id == results.lease)
            .where(results.run == self.run, results.ord > after)
            .order_by(results.ord)
            .limit(limit)
        )
        return self.database.run(lambda connection: [tuple(row) for row in connection.execute(query)])

    def _insert(self, table: Any) -> Any:
        """Return an insertion that may say what to do about a conflict; each engine has its own."""
        return postgresql.insert(table) if self.database.is_postgresql else sqlite.insert(table)


def _columns(answer: Answer) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(answer) if field.name != "ordinal"]
    return {"ord": answer.ordinal} | {name: getattr(answer, name) for name in names}
