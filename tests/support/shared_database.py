"""What tests of a shared database do to it, and see of it, that no agent could."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import event, text, update

from pytest_spip.hosts import schema
from pytest_spip.hosts.database import Database

__all__ = ["counted", "pass_time", "rows_read"]


def pass_time(database: Database, seconds: float) -> None:
    """Have all that is recorded be older: the database's clock is nobody's to set."""
    record = schema.record
    older = update(record).values(expires_at=record.c.expires_at - seconds)
    database.run(lambda connection: connection.execute(older))


@contextlib.contextmanager
def counted(database: Database) -> Iterator[dict[str, int]]:
    """Count statements, without those that begin a transaction, and commits."""
    found = {"statements": 0, "commits": 0}

    def statement(_connection: object, _cursor: object, sent: str, *_: object) -> None:
        found["statements"] += not sent.startswith("BEGIN")

    def commit(_connection: object) -> None:
        found["commits"] += 1

    listeners: tuple[tuple[str, Any], ...] = (("before_cursor_execute", statement), ("commit", commit))
    for name, listener in listeners:
        event.listen(database._engine, name, listener)
    try:
        yield found
    finally:
        for name, listener in listeners:
            event.remove(database._engine, name, listener)


def rows_read(database: Database, statement: Any) -> str:
    """Return how the engine finds what a query asks for: the conditions by which it enters an index, and what it passes over."""
    compiled = statement.compile(database._engine, compile_kwargs={"literal_binds": True})
    if not database.is_postgresql:
        plan = f"EXPLAIN QUERY PLAN {compiled}"
        return "\n".join(row[3] for row in database.run(lambda connection: connection.execute(text(plan)).all()))
    plan = f"EXPLAIN (ANALYZE, FORMAT JSON) {compiled}"
    found = database.run(lambda connection: connection.execute(text(plan)).scalar_one())
    return json.dumps(found)
