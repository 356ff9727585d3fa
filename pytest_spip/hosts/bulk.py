"""Many rows at once, by the way that each engine is fast with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import ARRAY, Column, ColumnElement, Connection, Table, any_, bindparam, func, insert, select, text

from pytest_spip.hosts import schema
from pytest_spip.hosts.texts import stored

__all__ = ["among", "in_slices", "insert_rows", "insert_tasks"]

ROWS = 5000
"""Rows of one statement, where there is no stream."""

_T = TypeVar("_T")


def in_slices(items: Iterable[_T], size: int) -> Iterator[Sequence[_T]]:
    """Yield items in order, in lists of at most ``size``."""
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part


def among(connection: Connection, column: Column[int], numbers: Iterable[int]) -> ColumnElement[bool]:
    """Return the condition that a column's number is one of some, which are one parameter, however many there are."""
    listed = list(numbers)
    if connection.dialect.name == "postgresql":
        return column == any_(bindparam(None, listed, type_=ARRAY(column.type, dimensions=1)))
    return column.in_(select(func.json_each(json.dumps(listed)).table_valued("value").c.value))


def insert_rows(connection: Connection, table: Table, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Insert rows, whose values stand in the order of the columns' names; no column is left to a default of ours."""
    if connection.dialect.name != "postgresql":
        for part in in_slices(rows, ROWS):
            connection.execute(insert(table), [dict(zip(names, row, strict=True)) for row in part])
        return
    cursor = connection.connection.cursor()
    with cursor.copy(f"COPY {table.name} ({', '.join(names)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row([stored(one) if isinstance(one, str) else one for one in row])


def insert_tasks(connection: Connection, run: str, tasks: Iterable[tuple[int, float]]) -> None:
    """Insert a run's tasks, pairs of ordinal and cost, ranked as they come."""
    rows = ((run, ordinal, rank, cost) for rank, (ordinal, cost) in enumerate(tasks))
    insert_rows(connection, schema.task, ("run", "ord", "rank", "cost"), rows)
    if connection.dialect.name == "postgresql":
        connection.execute(text("ANALYZE spip_task"))
