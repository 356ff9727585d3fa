"""Who holds what: reservations that expire, that heartbeats of their agent extend, and that releases end."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Integer, Select, bindparam, case, func, select
from sqlalchemy.sql.expression import FromClause

from pytest_spip.hosts import schema
from pytest_spip.hosts.database import clock
from pytest_spip.hosts.record_kinds import LIFETIMES, Kind, Record, row_of
from pytest_spip.hosts.record_rows import number_records, upsert_rows
from pytest_spip.hosts.records import Records

__all__ = ["Reservation", "Reservations", "active_ones", "beat_until"]


@dataclasses.dataclass(frozen=True, slots=True)
class Reservation:
    """Something that an agent holds until ``until``, by the database's clock, its heartbeats included; ``text`` is JSON."""

    key: str
    agent: str
    until: float
    text: str

    @property
    def body(self) -> dict[str, Any]:
        """What the agent said of it, read anew each time."""
        found: dict[str, Any] = json.loads(self.text)
        return found


def beat_until(reservation: FromClause) -> ColumnElement[float]:
    """Return until when the heartbeat of a reservation's agent lasts; NULL without one.

    These are subqueries and no joins: for a run without statistics PostgreSQL would compare each row with each. A subquery
    is a look into the primary key.
    """
    beat = schema.record.alias("beat")
    mine = (beat.c.run == reservation.c.run, beat.c.kind == Kind.HEARTBEAT.value, beat.c.key == reservation.c.agent)
    return select(beat.c.expires_at).where(*mine, ~beat.c.deleted).scalar_subquery()


def released_at(reservation: FromClause) -> ColumnElement[int]:
    """Return the number of the release by which its agent ended a reservation; NULL without one."""
    release = schema.record.alias("release")
    mine = (
        release.c.run == reservation.c.run,
        release.c.kind == Kind.RELEASE.value,
        release.c.key == reservation.c.key,
    )
    valid = (release.c.agent == reservation.c.agent, release.c.seq > reservation.c.seq, ~release.c.deleted)
    return select(release.c.seq).where(*mine, *valid).scalar_subquery()


class Reservations:
    """The reservations of a run, in the hand of the records' agent."""

    def __init__(self, records: Records) -> None:
        self.records = records

    def reserve(
        self, key: str, *, ttl: float = LIFETIMES[Kind.RESERVATION], body: Mapping[str, Any] | None = None
    ) -> Reservation | None:
        """Hold something for ``ttl`` seconds, or anew; None if another agent holds it, or the time is over already."""
        record = Record(Kind.RESERVATION, key, body or {}, ttl)
        row = row_of(record, self.records.agent)
        holder = self.holder(key)  # asked first without keeping others waiting
        if holder is not None and holder.agent != self.records.agent:
            return None
        return self.records.database.run(lambda connection: self._reserve(connection, row))

    def _reserve(self, connection: Connection, row: Any) -> Reservation | None:
        number_records(connection, self.records.run, 0)  # from here on nobody else changes records
        found = self._active(connection, row[1])
        if found and found[0].agent != self.records.agent:
            return None
        upsert_rows(connection, self.records.run, [row])
        made = self._active(connection, row[1])
        return made[0] if made else None

    def release(self, key: str) -> bool:
        """Let go of something; return False if this agent does not hold it, or no more."""
        row = row_of(Record(Kind.RELEASE, key), self.records.agent)
        return self.records.database.run(lambda connection: self._release(connection, row))

    def _release(self, connection: Connection, row: Any) -> bool:
        number_records(connection, self.records.run, 0)
        found = self._active(connection, row[1])
        if not found or found[0].agent != self.records.agent:
            return False
        upsert_rows(connection, self.records.run, [row])
        return True

    def beat(self, state: Mapping[str, Any] | None = None, *, ttl: float = LIFETIMES[Kind.HEARTBEAT]) -> None:
        """Say that the agent lives, and how it is. That extends what it holds, for ``ttl`` seconds from now on."""
        self.records.push([Record(Kind.HEARTBEAT, self.records.agent, state or {}, ttl)])

    def holder(self, key: str) -> Reservation | None:
        """Return who holds something, if anybody does."""
        found = self.records.database.run(lambda connection: self._active(connection, key))
        return found[0] if found else None

    def active(self, *, after: str = "", limit: int | None = None) -> list[Reservation]:
        """Return what is held, by one query, in the order of keys; ``after`` and ``limit`` make pages of it."""
        return self.records.database.run(lambda connection: self._active(connection, None, after, limit))

    def _active(
        self, connection: Connection, key: str | None, after: str = "", limit: int | None = None
    ) -> list[Reservation]:
        statement, values = active_ones(self.records.run, key, after, limit)
        return [Reservation(*row) for row in connection.execute(statement, values)]


def active_ones(run: str, key: str | None, after: str, limit: int | None) -> tuple[Any, dict[str, Any]]:
    """Return the query of what is held, key, agent, when it ends and body, of one key or of all; and its parameters."""
    if key is not None:
        return _active(one=True, limited=False), {"run": run, "key": key}
    values = {"place": f"{run}/{Kind.RESERVATION}", "after": after}
    return _active(one=False, limited=limit is not None), values if limit is None else {**values, "limit": limit}


@functools.cache
def _active(*, one: bool, limited: bool) -> Select[Any]:
    held = schema.record.alias("held")
    beat = func.coalesce(beat_until(held), 0.0)
    until = case((beat > held.c.expires_at, beat), else_=held.c.expires_at).label("until")
    mine = [schema.of_kind(held) == bindparam("place"), held.c.key > bindparam("after")]
    if one:
        kind = held.c.kind == Kind.RESERVATION.value
        mine = [held.c.run == bindparam("run"), kind, held.c.key == bindparam("key")]
    found = select(held.c.key, held.c.agent, until, held.c.body)
    inner = found.where(*mine, ~held.c.deleted, released_at(held).is_(None)).subquery()
    now = select(clock()).scalar_subquery()  # asked once, and not for each row
    query = select(inner).where(inner.c.until > now).order_by(inner.c.key)
    return query.limit(bindparam("limit", type_=Integer)) if limited else query
