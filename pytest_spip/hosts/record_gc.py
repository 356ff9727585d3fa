"""Removes records that are over: those that expired, were deleted or released, once everybody has had time to see it."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Double, Select, bindparam, delete, func, literal, or_, select, union, union_all

from pytest_spip.errors import UsageProblem
from pytest_spip.hosts import schema
from pytest_spip.hosts.database import clock
from pytest_spip.hosts.record_kinds import Kind
from pytest_spip.hosts.record_rows import number_records
from pytest_spip.hosts.records import Records
from pytest_spip.hosts.reservations import beat_until

__all__ = ["GRACE", "SLICE", "collect_records", "over_by_kind", "parameters"]

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
    for statement, expected in (
        (_slice(of_reservations=True), over.get(Kind.RESERVATION)),
        (_slice(of_reservations=False), over.keys() - {Kind.RESERVATION}),
    ):
        is_full = bool(expected)
        while is_full:
            gone = records.database.run(
                lambda connection, statement=statement: _remove(connection, records.run, statement, limit)  # type: ignore[misc]
            )
            removed.update(gone)
            is_full = len(gone) == SLICE
    return _by_kind(removed)


def _by_kind(found: Mapping[str, int]) -> dict[Kind, int]:
    return {kind: found[kind.value] for kind in Kind if found.get(kind.value)}


def _count(connection: Connection, run: str, grace: float) -> tuple[float, dict[str, int]]:
    """Return the moment before which the grace is over, and how many records of each kind were over then."""
    limit = float(connection.execute(select(clock())).scalar_one()) - grace
    counted = connection.execute(over_by_kind(), parameters(run, limit))
    return limit, {kind: number for kind, number in counted}  # noqa: C416  # a result is no sequence of pairs for dict()


def _remove(connection: Connection, run: str, which: Any, limit: float) -> Sequence[str]:
    """Remove a slice; return the kinds of what is gone."""
    number_records(connection, run, 0)  # from here on nobody else changes records
    columns = schema.record.c
    # Named one by one: of a query, PostgreSQL may do all for each record of a run that it has no statistics of.
    seqs = connection.execute(which, parameters(run, limit)).scalars().all()
    gone = delete(schema.record).where(schema.all_of_run() == f"{run}/all", columns.seq.in_(seqs))
    return connection.execute(gone.returning(columns.kind)).scalars().all() if seqs else []


def parameters(run: str, limit: float) -> dict[str, Any]:
    """Return the parameters of what is over in a run before a moment."""
    return {"place": f"{run}/over", "moment": limit}


@functools.cache
def over_by_kind() -> Any:
    """Return the query that counts what is over, by kind."""
    over = union_all(_reservations(), _others()).subquery()
    return select(over.c.kind, func.count()).group_by(over.c.kind)


@functools.cache
def _slice(*, of_reservations: bool) -> Any:
    which = _reservations() if of_reservations else _others()
    return select(which.limit(SLICE).subquery().c.seq)


def _others() -> Select[Any]:
    columns = schema.record.c
    over = (schema.expiring_of_run() == bindparam("place"), columns.expires_at < bindparam("moment"))
    return select(columns.seq, columns.kind).where(*over, columns.kind != Kind.RESERVATION.value)


def _reservations() -> Select[Any]:
    """Return the query of reservations that were deleted, lapsed in spite of heartbeats, or were released."""
    over, held = schema.record.alias("over"), schema.record.alias("held")
    moment = bindparam("moment", type_=Double)
    mine = (schema.expiring_of_run(over) == bindparam("place"), over.c.expires_at < moment)
    lapsed = or_(over.c.deleted, func.coalesce(beat_until(over), 0.0) < moment)
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
