"""Verdicts of earlier runs that stand for equal experiments: an index of them, and the way back to their rows."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path

from pytest_spip.model import Result
from pytest_spip.record.rows import result
from pytest_spip.record.rundb import VERSION

__all__ = ["ReusableVerdicts", "index_reusable"]

INDEX = "CREATE TABLE known (fingerprint TEXT, interpreter TEXT, run TEXT, ordinal INTEGER, PRIMARY KEY (fingerprint, interpreter))"
SOUND = """
SELECT fingerprint, interpreter, ordinal FROM ledger JOIN plan USING (ordinal)
WHERE fingerprint != '' AND outcome IN ('passed', 'failed', 'crashed') AND reruns = 0
AND ordinal NOT IN (SELECT ordinal FROM disagreement)
"""
"""Verdicts that would come out the same again. What was killed depends on the machine's load, what is flaky on luck."""


def index_reusable(databases: Iterable[Path], index: Path, experiment: str, identities: Mapping[str, str]) -> int:
    """Write an index of the verdicts that runs have of this ``experiment``, on interpreters that are what they were.

    Runs come in the order of preference. Those of another schema or experiment, and what cannot be read, are passed over.
    Return how many verdicts are in the index.
    """
    with contextlib.closing(sqlite3.connect(index)) as known, known:
        known.execute(INDEX)
        for database in databases:
            with contextlib.suppress(sqlite3.Error, ValueError, TypeError, KeyError):  # of a file that is damaged
                rows = _sound(database, experiment, identities)
                known.executemany("INSERT OR IGNORE INTO known VALUES (?, ?, ?, ?)", rows)
        return int(known.execute("SELECT count(*) FROM known").fetchone()[0])


def _sound(database: Path, experiment: str, identities: Mapping[str, str]) -> list[tuple[str, str, str, int]]:
    with contextlib.closing(_opened(database)) as run:
        facts = {key: json.loads(value) for key, value in run.execute("SELECT key, value FROM run")}
        if run.execute("PRAGMA user_version").fetchone() != (VERSION,) or facts["experiment"] != experiment:
            return []
        same = {name for name, identity in identities.items() if facts["identities"].get(name) == identity}
        rows = run.execute(SOUND).fetchall()
        return [(print_, name, str(database), ordinal) for print_, name, ordinal in rows if name in same]


def _opened(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=5)


class ReusableVerdicts:
    """A worker's view of an index that :func:`index_reusable` wrote."""

    def __init__(self, index: Path) -> None:
        self._index = _opened(index)
        self._runs: dict[str, sqlite3.Connection] = {}

    def find(self, fingerprint: str, interpreter: str) -> Result | None:
        """Return the result of an equal experiment, with its own ordinal; None where there is none that can be read."""
        try:
            where = "SELECT run, ordinal FROM known WHERE fingerprint = ? AND interpreter = ?"
            row = self._index.execute(where, (fingerprint, interpreter)).fetchone()
            if not row:
                return None
            run = self._runs[row[0]] = self._runs.get(row[0]) or _opened(Path(row[0]))
            kept = run.execute(
                "SELECT * FROM ledger WHERE ordinal = ? AND fingerprint = ?", (row[1], fingerprint)
            ).fetchone()
            return result(kept) if kept else None
        except (sqlite3.Error, ValueError, TypeError):  # the run was removed, or is damaged: run the combination
            return None

    def close(self) -> None:
        """Close the databases."""
        for connection in (self._index, *self._runs.values()):
            connection.close()
