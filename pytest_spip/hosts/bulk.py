"""Many rows at once, by the way that each engine is fast with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from sqlalchemy import Connection, insert, text

from pytest_spip.hosts import schema

__all__ = ["in_slices", "insert_tasks"]

ROWS = 5000
"""Rows of one statement, where there is no stream."""

_T = TypeVar("_T")


def in_slices(items: Iterable[_T], size: int) -> Iterator[Sequence[_T]]:
    """Yield items in order, in lists of at most ``size``."""
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part


def insert_tasks(connection: Connection, run: str, tasks: Iterable[tuple[int, float]]) -> None:
    """Insert a run's tasks, pairs of ordinal and cost, ranked as they come."""
    rows = ((run, ordinal, rank, cost) for rank, (ordinal, cost) in enumerate(tasks))
    if connection.dialect.name == "postgresql":
        cursor = connection.connection.cursor()
        with cursor.copy("COPY spip_task (run, ord, rank, cost) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        connection.execute(text("ANALYZE spip_task"))
        return
    names = ("run", "ord", "rank", "cost")
    for part in in_slices(rows, ROWS):
        connection.execute(insert(schema.task), [dict(zip(names, row, strict=True)) for row in part])
