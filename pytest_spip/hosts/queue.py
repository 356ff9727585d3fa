"""The queue of a run that several hosts share: each combination is handed out by a lease, and its result recorded once."""

from __future__ import annotations

import dataclasses
import functools
import json
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    any_,
    delete,
    func,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from pytest_spip.errors import QueueProblem
from pytest_spip.hosts import schema
from pytest_spip.hosts.bulk import among, in_slices, insert_rows, insert_tasks
from pytest_spip.hosts.clocks import clock
from pytest_spip.hosts.database import Database
from pytest_spip.hosts.engines import STATEMENT
from pytest_spip.hosts.queue_model import Agent, Answer, Counts, Published, SharedPlan, Task
from pytest_spip.hosts.schema import TaskState
from pytest_spip.hosts.urls import LEASE

__all__ = ["ATTEMPTS", "BATCH", "Agent", "Answer", "Counts", "Published", "Queue", "SharedPlan", "Task"]

BATCH = 500
"""Results that are recorded in one transaction."""
ATTEMPTS = 3
"""Hosts that may be lost over a combination: then it is given up."""


class Queue:
    """One agent's hand on the queue of one run. Used by one thread at a time; nothing here waits but for the database.

    All methods may raise ``QueueUnreachable``, when the database does not answer in time, and are safe to call again then.
    ``lease`` is what the agent holds combinations by; when it was lost, a claim or a reclaim opens another.
    """

    def __init__(self, database: Database, run: str, agent: Agent, *, ttl: float = LEASE) -> None:
        self.database = database
        self.run = run
        self.agent = agent
        self.ttl = ttl
        self.lease: int | None = None
        self._low = 0
        self._size = 0
        self._is_unsure = False  # the lease may hold what the agent does not know of: an answer was lost
        self._is_replaced = False  # a lost lease was replaced, and the agent does not know yet

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
        published = self.database.run(lambda connection: self._publish(connection, plan), seconds=STATEMENT)
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
        return self.database.run(lambda connection: bytes(connection.execute(query).scalar() or b""))

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
        """Say that this agent lives, and extend its lease; return False where a lease was lost, with all that it held."""
        is_alive = self.database.run(lambda connection: self._beat(connection, json.dumps(dict(state))))
        if not is_alive:
            self.lease = None
        kept, self._is_replaced = is_alive and not self._is_replaced, False
        return kept

    def _beat(self, connection: Connection, state: str) -> bool:
        agents = schema.agent
        until = clock() + self.ttl
        connection.execute(update(agents).where(agents.c.id == self.agent.id).values(until=until, state=state))
        return self.lease is None or self._extend(connection)

    def _extend(self, connection: Connection) -> bool:
        """Extend the lease; return False where it was lost. It is not lost before somebody closes it."""
        mine = update(schema.lease).where(schema.lease.c.id == self.lease, schema.lease.c.is_open)
        extended = mine.values(until=clock() + self.ttl).returning(schema.lease.c.id)
        return connection.execute(extended).one_or_none() is not None

    def leave(self, digest: Mapping[str, Any]) -> None:
        """Give everything back that this agent holds, leave a digest of its telemetry, and be gone."""
        self.database.run(lambda connection: self._leave(connection, json.dumps(dict(digest))))
        self.lease = None

    def _leave(self, connection: Connection, digest: str) -> None:
        leases = schema.lease.c
        mine = select(leases.id).where(leases.run == self.run, leases.agent == self.agent.id, leases.is_open)
        self._close(connection, mine.with_for_update(), counted=False)
        agents = schema.agent
        connection.execute(update(agents).where(agents.c.id == self.agent.id).values(has_left=True, digest=digest))

    # handing out

    def claim(self, count: int, held: Iterable[int] = ()) -> list[int]:
        """Take up to ``count`` ready combinations, the first ones; return their ordinals in that order.

        ``held`` is what the agent knows to hold. What its lease holds beside that was claimed without its knowing, when an
        answer was lost, and is returned first. Where the lease was lost, what is still free of ``held`` is kept; if that is
        not all, the next heartbeat tells of the loss. What :meth:`lost` names is not handed out.
        """
        known = frozenset(held)

        def attempt(connection: Connection) -> tuple[list[int], bool]:
            unsure, self._is_unsure = self._is_unsure, True  # until the answer is here
            is_new = self._hold_lease(connection)
            kept = known
            if known and (is_new or unsure or self._is_replaced):
                kept = frozenset(self._retake(connection, sorted(known)))
            unknown = self._unknown(connection, known) if unsure else []
            return [*unknown, *self._take_low(connection, count - len(unknown))], kept == known

        taken, are_kept = self.database.run(attempt)
        self._is_unsure = False
        self._is_replaced = self._is_replaced and not are_kept
        return taken

    def _unknown(self, connection: Connection, known: frozenset[int]) -> list[int]:
        """Return what the lease holds and the agent does not know of."""
        tasks = schema.task.c
        held = select(tasks.ord).where(tasks.run == self.run, tasks.lease == self.lease, schema.is_running)
        found = connection.execute(held.order_by(tasks.rank)).scalars()
        return [ordinal for ordinal in found if ordinal not in known]

    def _take_low(self, connection: Connection, count: int) -> list[int]:
        """Take ready tasks from where the last ones were found; all over again where those are too few."""
        if count <= 0:
            return []
        taken = self._take(connection, count)
        if len(taken) < count and self._low:
            self._low = 0  # tasks that were given back have low ranks
            taken += self._take(connection, count - len(taken))
        return taken if len(taken) == count else [*taken, *self._take_suspect(connection)]

    def _take(self, connection: Connection, count: int) -> list[int]:
        tasks = schema.task.c
        ready = select(tasks.ord).where(tasks.run == self.run, schema.is_ready, tasks.rank >= self._low)
        ready = ready.where(tasks.attempt < ATTEMPTS - 1)
        taken = self._take_these(connection, ready.order_by(tasks.rank).limit(count))
        if taken:
            self._low = taken[0][0]
        return [ordinal for _, ordinal in taken]

    def _take_suspect(self, connection: Connection) -> list[int]:
        """Take one task that has a last chance, and no second one: another would go down with it."""
        tasks = schema.task.c
        ready = select(tasks.ord).where(tasks.run == self.run, schema.is_ready, tasks.attempt == ATTEMPTS - 1)
        return [ordinal for _, ordinal in self._take_these(connection, ready.order_by(tasks.rank).limit(1))]

    def _take_these(self, connection: Connection, ready: Select[Any]) -> list[tuple[int, int]]:
        """Put ready tasks under our lease, and return rank and ordinal of each; those that others are taking are passed over."""
        tasks = schema.task.c
        if self.database.is_postgresql:
            # Where the row lies, while it is locked: no index is asked again.
            place: ColumnElement[Any] = literal_column("spip_task.ctid")
            picked = ready.with_only_columns(place).with_for_update(skip_locked=True).cte("picked")
            these = place == any_(
                func.array(select(literal_column("picked.ctid")).select_from(picked).scalar_subquery())
            )
        else:
            these = tasks.ord.in_(ready)
        statement = (
            update(schema.task)
            .where(tasks.run == self.run, schema.is_ready, these)
            .values(state=int(TaskState.RUNNING), lease=self.lease)
            .returning(tasks.rank, tasks.ord)
        )
        return sorted((row.rank, row.ord) for row in connection.execute(statement))

    def reclaim(self, ordinals: Sequence[int]) -> list[int]:
        """Take those of some combinations that nobody else has taken since a lease was lost; return them."""

        def attempt(connection: Connection) -> list[int]:
            self._hold_lease(connection)
            return self._retake(connection, ordinals)

        return self.database.run(attempt)

    def _retake(self, connection: Connection, ordinals: Sequence[int]) -> list[int]:
        """Return which of some combinations our lease holds; those that are ready are taken."""
        tasks = schema.task.c
        found: list[int] = []
        for part in in_slices(ordinals, BATCH):
            these = and_(tasks.run == self.run, among(connection, tasks.ord, part))
            found += connection.execute(select(tasks.ord).where(self._mine(connection, part))).scalars()
            ready = select(tasks.ord).where(these, schema.is_ready)
            found += [ordinal for _, ordinal in self._take_these(connection, ready)]
        return found

    def _hold_lease(self, connection: Connection) -> bool:
        """Have an open lease; return True if it is a new one.

        It is kept here before it is committed: when the answer to that is lost, the next attempt finds what it holds.
        """
        if self.lease is not None and self._extend(connection):
            return False
        self._is_replaced = self._is_replaced or self.lease is not None
        values = {"run": self.run, "agent": self.agent.id, "until": clock() + self.ttl, "is_open": True}
        opened = insert(schema.lease).values(**values).returning(schema.lease.c.id)
        self.lease = int(connection.execute(opened).scalar_one())
        return True

    def give_back(self, ordinals: Sequence[int]) -> None:
        """Let others have combinations that this agent holds and will not run."""
        for part in in_slices(ordinals, BATCH):
            self.database.run(functools.partial(self._give_back, part))

    def _give_back(self, ordinals: Sequence[int], connection: Connection) -> None:
        if self._lock_lease(connection):
            free = update(schema.task).where(self._mine(connection, ordinals))
            connection.execute(free.values(state=int(TaskState.READY), lease=None))

    def _mine(self, connection: Connection, ordinals: Iterable[int]) -> ColumnElement[bool]:
        """Return the condition that a task is one of some, and that our lease holds it."""
        tasks = schema.task.c
        # The sums keep the database from the index of what runs: by the run's first statistics nothing does, and it would
        # read all that does, of all hosts.
        held = and_(tasks.lease + 0 == self.lease, tasks.state + 0 == int(TaskState.RUNNING))
        return and_(tasks.run == self.run, among(connection, tasks.ord, ordinals), held)

    def _lock_lease(self, connection: Connection) -> bool:
        """Keep others from closing the lease until this transaction ends; return False where it was lost.

        Whoever changes tasks of a lease locks that first, so that nobody waits in a circle.
        """
        leases = schema.lease.c
        mine = select(leases.id).where(leases.id == self.lease, leases.is_open)
        return self.lease is not None and connection.execute(mine.with_for_update()).one_or_none() is not None

    def reap(self) -> int:
        """Close leases that have expired, and free what they held; return how many combinations that were."""
        freed = self.database.run(self._reap)
        self._low = 0 if freed else self._low
        return freed

    def _reap(self, connection: Connection) -> int:
        leases = schema.lease.c
        expired = select(leases.id).where(leases.run == self.run, leases.is_open, leases.until < clock())
        # One that is locked is being extended, or closed by another.
        return self._close(connection, expired.with_for_update(skip_locked=True), counted=True)

    def _close(self, connection: Connection, which: Select[Any], *, counted: bool) -> int:
        """Close leases; return how many tasks are free now. ``counted`` if their agents were lost over them."""
        tasks = schema.task.c
        closed = list(connection.execute(which).scalars())
        if not closed:
            return 0
        closing = update(schema.lease).where(among(connection, schema.lease.c.id, closed))
        connection.execute(closing.values(is_open=False))
        free = update(schema.task).where(
            tasks.run == self.run, among(connection, tasks.lease, closed), schema.is_running
        )
        values = {"state": int(TaskState.READY), "lease": None, "attempt": tasks.attempt + int(counted)}
        return len(connection.execute(free.values(values).returning(tasks.ord)).all())

    # results

    def complete(self, answers: Sequence[Answer]) -> frozenset[int]:
        """Record results, at most :data:`BATCH`; return the ordinals of those that count: the others' lease was lost."""
        return self.database.run(lambda connection: self._complete(connection, answers))

    def _complete(self, connection: Connection, answers: Sequence[Answer]) -> frozenset[int]:
        by_ordinal = {answer.ordinal: answer for answer in answers}
        new = self._record(connection, by_ordinal) if self._lock_lease(connection) else frozenset()
        missing = by_ordinal.keys() - new
        return new | self._recorded(connection, missing) if missing else new

    def _record(self, connection: Connection, by_ordinal: Mapping[int, Answer]) -> frozenset[int]:
        """Record the results of what the lease holds; return their ordinals."""
        leases = schema.lease.c
        done = delete(schema.task).where(self._mine(connection, by_ordinal)).returning(schema.task.c.ord)
        new = frozenset(connection.execute(done).scalars())
        if new:
            rows = ((self.run, self.lease, *_values(by_ordinal[ordinal])) for ordinal in new)
            insert_rows(connection, schema.result, ("run", "lease", *_COLUMNS), rows)
            counted = {"done": leases.done + len(new)}
            counted["failing"] = leases.failing + sum(by_ordinal[ordinal].failing for ordinal in new)
            connection.execute(update(schema.lease).where(leases.id == self.lease).values(**counted))
        return new

    def _recorded(self, connection: Connection, ordinals: Iterable[int]) -> frozenset[int]:
        """Return which results are this agent's, recorded by a transaction whose answer was lost, whatever became of the lease."""
        results, leases = schema.result.c, schema.lease.c
        ours = select(results.ord).join(schema.lease, leases.id == results.lease).where(leases.agent == self.agent.id)
        ours = ours.where(results.run == self.run, among(connection, results.ord, ordinals))
        return frozenset(connection.execute(ours).scalars())

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
        """Return the ordinals of combinations over which so many hosts were lost that none is handed out any more.

        Whoever gives them up takes them by :meth:`reclaim`, and records why.
        """
        tasks = schema.task.c
        query = select(tasks.ord).where(tasks.run == self.run, schema.is_ready, tasks.attempt >= ATTEMPTS)
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


_COLUMNS = ("ord", *(field.name for field in dataclasses.fields(Answer) if field.name != "ordinal"))
_values = operator.attrgetter("ordinal", *_COLUMNS[1:])
