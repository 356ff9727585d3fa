"""How PostgreSQL finds records of a run that it has no statistics of: by their keys, and never by all of the run."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from pytest_spip.hosts import dependencies, record_gc, reservations
from pytest_spip.hosts.database import Database
from pytest_spip.hosts.record_kinds import Kind, Record
from pytest_spip.hosts.records import Records
from pytest_spip.hosts.server import PostgresServer
from pytest_spip.hosts.urls import parse_url
from tests.support.postgres import databases
from tests.support.shared_database import rows_read


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> Iterator[Database]:
    """Return a database with statistics of one run, and as many records of another that came later."""
    with (
        databases(postgres) as address,
        contextlib.closing(Database(parse_url("address", address, Path.cwd()))) as made,
    ):
        for run in ("old", "new"):
            kinds = [Kind.RESERVATION, Kind.RELEASE, Kind.HEARTBEAT, Kind.DEPENDENCY]
            pushed = (Record(kind, f"{n}", {"on": [f"{n + 1}"]}, 0, f"{n}") for n in range(500) for kind in kinds)
            Records(made, run, "alice").push(pushed)
            if run == "old":
                made.run(lambda connection: connection.execute(text("ANALYZE spip_record")))
        yield made


def held(key: str | None) -> Any:
    """Return the query of what is held."""
    statement, values = reservations.active_ones("new", key, "", None)
    return statement.params(values)


QUERIES = {
    "active": held(None),
    "holder": held("7"),
    "over": record_gc.over_by_kind().params(record_gc.parameters("new", 2e9)),
    "closure": dependencies._walk("postgresql", "new", ["1"]),
}


def nodes(plan: Any) -> Iterator[dict[str, Any]]:
    """Yield all nodes of a plan."""
    if isinstance(plan, list):
        for one in plan:
            yield from nodes(one)
    elif isinstance(plan, dict):
        yield plan
        for one in plan.values():
            yield from nodes(one)


@pytest.mark.parametrize("name", QUERIES)
def test_unknown_runs_are_entered_by_keys(database: Database, name: str) -> None:
    """No record is looked for among those of a whole run: what is compared with a key enters the primary key by it."""
    scans = [node for node in nodes(json.loads(rows_read(database, QUERIES[name]))) if node.get("Relation Name")]
    assert scans
    assert [scan for scan in scans if re.search(r"\bkey = ", scan.get("Filter", ""))] == []
    assert [scan for scan in scans if scan["Node Type"] == "Seq Scan"] == []
    looked_up = [scan for scan in scans if scan["Actual Loops"] > 1]
    assert [scan for scan in looked_up if scan["Index Name"] != "spip_record_pkey"] == []
    assert all(re.search(r"\bkey = ", scan["Index Cond"]) for scan in looked_up)
