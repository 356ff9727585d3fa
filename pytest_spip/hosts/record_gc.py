"""Removes records that are over: those that expired, were deleted or released, once everybody has had time to see it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, delete, func, literal, or_, select, union, union_all

from pytest_spip.errors import UsageProblem
from pytest_spip.hosts import schema
from pytest_spip.hosts.database import clock
from pytest_spip.hosts.record_kinds import Kind
from pytest_spip.hosts.record_rows import number_records
from pytest_spip.hosts.records import Records
from pytest_spip.hosts.reservations import beat_until

__all__ = ["GRACE", "SLICE", "collect_records"]

GRACE = 3600.0
"""Seconds for which what is over can still be pulled."""
SLICE = 1000
"""Records that are removed in one transaction, while nobody else writes."""


def collect_records(records: Records, *, grace: float = GRACE, dry_run: bool = False) -> dict[Kind, int]:
    """Remove what has been over for ``grace`` seconds; return how many of each kind, also of those that would go.

    What is active stays, and so does what has no time to expire at. Raises ``UsageProblem`` for a grace below 0.
    """
    if not grace >= 0:
        raise UsageProblem("grace", f"{grace} s are no time", "give seconds from 0 on")
    # One moment for all steps: what is over for one is over for the next.
    limit, over = records.database.run(lambda connection: _count(connection, records.run, grace))
    if dry_run:
        return _by_kind(over)
    removed: Counter[str] = Counter()
    # Reservations go before the releases that end them, or they would be active again where we are interrupted.
    for which, expected in (
        (_reservations(records.run, limit), over.get(Kind.RESERVATION)),
        (_others(records.run, limit), over.keys() - {Kind.RESERVATION}),
    ):
        is_full = bool(expected)
        while is_full:
            gone = records.database.run(lambda connection, which=which: _remove(connection, records.run, which))  # type: ignore[misc]
            removed.update(gone)
            is_full = len(gone) == SLICE
    return _by_kind(removed)


def _by_kind(found: Mapping[str, int]) -> dict[Kind, int]:
    return {kind: found[kind.value] for kind in Kind if found.get(kind.value)}


def _count(connection: Connection, run: str, grace: float) -> tuple[float, dict[str, int]]:
    """Return the moment before which the grace is over, and how many records of each kind were over then."""
    limit = float(connection.execute(select(clock())).scalar_one()) - grace
    over = union_all(_reservations(run, limit), _others(run, limit)).subquery()
    counted = connection.execute(select(over.c.kind, func.count()).group_by(over.c.kind))
    return limit, {kind: number for kind, number in counted}  # noqa: C416  # a result is no sequence of pairs for dict()


def _remove(connection: Connection, run: str, which: Select[Any]) -> Sequence[str]:
    """Remove a slice; return the kinds of what is gone."""
    number_records(connection, run, 0)  # from here on nobody else changes records
    columns = schema.record.c
    # Named one by one: of a query, PostgreSQL may do all for each record of a run that it has no statistics of.
    seqs = connection.execute(select(which.limit(SLICE).subquery().c.seq)).scalars().all()
    gone = delete(schema.record).where(schema.all_of_run() == f"{run}/all", columns.seq.in_(seqs))
    return connection.execute(gone.returning(columns.kind)).scalars().all() if seqs else []


def _others(run: str, limit: float) -> Select[Any]:
    columns = schema.record.c
    over = (schema.expiring_of_run() == f"{run}/over", columns.expires_at < limit)
    return select(columns.seq, columns.kind).where(*over, columns.kind != Kind.RESERVATION.value)


def _reservations(run: str, limit: float) -> Select[Any]:
    """Return the query of reservations that were deleted, lapsed in spite of heartbeats, or were released."""
    over, held = schema.record.alias("over"), schema.record.alias("held")
    mine = (schema.expiring_of_run(over) == f"{run}/over", over.c.expires_at < limit)
    lapsed = or_(over.c.deleted, func.coalesce(beat_until(over), 0.0) < limit)
    # From releases that are over to what they ended, by the primary key: there are fewer of them than reservations.
    same = (held.c.run == over.c.run, held.c.kind == Kind.RESERVATION.value, held.c.key == over.c.key)
    ended = (held.c.agent == over.c.agent, held.c.seq < over.c.seq)
    seq = select(held.c.seq).where(*same, *ended).correlate(over).scalar_subquery().label("seq")
    released = select(seq).where(*mine, over.c.kind == Kind.RELEASE.value, ~over.c.deleted).subquery()
    found = union(
        select(over.c.seq).where(*mine, over.c.kind == Kind.RESERVATION.value, lapsed),
        select(released.c.seq).where(released.c.seq.is_not(None)),
    ).subquery()
    return select(found.c.seq, literal(Kind.RESERVATION.value).label("kind"))
