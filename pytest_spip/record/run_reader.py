"""Reads ``run.sqlite``: the workers by ordinal while a run goes on, the reports when it is over."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_spip.model import Combo, Disagreement, Interpreter, Outcome, Provisioned, ReleaseFacts, Result, RunFacts
from pytest_spip.record.rows import combo, interpreter, provisioned, result
from pytest_spip.record.rundb import ELSEWHERE, PAGES

__all__ = ["RunReader"]

MANY = 1000
"""Rows that are read at once."""
PACE = """
WITH last AS (SELECT session AS number, max(at) AS at FROM ledger GROUP BY session),
lasting AS (SELECT coalesce(seconds, max(at - began, 0), 0) AS lasted, * FROM session LEFT JOIN last USING (number))
SELECT coalesce(sum(lasted), 0), coalesce(sum(lasted) FILTER (WHERE cpu IS NOT NULL), 0),
    coalesce(sum(lasted * cpu), 0), coalesce(sum(lasted * iowait), 0) FROM lasting
"""
COMBOS = (
    "SELECT ordinal, package, version, interpreter, label, extras, plan_verdict, others, resolution, exact FROM plan"
)
SELECTED = """
SELECT count(*), count(*) FILTER (WHERE ordinal NOT IN (SELECT ordinal FROM ledger)) FROM plan
WHERE ordinal NOT IN (SELECT ordinal FROM deselected)
"""


class RunReader:
    """Reads a run's database. Safe to use from many threads."""

    def __init__(self, path: Path) -> None:
        place = f"{path.absolute().as_uri()}?mode=ro"
        self._connection = sqlite3.connect(place, uri=True, timeout=30, check_same_thread=False)
        self._connection.execute(PAGES)
        self._lock = threading.Lock()

    def version(self) -> int | None:
        """Return the schema that the run was written in, or None where nothing was planned."""
        ((tables,),) = self._rows("SELECT count(*) FROM sqlite_master")
        ((version,),) = self._rows("PRAGMA user_version")
        return version if tables else None

    def facts(self) -> RunFacts:
        """Return what is known of the run as a whole. Raises ``KeyError``."""
        return RunFacts.from_plain({key: json.loads(value) for key, value in self._rows("SELECT key, value FROM run")})

    def interpreters(self) -> tuple[Interpreter, ...]:
        """Return the interpreters in the plan's order."""
        plain = [json.loads(facts) for (facts,) in self._rows("SELECT facts FROM interpreter ORDER BY rowid")]
        return tuple(interpreter(facts) for facts in plain)

    def releases(self) -> tuple[ReleaseFacts, ...]:
        """Return what the index said of the releases of the plan."""
        rows = self._rows("SELECT package, version, requires_python, yanked FROM release")
        return tuple(ReleaseFacts(package, version, python, bool(yanked)) for package, version, python, yanked in rows)

    def combos(self, session: int = 0) -> tuple[Combo, ...]:
        """Return the plan, or what a session has to do of it, whatever that session has done since it began."""
        rows = self._rows(
            f"{COMBOS} WHERE ?1 = 0 OR ordinal NOT IN"  # noqa: S608  # our own words
            " (SELECT ordinal FROM ledger WHERE session < ?1"
            " UNION ALL SELECT ordinal FROM deselected WHERE elsewhere OR ?1 > 1) ORDER BY ordinal",
            session,
        )
        return tuple(combo(row) for row in rows)

    def combo(self, ordinal: int) -> Combo:
        """Return a combination of the plan; raises ``LookupError``."""
        for row in self._rows(f"{COMBOS} WHERE ordinal=?", ordinal):
            return combo(row)
        raise LookupError(f"the plan has no combination {ordinal}")

    def is_complete(self) -> bool:
        """Return True if every combination has its verdict, but those that the user left out."""
        judged = "SELECT ordinal FROM ledger UNION ALL SELECT ordinal FROM deselected"
        return not self._rows(f"SELECT 1 FROM plan WHERE ordinal NOT IN ({judged}) LIMIT 1")  # noqa: S608  # our own words

    def elsewhere(self) -> frozenset[int]:
        """Return the ordinals that other shards run."""
        return frozenset(ordinal for (ordinal,) in self._rows("SELECT ordinal FROM deselected WHERE elsewhere"))

    def deselected(self) -> frozenset[int]:
        """Return the ordinals that the user left out of the run, by ``-k`` and the like, and those that other shards run."""
        return frozenset(ordinal for (ordinal,) in self._rows("SELECT ordinal FROM deselected"))

    def provision(self, ordinal: int) -> Provisioned | None:
        """Return what provisioning made of a combination; None when it is not done."""
        for row in self._rows("SELECT * FROM provision WHERE ordinal=?", ordinal):
            return provisioned(*row)
        return None

    def results(self) -> dict[int, Result]:
        """Return the ledger, by ordinal. Phases are telemetry and not in it."""
        return {row[0]: result(row) for row in self._each("SELECT * FROM ledger ORDER BY ordinal")}

    def judged_here(self) -> list[tuple[Result, bool]]:
        """Return the results of this host, with whether each fails the run."""
        rows = self._rows("SELECT * FROM ledger WHERE session != ? ORDER BY ordinal", ELSEWHERE)
        return [(result(row), bool(row[-1])) for row in rows]

    def counts(self) -> dict[Outcome, int]:
        """Return how many combinations ended with each outcome that there is."""
        return {Outcome(name): count for name, count in self._rows("SELECT outcome, count(*) FROM ledger GROUP BY 1")}

    def selected(self) -> tuple[int, int]:
        """Return how many combinations the user did not leave out, and how many of them have no verdict."""
        ((planned, missing),) = self._rows(SELECTED)
        return planned, missing

    def failing(self) -> bool:
        """Return True if a verdict in the ledger fails the run."""
        return bool(self._rows("SELECT 1 FROM ledger WHERE failing LIMIT 1"))

    def provisioned(self) -> Iterator[Provisioned]:
        """Yield what provisioning made of the combinations that have no verdict yet."""
        rows = self._rows("SELECT * FROM provision WHERE ordinal NOT IN (SELECT ordinal FROM ledger)")
        return (provisioned(*row) for row in rows)

    def pace(self) -> tuple[float, float, float]:
        """Return the seconds in which combinations ran, all sessions together, and mean shares of CPU and I/O-wait.

        A session that was killed lasted until its last verdict, and has no part in the means.
        """
        (row,) = self._rows(PACE)
        seconds, measured, cpu, iowait = row
        return seconds, cpu / measured if measured else 0.0, iowait / measured if measured else 0.0

    def last_session(self) -> tuple[float, float, int]:
        """Return when the last session began, in seconds since the epoch, how long it ran combinations, and how many it judged."""
        judged = "SELECT count(*) FROM ledger WHERE session = number"
        ((began, seconds, count),) = self._rows(
            f"SELECT began, seconds, ({judged}) FROM session ORDER BY number DESC LIMIT 1"  # noqa: S608  # our own words
        )
        return began, seconds or 0.0, count

    def phases(self) -> dict[str, float]:
        """Return seconds per phase, summed over all processes."""
        return dict(self._rows("SELECT phase, sum(seconds) FROM phase GROUP BY phase"))

    def work(self) -> dict[str, int]:
        """Return how much was really done rather than found: resolved, downloaded, built, filed."""
        return dict(self._rows("SELECT what, sum(count) FROM work GROUP BY what"))

    def disagreements(self) -> tuple[Disagreement, ...]:
        """Return where the warm and the cold runner did not agree."""
        rows = self._rows("SELECT ordinal, warm, cold FROM disagreement JOIN plan USING (ordinal) ORDER BY ordinal")
        return tuple(Disagreement(*row) for row in rows)

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def _each(self, query: str) -> Iterator[Any]:
        """Yield rows of which there may be more than are to be in memory at once, all of one moment.

        Until the last one, all else is read as of that moment too.
        """
        with self._lock:
            cursor = self._connection.execute(query)
        while rows := self._some(cursor):
            yield from rows

    def _some(self, cursor: sqlite3.Cursor) -> list[Any]:
        with self._lock:
            return cursor.fetchmany(MANY)

    def _rows(self, query: str, *parameters: object) -> list[Any]:
        with self._lock:
            return self._connection.execute(query, parameters).fetchall()
