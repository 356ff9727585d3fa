"""Telemetry at rest: the tables that a worker's file and ``run.sqlite`` share, and what the reports read of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from pytest_spip.model import CONTROLLER, HostSample, Span

__all__ = ["TABLES", "TAKE_IN", "Timeline"]

# A damaged file may hold anything and still be a database: the tables refuse what cannot be true. Texts and blobs are above
# every number, so a range refuses them as well; of NULL it knows nothing.
TABLES = """
CREATE TABLE IF NOT EXISTS phase (
    ordinal INTEGER CHECK (ordinal BETWEEN 0 AND 1e12),
    worker TEXT NOT NULL,
    phase TEXT NOT NULL CHECK (phase NOT GLOB '*[^a-z-]*'),
    at REAL NOT NULL CHECK (at BETWEEN 0 AND 1e11),
    seconds REAL NOT NULL CHECK (seconds BETWEEN -1e9 AND 1e9)
);
CREATE TABLE IF NOT EXISTS sample (
    worker TEXT NOT NULL,
    at REAL NOT NULL CHECK (at BETWEEN 0 AND 1e11),
    cpu_seconds REAL NOT NULL CHECK (cpu_seconds BETWEEN 0 AND 1e9),
    rss INTEGER NOT NULL CHECK (rss BETWEEN 0 AND 1e15)
);
CREATE TABLE IF NOT EXISTS host (
    at REAL NOT NULL CHECK (at BETWEEN 0 AND 1e11),
    cpu REAL NOT NULL CHECK (cpu BETWEEN -1 AND 2),
    iowait REAL NOT NULL CHECK (iowait BETWEEN -1 AND 2),
    available INTEGER NOT NULL CHECK (available BETWEEN 0 AND 1e15),
    room_used INTEGER NOT NULL CHECK (room_used BETWEEN 0 AND 1e18),
    cpu_pressure REAL CHECK (cpu_pressure BETWEEN 0 AND 2),
    io_pressure REAL CHECK (io_pressure BETWEEN 0 AND 2),
    memory_pressure REAL CHECK (memory_pressure BETWEEN 0 AND 2)
);
"""
TAKE_IN = (
    "INSERT INTO phase SELECT ordinal, :worker, phase, at, seconds FROM worker.phase ORDER BY rowid",
    "INSERT INTO sample SELECT :worker, at, cpu_seconds, rss FROM worker.sample",
    "INSERT INTO host SELECT * FROM worker.host",
)
"""Statements that take an attached worker's file in; whose it is its name says, which no damage changes."""

PROVISIONING = """
SELECT phase, at, seconds, ordinal, worker FROM phase WHERE worker = ?
ORDER BY min(at) OVER (PARTITION BY ordinal), ordinal, at
"""
UNTOLD = """
SELECT worker, count(*) FROM (
    SELECT worker, ordinal FROM ledger WHERE runner != '' EXCEPT SELECT worker, ordinal FROM phase WHERE phase = 'run'
) GROUP BY worker ORDER BY worker
"""


class Timeline:
    """Reads a finished run's telemetry. Spans are streamed, for a large run has more than should be held."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)

    def spans(self) -> Iterator[Span]:
        """Yield the workers' spans, each worker's in the order of its time."""
        query = "SELECT phase, at, seconds, ordinal, worker FROM phase WHERE worker != ? ORDER BY rowid"
        return map(Span._make, self._connection.execute(query, (CONTROLLER,)))

    def provisioning(self) -> Iterator[Span]:
        """Yield the spans of provisioning, combination by combination, in the order in which these were begun."""
        return map(Span._make, self._connection.execute(PROVISIONING, (CONTROLLER,)))

    def began(self) -> float:
        """Return the first instant of which anything is recorded."""
        ((first,),) = self._connection.execute("SELECT min(at) FROM phase")
        return float(first or 0.0)

    def provisioned(self) -> float | None:
        """Return when the last combination was provisioned; None where there was nothing to do."""
        query = "SELECT max(at + seconds) FROM phase WHERE worker = ?"
        ((end,),) = self._connection.execute(query, (CONTROLLER,))
        return None if end is None else float(end)

    def host(self) -> list[HostSample]:
        """Return the samples of the machine, in the order of time."""
        return [HostSample(*row) for row in self._connection.execute("SELECT * FROM host ORDER BY at")]

    def processor_share(self, worker: str) -> float:
        """Return the share of one processor that a process of ours used, its children not counted."""
        query = "SELECT max(cpu_seconds) - min(cpu_seconds), max(at) - min(at) FROM sample WHERE worker = ?"
        ((used, passed),) = self._connection.execute(query, (worker,))
        return used / passed if passed else 0.0

    def untold(self) -> dict[str, int]:
        """Return, for workers whose telemetry lacks some, how many combinations they ran that have no span."""
        return dict(self._connection.execute(UNTOLD))

    def close(self) -> None:
        """Close the database."""
        self._connection.close()
