"""Queues for tests: agents of one run, plans, results, and answers that are lost on their way."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select, text, update

from pytest_spip.errors import QueueUnreachable
from pytest_spip.hosts import schema
from pytest_spip.hosts.database import Database
from pytest_spip.hosts.queue import Agent, Answer, Queue, SharedPlan, Task
from pytest_spip.hosts.urls import LEASE, parse_url

__all__ = ["Hosts", "answer", "answers", "losing_answers", "opened", "plan"]


def opened(url: str, *, patience: float = 20) -> Database:
    """Return a database by its address."""
    return Database(parse_url("--spip-queue", url, Path("/")), patience=patience)


def plan(size: int, name: str = "plan") -> SharedPlan:
    """Return a plan whose last combination comes first."""
    return SharedPlan(name, {"name": name}, [Task(one, 1.0) for one in reversed(range(size))], name.encode())


def answer(ordinal: int, *, failing: bool = False, **changed: Any) -> Answer:
    """Return a result."""
    body = json.dumps({"ordinal": ordinal})
    usual = Answer(ordinal, "failed" if failing else "passed", None, failing, 0.5, f"print-{ordinal}", body)
    return dataclasses.replace(usual, **changed)


def answers(ordinals: Sequence[int]) -> list[Answer]:
    """Return results that pass."""
    return [answer(ordinal) for ordinal in ordinals]


class Hosts:
    """Agents of a run, each with connections of its own, as sessions of several hosts have."""

    def __init__(self, url: str, run: str = "run") -> None:
        self.url = url
        self.run = run
        self._databases: list[Database] = []

    def database(self, *, patience: float = 20) -> Database:
        """Return a database with connections of its own."""
        self._databases.append(opened(self.url, patience=patience))
        return self._databases[-1]

    def queue(
        self, name: str = "first", *, run: str = "", ttl: float = LEASE, patience: float = 20, boot: str = "one"
    ) -> Queue:
        """Return the queue in the hand of an agent that has joined."""
        queue = Queue(self.database(patience=patience), run or self.run, Agent(name, f"host-of-{name}", boot), ttl=ttl)
        queue.enter()
        return queue

    def pair(self, size: int) -> tuple[Queue, Queue]:
        """Publish a plan; return two agents."""
        first, second = self.queue("first"), self.queue("second")
        first.publish(plan(size))
        return first, second

    def expire(self, queue: Queue) -> None:
        """Have an agent's lease be over by the database's clock."""
        past = update(schema.lease).where(schema.lease.c.id == queue.lease).values(until=1.0)
        gone = update(schema.agent).where(schema.agent.c.id == queue.agent.id).values(until=1.0)
        for statement in (past, gone):
            queue.database.run(lambda connection, statement=statement: connection.execute(statement))  # type: ignore[misc]

    def lose(self, queue: Queue, other: Queue) -> None:
        """Have an agent's lease expire, and another close it."""
        self.expire(queue)
        other.reap()

    def rows(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """Return what a query finds."""
        found = self._databases[0].run(lambda connection: connection.execute(text(statement), values).all())
        return [tuple(row) for row in found]

    def states(self) -> dict[int, schema.TaskState]:
        """Return the state of each combination."""
        tasks = schema.task.c
        query = select(tasks.ord, tasks.state).where(tasks.run == self.run)
        found = self._databases[0].run(lambda connection: connection.execute(query).all())
        return {row.ord: schema.TaskState(row.state) for row in found}

    def close(self) -> None:
        """Close all connections."""
        for database in self._databases:
            database.close()


@contextlib.contextmanager
def losing_answers(database: Database, count: int) -> Iterator[None]:
    """Have so many commits arrive at the database whose answers are lost on the way back."""
    left, attempt = count, database._attempt

    def losing(work: Callable[[Connection], Any], seconds: float) -> Any:
        nonlocal left
        result = attempt(work, seconds)
        if left:
            left -= 1
            raise QueueUnreachable("the answer was lost")
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "_attempt", losing)
        yield
    assert not left, "so many answers were not lost"
