"""The tables of a shared database, and the steps from one version of them to the next.

All times are seconds since 1970 by the database's clock. ``run`` is the run's name in each table.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    false,
    literal_column,
)

from pytest_spip.hosts.texts import AnyText

__all__ = [
    "MIGRATIONS",
    "VERSION",
    "TaskState",
    "agent",
    "is_ready",
    "is_running",
    "lease",
    "metadata",
    "of_kind",
    "record",
    "result",
    "run",
    "schema",
    "task",
]


class TaskState(enum.IntEnum):
    """What becomes of a combination: it is free, or some lease holds it. With its result it is removed from the tasks."""

    READY = 0
    RUNNING = 1


metadata = MetaData()
_number = BigInteger().with_variant(Integer, "sqlite")
_vacuumed = {"autovacuum_vacuum_scale_factor": 0.02, "autovacuum_vacuum_threshold": 1000}
"""For tables whose rows go: an early vacuum."""
_busy = {"fillfactor": 80, **_vacuumed}
"""For tables whose rows change again and again: room for new versions beside the old ones."""

schema = Table("spip_schema", metadata, Column("version", Integer, primary_key=True, autoincrement=False))

run = Table(
    "spip_run",
    metadata,
    Column("run", AnyText, primary_key=True),
    Column("plan_hash", AnyText, nullable=False),
    Column("size", Integer, nullable=False),
    Column("facts", AnyText, nullable=False),
    Column("plan", LargeBinary),
    Column("next_seq", _number, nullable=False, default=1),
    Column("created", Double, nullable=False),
)
"""``facts`` are JSON; ``plan`` is the compressed database of the run as it was planned; ``next_seq`` numbers records."""

agent = Table(
    "spip_agent",
    metadata,
    Column("id", AnyText, primary_key=True),
    Column("run", AnyText, nullable=False, index=True),
    Column("host", AnyText, nullable=False),
    Column("boot", AnyText, nullable=False),
    Column("began", Double, nullable=False),
    Column("until", Double, nullable=False),
    Column("has_left", Boolean, nullable=False, server_default=false()),
    Column("state", AnyText, nullable=False, server_default="{}"),
    Column("digest", AnyText, nullable=False, server_default="{}"),
)
"""One session of one host; ``boot`` tells kernels apart. ``state`` and ``digest``, of its telemetry, are JSON."""

lease = Table(
    "spip_lease",
    metadata,
    Column("id", _number, primary_key=True),
    Column("run", AnyText, nullable=False),
    Column("agent", AnyText, nullable=False),
    Column("until", Double, nullable=False),
    Column("is_open", Boolean, nullable=False),
    Column("done", Integer, nullable=False, server_default="0"),
    Column("failing", Integer, nullable=False, server_default="0"),
    postgresql_with=_busy,
    sqlite_autoincrement=True,
)
"""What an agent holds tasks by. Once it is closed it is never opened again. ``done`` and ``failing`` count its results."""
Index("spip_lease_of_run", lease.c.run)

task = Table(
    "spip_task",
    metadata,
    Column("run", AnyText, primary_key=True),
    Column("ord", Integer, primary_key=True, autoincrement=False),
    Column("rank", Integer, nullable=False),
    Column("state", SmallInteger, nullable=False, server_default="0"),
    Column("lease", _number),
    Column("attempt", SmallInteger, nullable=False, server_default="0"),
    Column("cost", Double, nullable=False),
    postgresql_with=_vacuumed,
)
"""A combination, by its ordinal in the plan; the lowest ``rank`` is handed out first.

Its row goes when its result is recorded: an update would cost as much as all else of that (see benchmarks/queue.py).
"""
is_ready, is_running = (task.c.state == literal_column(str(int(state))) for state in TaskState)
"""Conditions; the numbers stand in them, for a partial index is used only where the statement says what it is about."""
Index("spip_task_ready", task.c.run, task.c.rank, postgresql_where=is_ready, sqlite_where=is_ready)
Index("spip_task_running", task.c.lease, postgresql_where=is_running, sqlite_where=is_running)

result = Table(
    "spip_result",
    metadata,
    Column("run", AnyText, primary_key=True),
    Column("ord", Integer, primary_key=True, autoincrement=False),
    Column("lease", _number, nullable=False),
    Column("outcome", AnyText, nullable=False),
    Column("reason", AnyText),
    Column("failing", Boolean, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("fingerprint", AnyText, nullable=False),
    Column("body", AnyText, nullable=False),
)
"""A verdict that counts; ``body`` is the whole result as JSON."""

record = Table(
    "spip_record",
    metadata,
    Column("run", AnyText, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("seq", _number, nullable=False),
    Column("agent", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("expires_at", Double),
    Column("deleted", Boolean, nullable=False, server_default=false()),
    postgresql_with=_busy,
)
"""What agents tell each other; ``body`` is JSON, and ``seq`` grows in the order of commits. Its texts were looked at before."""


def all_of_run(records: Any = record) -> ColumnElement[str]:
    """Return what is ``RUN/all`` in the records of a run: queries of all kinds, by ``seq``, find them by it.

    These expressions keep indexes apart. Where each began with the column of the run, PostgreSQL would choose any of them for
    a run of which it has no statistics, and walk along the whole run for each record that is looked up by its key.
    """
    return _joined(records.c.run, literal_column("'/all'"))


def of_kind(records: Any = record) -> ColumnElement[str]:
    """Return what is ``RUN/KIND`` in the records of a kind: queries of one kind, by ``seq``, find them by it."""
    return _joined(records.c.run, literal_column("'/'"), records.c.kind)


def expiring_of_run(records: Any = record) -> ColumnElement[str]:
    """Return what is ``RUN/over`` in the records of a run: queries by ``expires_at`` find them by it."""
    return _joined(records.c.run, literal_column("'/over'"))


def _joined(*parts: ColumnElement[Any]) -> ColumnElement[str]:
    return functools.reduce(lambda one, other: one.concat(other), parts)


Index("spip_record_since", all_of_run(), record.c.seq)
Index("spip_record_of_kind", of_kind(), record.c.seq)
Index("spip_record_expiring", expiring_of_run(), record.c.expires_at)

MIGRATIONS: tuple[Callable[[Connection], None], ...] = ()
"""What leads from each version to the next; the first one from version 1. New databases get the tables as they are above."""
VERSION = 1 + len(MIGRATIONS)
