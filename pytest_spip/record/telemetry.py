"""One worker's telemetry: its own SQLite file, written in transactions of five seconds, merged at the end of the run."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from pytest_spip.model import Disagreement
from pytest_spip.record.rundb import connect

__all__ = ["Telemetry", "cpu_times"]

BATCH = 5.0
"""Seconds between two transactions; also between two samples."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS run (test_run_uuid TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS phase (ordinal INTEGER, worker TEXT, phase TEXT, seconds REAL);
CREATE TABLE IF NOT EXISTS disagreement (ordinal INTEGER, warm TEXT, cold TEXT);
CREATE TABLE IF NOT EXISTS sample (
    worker TEXT, at REAL, cpu REAL, iowait REAL, rss INTEGER, available INTEGER
);
"""


class Telemetry:
    """Collects phases and samples in memory; a thread of its own writes them, so that no combination waits for a disk.

    What cannot be written is tried again with the next batch, and given up at the end: no verdict is lost over telemetry.
    """

    def __init__(self, path: Path, worker: str, run: str) -> None:
        self._worker = worker
        self._connection = connect(path)
        self._connection.executescript(SCHEMA)
        self._connection.execute("INSERT OR IGNORE INTO run VALUES (?)", (run,))
        self._entering = threading.Lock()  # held for a moment only, never while a disk is waited for
        self._phases: list[tuple[int, str, str, float]] = []
        self._samples: list[tuple[str, float, float, float, int, int]] = []
        self._disagreements: list[tuple[int, str, str]] = []
        self._process = psutil.Process()
        self._last = cpu_times()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write_regularly, name="telemetry", daemon=True)
        self._thread.start()

    def phases(self, ordinal: int, phases: Mapping[str, float]) -> None:
        """Record seconds per phase of one combination."""
        with self._entering:
            self._phases += [(ordinal, self._worker, phase, seconds) for phase, seconds in phases.items()]

    def disagreement(self, event: Disagreement) -> None:
        """Record that the warm and the cold runner did not agree."""
        with self._entering:
            self._disagreements.append((event.ordinal, event.warm, event.cold))

    def close(self) -> None:
        """Take a last sample, write what can be written, and close the file."""
        self._ended.set()
        self._thread.join()
        self._sample()
        self._write()
        self._connection.close()

    def _write_regularly(self) -> None:
        while not self._ended.wait(BATCH):
            self._sample()
            self._write()

    def _sample(self) -> None:
        times = cpu_times()
        busy, iowait, total = (now - then for now, then in zip(times, self._last, strict=True))
        self._last = times
        share = 1 / total if total > 0 else 0.0  # the kernel's I/O-wait may run backwards, see proc(5)
        rss, available = self._process.memory_info().rss, psutil.virtual_memory().available
        self._samples.append((self._worker, time.time(), busy * share, iowait * share, rss, available))

    def _write(self) -> None:
        with self._entering:
            phases, samples, events = list(self._phases), list(self._samples), list(self._disagreements)
        try:
            with self._connection:  # commits, or rolls back
                self._connection.execute("BEGIN")
                self._connection.executemany("INSERT INTO phase VALUES (?, ?, ?, ?)", phases)
                self._connection.executemany("INSERT INTO sample VALUES (?, ?, ?, ?, ?, ?)", samples)
                self._connection.executemany("INSERT INTO disagreement VALUES (?, ?, ?)", events)
        except sqlite3.Error:
            return
        with self._entering:
            del self._phases[: len(phases)], self._samples[: len(samples)], self._disagreements[: len(events)]


def cpu_times() -> tuple[float, float, float]:
    """Return the machine's busy, I/O-wait and total CPU seconds since boot, all processors together."""
    times = psutil.cpu_times()
    iowait = getattr(times, "iowait", 0.0)
    # guest time is in user time already
    total = sum(
        getattr(times, name, 0.0) for name in ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
    )
    return total - times.idle - iowait, iowait, total
