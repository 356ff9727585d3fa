"""What depends on what: read from records by recursion in the database, put in order here, and refused in a circle."""

from __future__ import annotations

import graphlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, Text, cast, column, func, literal, or_, select, true
from sqlalchemy.dialects.postgresql import JSON

from pytest_spip.errors import UsageProblem
from pytest_spip.hosts import schema
from pytest_spip.hosts.database import Database, clock
from pytest_spip.hosts.record_kinds import DEPENDS_ON, Kind

__all__ = ["check_dependencies", "dependency_closure"]


def dependency_closure(database: Database, run: str, key: str) -> list[str]:
    """Return all that a key depends on, directly or not, each behind what it depends on itself."""
    graph = database.run(lambda connection: _reachable(connection, run, [key]))
    return [name for name in graphlib.TopologicalSorter(graph).static_order() if name != key]


def check_dependencies(connection: Connection, run: str, keys: Sequence[str]) -> None:
    """Raise ``UsageProblem`` where one of the keys depends on itself by way of others; the run's numbers must be held.

    A circle that is new goes through a key that was written, so what those lead to is all that has to be looked at.
    """
    try:
        graphlib.TopologicalSorter(_reachable(connection, run, keys)).prepare()
    except graphlib.CycleError as error:
        # graphlib names each before what depends on it.
        circle = list(reversed(error.args[1]))
        what = f"would depend on itself: {_path(circle)}"
        raise UsageProblem(f"dependency {circle[0][:80]!r}", what, "leave one of them out") from None


def _path(names: Sequence[str]) -> str:
    shown = [*names[:5], "...", names[-1]] if len(names) > 7 else names
    return " -> ".join(name[:80] for name in shown)


def _reachable(connection: Connection, run: str, keys: Iterable[str]) -> Mapping[str, Sequence[str]]:
    """Return what each key depends on, of those given and of all that they lead to."""
    statement = _walk(connection.dialect.name, run, list(keys))
    return {key: json.loads(body)[DEPENDS_ON] for key, body in connection.execute(statement) if body is not None}


def _walk(dialect: str, run: str, keys: Sequence[str]) -> Select[Any]:
    """Return the query of all that keys lead to, themselves included, with their bodies; NULL for what depends on nothing."""
    columns = schema.record.c
    same = (columns.run == run, columns.kind == Kind.DEPENDENCY.value)
    reached = select(columns.key).where(*same, columns.key.in_(keys)).cte("reached", recursive=True)
    valid = (~columns.deleted, or_(columns.expires_at.is_(None), columns.expires_at > clock()))
    # By the primary key, as a subquery: a join may become a walk along all dependencies for each step.
    body = select(columns.body).where(*same, columns.key == reached.c.key, *valid)
    listed = _listed(dialect, body.correlate(reached).scalar_subquery())
    reached = reached.union(select(cast(listed.c.value, Text)).select_from(reached.join(listed, true())))
    found = select(columns.body).where(*same, columns.key == reached.c.key, *valid).correlate(reached).scalar_subquery()
    return select(reached.c.key, found)


def _listed(dialect: str, body: Any) -> Any:
    """Return the keys of a body's list, as a table that is made anew for each row."""
    if dialect == "postgresql":
        keys = func.json_array_elements_text(cast(body, JSON)[DEPENDS_ON])
        return keys.table_valued(column("value", Text)).render_derived().lateral()
    return func.json_each(body, literal(f"$.{DEPENDS_ON}")).table_valued("value")
