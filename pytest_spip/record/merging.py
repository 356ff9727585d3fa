"""Makes one ``run.sqlite`` of those of several shards."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_spip.model import CONTROLLER
from pytest_spip.record.rundb import connect, copy_database

__all__ = ["merge_databases"]

NAMED = ("ledger", "phase", "sample")
"""Tables whose rows name a worker: each shard has its own gw0."""
TAKE_IN = (
    "INSERT INTO ledger SELECT * FROM shard.ledger",
    "INSERT OR IGNORE INTO provision SELECT * FROM shard.provision",
    "INSERT INTO session SELECT * FROM shard.session",
    "INSERT INTO disagreement SELECT * FROM shard.disagreement",
    "INSERT INTO work SELECT * FROM shard.work",
    "INSERT INTO phase SELECT * FROM shard.phase ORDER BY rowid",
    "INSERT INTO sample SELECT * FROM shard.sample",
    "INSERT INTO host SELECT * FROM shard.host",
    "INSERT OR IGNORE INTO deselected SELECT * FROM shard.deselected WHERE NOT elsewhere",
)


def merge_databases(target: Path, shards: Sequence[Path], facts: Mapping[str, Any]) -> None:
    """Write the database of a run that has the verdicts and the telemetry of all shards, and these ``facts``.

    The shards are of one plan, and no combination is judged by two of them. Raises ``sqlite3.Error``.
    """
    copies = [target.with_name(f"{target.name}.{number}") for number in range(1, len(shards) + 1)]
    try:
        for number, (shard, copy) in enumerate(zip(shards, copies, strict=True), 1):
            copy_database(shard, copy)
            _set_apart(copy, number, sum(map(_sessions, copies[: number - 1])))
        _join(copies, facts)
        copies[0].replace(target)
    finally:
        for copy in copies:
            for path in target.parent.glob(f"{copy.name}*"):
                path.unlink()


def _set_apart(copy: Path, number: int, sessions: int) -> None:
    """Give a shard's workers and sessions names and numbers that no other shard has."""
    with contextlib.closing(connect(copy)) as database, database:
        database.execute("BEGIN")
        for table in NAMED:
            database.execute(
                f"UPDATE {table} SET worker = ? || worker WHERE worker NOT IN ('', ?)",  # noqa: S608  # our own words
                (f"{number}-", CONTROLLER),
            )
        database.execute("UPDATE session SET number = -(number + ?)", (sessions,))  # by way of numbers that none has
        database.execute("UPDATE session SET number = -number")
        database.execute("UPDATE ledger SET session = session + ?", (sessions,))
        database.execute("COMMIT")
        database.execute("PRAGMA journal_mode=DELETE")


def _sessions(copy: Path) -> int:
    with contextlib.closing(sqlite3.connect(copy)) as database:
        ((count,),) = database.execute("SELECT count(*) FROM session").fetchall()
        return int(count)


def _join(copies: Sequence[Path], facts: Mapping[str, Any]) -> None:
    """Take all shards into the first one."""
    with contextlib.closing(connect(copies[0])) as database:
        database.execute("DELETE FROM deselected WHERE elsewhere")
        for copy in copies[1:]:
            database.execute("ATTACH ? AS shard", (str(copy),))
            database.execute("BEGIN")
            for statement in TAKE_IN:
                database.execute(statement)
            database.execute("COMMIT")
            database.execute("DETACH shard")
        rows = [(key, json.dumps(value)) for key, value in facts.items()]
        database.executemany("INSERT OR REPLACE INTO run VALUES (?, ?)", rows)
        database.execute("PRAGMA journal_mode=DELETE")
