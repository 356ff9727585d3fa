"""One worker's telemetry: its own SQLite file, written in transactions of five seconds, merged at the end of the run."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

from pytest_spip.common.waits import ENDING
from pytest_spip.model import Disagreement, Span
from pytest_spip.record.host import Host
from pytest_spip.record.rundb import PAGES, connect
from pytest_spip.record.timeline import TABLES

__all__ = ["Telemetry"]

BATCH = 5.0
"""Seconds between two transactions; also between two samples."""
KEPT = 100_000
"""Spans kept at most while the file refuses them; the oldest go first."""
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS run (test_run_uuid TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS disagreement (ordinal INTEGER, warm TEXT, cold TEXT);
{TABLES}
"""


class Telemetry:
    """Collects spans and samples in memory; a thread of its own writes them, so that no combination waits for a disk.

    Where ``room`` names the directory of environments the machine is sampled too. What cannot be written is tried again
    with the next batch, and given up at the end: no verdict is lost over telemetry.
    """

    def __init__(self, path: Path, worker: str, run: str, *, room: Path | None = None) -> None:
        self._worker = worker
        self._path, self._run = path, run
        self._connection: sqlite3.Connection | None = None
        with contextlib.suppress(sqlite3.Error):  # a disk may be full now, and have room later
            self._open()
        self._entering = threading.Lock()  # held for a moment only, never while a disk is waited for
        self._spans: list[tuple[int | None, str, str, float, float]] = []
        self._samples: list[tuple[str, float, float, int]] = []
        self._hosts: list[tuple[Any, ...]] = []
        self._disagreements: list[tuple[int, str, str]] = []
        self._process = psutil.Process()
        self._host = Host(room) if room else None
        self._sample_process()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write_regularly, name="telemetry", daemon=True)
        self._thread.start()

    def spans(self, ordinal: int | None, spans: Iterable[Span]) -> None:
        """Record what time was spent on, for one combination or, where it is None, for none."""
        rows = [(ordinal, self._worker, span.phase, span.at, span.seconds) for span in spans]
        with self._entering:
            self._spans += rows

    def disagreement(self, event: Disagreement) -> None:
        """Record that the warm and the cold runner did not agree."""
        with self._entering:
            self._disagreements.append((event.ordinal, event.warm, event.cold))

    def close(self) -> None:
        """Take a last sample, write what can be written, and close the file."""
        self._ended.set()
        self._thread.join(ENDING)
        if self._thread.is_alive():  # its disk does not answer
            return
        self._sample()
        self._write()
        if self._connection:
            self._connection.close()

    def _open(self) -> sqlite3.Connection:
        """Return the file, made when it is written first. Raises ``sqlite3.Error``."""
        if self._connection is None:
            with contextlib.ExitStack() as undo:
                connection = connect(self._path)
                undo.callback(connection.close)
                connection.execute(PAGES)
                connection.executescript(SCHEMA)
                connection.execute("INSERT OR IGNORE INTO run VALUES (?)", (self._run,))
                undo.pop_all()
            self._connection = connection
        return self._connection

    def _write_regularly(self) -> None:
        while not self._ended.wait(BATCH):
            self._sample()
            self._write()

    def _sample(self) -> None:
        self._sample_process()
        if self._host:
            with contextlib.suppress(OSError):  # the room may be gone when a run is given up
                self._hosts.append(dataclasses.astuple(self._host.sample()))

    def _sample_process(self) -> None:
        self._samples.append((self._worker, time.time(), time.process_time(), self._process.memory_info().rss))

    def _write(self) -> None:
        with self._entering:
            spans, samples, hosts = list(self._spans), list(self._samples), list(self._hosts)
            events = list(self._disagreements)
        try:
            with self._open() as connection:  # commits, or rolls back
                connection.execute("BEGIN")
                connection.executemany("INSERT INTO phase VALUES (?, ?, ?, ?, ?)", spans)
                connection.executemany("INSERT INTO sample VALUES (?, ?, ?, ?)", samples)
                connection.executemany("INSERT INTO host VALUES (?, ?, ?, ?, ?, ?, ?, ?)", hosts)
                connection.executemany("INSERT INTO disagreement VALUES (?, ?, ?)", events)
        except sqlite3.Error:
            with self._entering:
                del self._spans[:-KEPT]
            return
        with self._entering:
            del self._spans[: len(spans)], self._disagreements[: len(events)]
        del self._samples[: len(samples)], self._hosts[: len(hosts)]
