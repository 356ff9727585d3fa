"""Records in bulk: a batch as one parameter, in the way that each engine reads one, and the statement that writes it."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Double,
    Text,
    and_,
    bindparam,
    cast,
    column,
    exists,
    false,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from pytest_spip.hosts import schema
from pytest_spip.hosts.database import clock
from pytest_spip.hosts.record_kinds import Pushed, Row
from pytest_spip.hosts.texts import AnyText

__all__ = ["number_records", "upsert_rows"]

NAMES = ["run", "seq", "kind", "key", "agent", "body", "expires_at", "deleted"]
COLUMNS = (("seq", BigInteger), ("kind", Text), ("key", Text), ("agent", Text), ("body", Text), ("ttl", Double))


def number_records(connection: Connection, run: str, count: int) -> int:
    """Take ``count`` numbers of a run, and return the first. Whoever comes next waits until this transaction ends.

    That makes the order of numbers that of commits: who has seen a number has seen all below. A sequence of the database's
    would not, for its numbers are given before transactions end, in any order.
    """
    given = {"which": run, "count": count}
    after = connection.execute(_number_statement(), given).scalar_one_or_none()
    if after is None:
        values = {"run": run, "plan_hash": "", "size": 0, "facts": "{}", "created": clock(), "next_seq": 1}
        maker = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        connection.execute(maker(schema.run).values(**values).on_conflict_do_nothing())
        after = connection.execute(_number_statement(), given).scalar_one()
    return int(after) - count


@functools.cache
def _number_statement() -> Any:
    runs = schema.run
    take = update(runs).where(runs.c.run == bindparam("which", type_=AnyText))
    return take.values(next_seq=runs.c.next_seq + bindparam("count")).returning(runs.c.next_seq)


def upsert_rows(connection: Connection, run: str, rows: Sequence[Row]) -> Pushed:
    """Write rows, of which no two have one kind and key; their order is that of their numbers."""
    if not rows:
        return Pushed()
    first = number_records(connection, run, len(rows))
    names = [name for name, _ in COLUMNS]
    numbered = [dict(zip(names, (seq, *row), strict=True)) for seq, row in enumerate(rows, first)]
    if connection.dialect.name == "postgresql":
        there, written = _write_to_server(connection, run, numbered)
    else:
        there, written = _write_to_file(connection, run, numbered)
    # What is there and alive is either written anew or left as it was.
    skipped = len(rows) - written
    return Pushed(inserted=len(rows) - there, updated=there - skipped, skipped=skipped)


Numbered = Sequence[dict[str, Any]]
"""Rows with their numbers, by the names of :data:`COLUMNS`."""


def _write_to_server(connection: Connection, run: str, rows: Numbered) -> tuple[int, int]:
    """Write rows; return how many were there alive, and how many were written."""
    given = {"run": run, "rows": json.dumps(rows, ensure_ascii=False)}
    there, written = connection.execute(_server_statement(), given).one()
    return there, written


@functools.cache
def _server_statement() -> Any:
    """Return a statement that writes all of a batch, which is one text of JSON: it is the same for all batches."""
    rows = cast(bindparam("rows", type_=Text), postgresql.JSON)
    names = [column(name, kind) for name, kind in COLUMNS]
    given = func.json_to_recordset(rows).table_valued(*names).render_derived(with_types=True)
    batch = select(given).cte("batch").prefix_with("MATERIALIZED")  # read once
    cells = batch.c
    values = (cells.seq, cells.kind, cells.key, cells.agent, cells.body, clock() + cells.ttl, false())
    insert = postgresql.insert(schema.record).from_select(NAMES, select(bindparam("run", type_=AnyText), *values))
    written = _replacing(insert).returning(schema.record.c.seq).cte("written")
    records = schema.record.c
    same = and_(records.run == bindparam("run"), records.kind == cells.kind, records.key == cells.key)
    # A subquery and no join, which may walk along all records. Parts of one statement do not see what another part writes.
    found = select(literal(1)).where(same, ~records.deleted).correlate(batch).scalar_subquery()
    there = select(func.count()).select_from(batch).where(found.is_not(None))
    return select(there.scalar_subquery(), select(func.count()).select_from(written).scalar_subquery())


def _write_to_file(connection: Connection, run: str, rows: Numbered) -> tuple[int, int]:
    """Write rows; return how many were there alive, and how many were written."""
    records = schema.record.c
    keys = json.dumps([(row["kind"], row["key"]) for row in rows], ensure_ascii=False)
    there = connection.execute(_there_statement(), {"run": run, "keys": keys}).scalar_one()
    connection.execute(_file_statement(), [{"run": run, **row} for row in rows])
    mine = select(func.count()).where(schema.all_of_run() == f"{run}/all", records.seq >= rows[0]["seq"])
    return int(there), int(connection.execute(mine).scalar_one())


@functools.cache
def _file_statement() -> Any:
    given = {name: bindparam(name, type_=kind) for name, kind in COLUMNS}
    ttl = given.pop("ttl")
    values = {"run": bindparam("run", type_=AnyText), **given, "expires_at": clock() + ttl, "deleted": false()}
    return _replacing(sqlite.insert(schema.record).values(**values))


@functools.cache
def _there_statement() -> Any:
    """Return a query that counts keys: not by a join, for SQLite would walk along the records, and look for each in the keys."""
    keys = func.json_each(bindparam("keys", type_=Text)).table_valued("value")
    kind, key = (cast(func.json_extract(keys.c.value, f"$[{place}]"), Text) for place in range(2))
    records = schema.record.c
    same = and_(records.run == bindparam("run"), records.kind == kind, records.key == key, ~records.deleted)
    return select(func.count()).select_from(keys).where(exists(select(1).where(same)))


def _replacing(insert: Any) -> Any:
    """Have an insertion replace a record that differs, and leave one that does not."""
    records, new = schema.record.c, insert.excluded
    changed = or_(
        records.deleted,
        records.body != new.body,
        records.agent != new.agent,
        records.expires_at.is_distinct_from(new.expires_at),
    )
    replaced = {name: new[name] for name in NAMES if name not in ("run", "kind", "key")}
    return insert.on_conflict_do_update(index_elements=["run", "kind", "key"], set_=replaced, where=changed)
