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
    case,
    cast,
    column,
    exists,
    false,
    func,
    literal,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from pytest_spip.hosts import schema
from pytest_spip.hosts.database import clock
from pytest_spip.hosts.record_kinds import Pushed, Row
from pytest_spip.hosts.texts import AnyText

__all__ = ["number_records", "upsert_rows"]

COLUMNS = (("seq", BigInteger), ("kind", Text), ("key", Text), ("agent", Text), ("body", Text), ("ttl", Double))


def number_records(connection: Connection, run: str, count: int) -> int:
    """Take ``count`` numbers of a run, and return the first. Whoever comes next waits until this transaction ends.

    That makes the order of numbers that of commits: who has seen a number has seen all below. A sequence of the database's
    would not, for its numbers are given before transactions end, in any order.
    """
    runs = schema.run
    take = update(runs).where(runs.c.run == run).values(next_seq=runs.c.next_seq + count).returning(runs.c.next_seq)
    after = connection.execute(take).scalar_one_or_none()
    if after is None:
        values = {"run": run, "plan_hash": "", "size": 0, "facts": "{}", "created": clock(), "next_seq": 1}
        maker = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        connection.execute(maker(runs).values(**values).on_conflict_do_nothing())
        after = connection.execute(take).scalar_one()
    return int(after) - count


def upsert_rows(connection: Connection, run: str, rows: Sequence[Row]) -> Pushed:
    """Write rows, of which no two have one kind and key; their order is that of their numbers."""
    if not rows:
        return Pushed()
    first = number_records(connection, run, len(rows))
    names = [name for name, _ in COLUMNS]
    numbered = [dict(zip(names, (seq, *row), strict=True)) for seq, row in enumerate(rows, first)]
    dialect = connection.dialect.name
    given = {"run": run, "rows": json.dumps(numbered, ensure_ascii=False)}
    there = int(connection.execute(_count_there(dialect), given).scalar_one())
    written = len(connection.execute(_upsert(dialect), given).all())
    _keep_statistics(connection, first, first + len(rows))
    # What is there and alive is either written anew or left as it was.
    skipped = len(rows) - written
    return Pushed(inserted=len(rows) - there, updated=there - skipped, skipped=skipped)


def _keep_statistics(connection: Connection, first: int, after: int) -> None:
    """Have PostgreSQL count rows whenever a run has twice the records: it does so by itself too, minutes later.

    Until then it takes any index that begins with run and kind for as good as the one that leads to a single record.
    """
    if connection.dialect.name == "postgresql" and first.bit_length() != after.bit_length():
        connection.execute(text("ANALYZE spip_record"))


def _batch(dialect: str) -> Any:
    """Return a batch, which comes as one text of JSON, as a table: the statement is the same for all batches."""
    rows = bindparam("rows", type_=Text)
    if dialect == "postgresql":
        names = [column(name, kind) for name, kind in COLUMNS]
        return func.json_to_recordset(cast(rows, postgresql.JSON)).table_valued(*names).render_derived(with_types=True)
    each = func.json_each(rows).table_valued("value")
    cells: list[Any] = [cast(func.json_extract(each.c.value, f"$.{name}"), kind).label(name) for name, kind in COLUMNS]
    return select(*cells).subquery()


@functools.cache
def _count_there(dialect: str) -> Any:
    batch, records = _batch(dialect), schema.record.c
    same = and_(records.run == bindparam("run"), records.kind == batch.c.kind, records.key == batch.c.key)
    # Not a join: SQLite would walk along the records, and look for each in the batch.
    return select(func.count()).select_from(batch).where(exists(select(1).where(same, ~records.deleted)))


@functools.cache
def _upsert(dialect: str) -> Any:
    batch, records = _batch(dialect), schema.record.c
    expires_at = case((batch.c.ttl.is_(None), None), else_=clock() + batch.c.ttl)
    names = ["run", "seq", "kind", "key", "agent", "body", "expires_at", "deleted"]
    cells = batch.c
    values = (cells.seq, cells.kind, cells.key, cells.agent, cells.body, expires_at, false())
    # SQLite takes ON CONFLICT for a join's ON where no WHERE comes before it.
    rows = select(bindparam("run", type_=AnyText), *values).where(cells.seq > literal(0))
    maker = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = maker(schema.record).from_select(names, rows)
    new = statement.excluded
    changed = or_(
        records.deleted,
        records.body != new.body,
        records.agent != new.agent,
        records.expires_at.is_distinct_from(new.expires_at),
    )
    replaced = {name: new[name] for name in names if name not in ("run", "kind", "key")}
    return statement.on_conflict_do_update(
        index_elements=["run", "kind", "key"], set_=replaced, where=changed
    ).returning(records.seq)
