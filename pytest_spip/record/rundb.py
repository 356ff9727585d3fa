"""``run.sqlite``: the frozen plan, what provisioning made, and the ledger with one verdict per combination.

A run may take several sessions. Each has a number, which the ledger's rows bear: what a session has to do is the plan
without what earlier sessions judged, and stays the same while its own verdicts come in.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_spip.common.waits import ENDING
from pytest_spip.model import (
    CONTROLLER,
    Plan,
    Provisioned,
    Result,
    RunFacts,
)
from pytest_spip.record.rows import (
    combo_row,
    interpreter_row,
    ledger_row,
    provisioned_row,
    release_row,
)
from pytest_spip.record.schema import SCHEMA, VERSION
from pytest_spip.record.timeline import TABLES, TAKE_IN
from pytest_spip.record.views import VIEWS

__all__ = ["ELSEWHERE", "PAGES", "VERSION", "DatabaseError", "RunWriter", "connect", "copy_database"]

DatabaseError = sqlite3.Error
"""What reading and writing may raise."""
ENTER = "INSERT OR IGNORE INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
ELSEWHERE = 0
"""Stands for the session in which another host has judged."""
FLUSH = 0.5
"""Seconds after which a verdict is durable, half of what is promised."""
PAGES = "PRAGMA cache_size=-256"
"""KiB of pages that a worker's connection keeps: it reads and writes each row once. SQLite's own limit is 2 MiB."""


def connect(path: Path) -> sqlite3.Connection:
    """Open a database in WAL mode, in which a commit does not wait for the disk unless it is asked to."""
    connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection


def copy_database(source: Path, target: Path) -> None:
    """Copy a run's database, whoever writes to it meanwhile. Raises ``DatabaseError``."""
    with contextlib.closing(sqlite3.connect(source)) as run, contextlib.closing(sqlite3.connect(target)) as copy:
        run.backup(copy)


class RunWriter:
    """The controller's hand on ``run.sqlite``; nobody else writes to it. Safe to use from many threads.

    Verdicts are committed together, at most ``FLUSH`` seconds after they were given, and only these commits wait for the
    disk. A second verdict for a combination is ignored: the first one counts. Verdicts that cannot be written are kept and
    tried again; ``problem`` says why, and is empty again when they are written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem = ""
        self.session = 1
        self._connection = connect(path)
        self._lock = threading.RLock()
        self._verdicts: list[tuple[Any, ...]] = []
        self._entering = threading.Lock()  # held for a moment only, never while a disk is waited for
        self._ended = threading.Event()
        self._flusher = threading.Thread(target=self._flush_regularly, name="ledger", daemon=True)

    def create(self, plan: Plan, facts: RunFacts, elsewhere: Iterable[int] = ()) -> None:
        """Freeze the plan, of which other shards run what is ``elsewhere``."""
        with self._transaction(durable=True):
            for statement in (SCHEMA + TABLES + VIEWS).split(";")[:-1]:
                self._connection.execute(statement)
            self._connection.execute(f"PRAGMA user_version={VERSION}")
            self._open_session(facts.to_plain())
            self._connection.executemany(
                "INSERT INTO interpreter VALUES (?, ?, ?, ?)", map(interpreter_row, plan.interpreters)
            )
            self._connection.executemany(
                "INSERT OR IGNORE INTO release VALUES (?, ?, ?, ?)", map(release_row, plan.releases)
            )
            self._connection.executemany(
                "INSERT INTO plan VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", map(combo_row, plan.combos)
            )
            self._connection.executemany("INSERT INTO deselected VALUES (?, 1)", ((one,) for one in elsewhere))
        self._flusher.start()

    def go_on(self, facts: Mapping[str, Any], forgotten: Iterable[int] = ()) -> None:
        """Open another session of a run that exists; what provisioning made of ``forgotten`` combinations counts no more."""
        with self._transaction(durable=True):
            (last,) = self._connection.execute("SELECT max(number) FROM session").fetchone()
            self.session = last + 1
            self._connection.executemany("DELETE FROM provision WHERE ordinal=?", ((one,) for one in forgotten))
            self._open_session({**facts, "finished": None, "sessions": self.session})
        self._flusher.start()

    def begin(self, deselected: Iterable[int] = ()) -> None:
        """Record that combinations begin to run, and in the first session which of them the user left out."""
        with self._transaction(durable=True):
            self._connection.execute("UPDATE session SET began=? WHERE number=?", (time.time(), self.session))
            left_out = ((one,) for one in deselected) if self.session == 1 else ()
            self._connection.executemany("INSERT OR IGNORE INTO deselected VALUES (?, 0)", left_out)

    def end(self, seconds: float, cpu: float, iowait: float) -> None:
        """Record how long this session ran combinations, and the machine's shares of busy and waiting CPU meanwhile."""
        with self._transaction(durable=True):
            self._connection.execute(
                "UPDATE session SET seconds=?, cpu=?, iowait=? WHERE number=?", (seconds, cpu, iowait, self.session)
            )

    def note(self, facts: Mapping[str, Any]) -> None:
        """Add or replace facts about the run."""
        with self._transaction(durable=True):
            self._facts(facts)

    def provisioned(self, *done: Provisioned) -> None:
        """Record what provisioning made of combinations; visible to workers when this returns."""
        spans = [(one.ordinal, CONTROLLER, span.phase, span.at, span.seconds) for one in done for span in one.spans]
        work = [(one.ordinal, *item) for one in done for item in one.work.items()]
        with self._transaction(durable=False):
            self._connection.executemany(
                "INSERT OR IGNORE INTO provision VALUES (?, ?, ?, ?)", map(provisioned_row, done)
            )
            self._connection.executemany("INSERT INTO phase VALUES (?, ?, ?, ?, ?)", spans)
            self._connection.executemany("INSERT INTO work VALUES (?, ?, ?)", work)

    def verdict(self, result: Result, *, failing: bool | None = None) -> None:
        """Enter a verdict into the ledger; ``failing`` is whether it fails the session, as bad ones do unless excused."""
        failing = result.verdict.outcome.is_bad if failing is None else failing
        with self._entering:
            self._verdicts.append((*ledger_row(result), self.session, int(failing)))

    def take_in(self, others: Iterable[tuple[Result, bool]]) -> None:
        """Enter verdicts of other hosts, with whether each fails the run, also where there is one of ours."""
        rows = ((*ledger_row(result), ELSEWHERE, int(failing)) for result, failing in others)
        self.flush()
        with self._transaction(durable=True):
            self._connection.executemany(ENTER.replace("IGNORE", "REPLACE", 1), rows)

    def flush(self) -> None:
        """Make every verdict durable now. Raises ``sqlite3.Error``, and then keeps them for the next time."""
        with self._lock:
            with self._entering:
                rows = list(self._verdicts)
            if rows:
                with self._transaction(durable=True):
                    self._connection.executemany(ENTER, rows)
                with self._entering:
                    del self._verdicts[: len(rows)]

    @property
    def waiting(self) -> int:
        """How many verdicts are not in the file yet."""
        with self._entering:
            return len(self._verdicts)

    def merge(self, workers: Path) -> list[str]:
        """Take the workers' telemetry in; return the names of files that could not be read."""
        self.flush()
        damaged = []
        for path in sorted(workers.glob("*.sqlite")):
            try:
                self._take_in(path)
            except (sqlite3.Error, UnicodeDecodeError):  # SQLite's messages quote what the file holds
                damaged.append(path.name)
            else:
                for file in workers.glob(f"{path.name}*"):
                    file.unlink()
        return damaged

    def close(self) -> None:
        """Flush, end the flusher, and leave one file without a log beside it. Raises ``sqlite3.Error``."""
        self._ended.set()
        if self._flusher.is_alive():
            self._flusher.join(ENDING)
        try:
            self.flush()
            self._connection.execute("PRAGMA busy_timeout=0")  # for a reader nobody waits: then the log stays
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            with contextlib.suppress(sqlite3.OperationalError):
                self._connection.execute("PRAGMA journal_mode=DELETE")
        finally:
            self._connection.close()

    def _open_session(self, facts: Mapping[str, Any]) -> None:
        self._facts(facts)
        self._connection.execute("INSERT INTO session (number, began) VALUES (?, ?)", (self.session, time.time()))

    def _take_in(self, path: Path) -> None:
        with self._lock:  # nothing is attached while another thread's transaction is open
            self._connection.execute("ATTACH ? AS worker", (str(path),))
            try:
                self._check_run()
                with self._transaction(durable=True):
                    for statement in TAKE_IN:
                        self._connection.execute(statement, {"worker": path.stem})
                    events = self._connection.execute("SELECT * FROM worker.disagreement").fetchall()  # what is no text
                    self._connection.executemany("INSERT INTO disagreement VALUES (?, ?, ?)", events)  # is refused here
            finally:
                self._connection.execute("DETACH worker")

    def _check_run(self) -> None:
        """Raise ``sqlite3.DataError`` when the attached telemetry was not made by this run."""
        ours = [json.loads(uuid) for (uuid,) in self._connection.execute("SELECT value FROM main.run WHERE key='uuid'")]
        theirs = [uuid for (uuid,) in self._connection.execute("SELECT test_run_uuid FROM worker.run")]
        if ours != theirs:
            raise sqlite3.DataError(f"telemetry of run {theirs} in run {ours}")

    @contextlib.contextmanager
    def _transaction(self, *, durable: bool) -> Iterator[None]:
        with self._lock:
            self._connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # SQLite itself rolls back when the disk is full
                    self._connection.execute("ROLLBACK")
                raise

    def _facts(self, facts: Mapping[str, Any]) -> None:
        rows = [(key, json.dumps(value)) for key, value in facts.items()]
        self._connection.executemany("INSERT OR REPLACE INTO run VALUES (?, ?)", rows)

    def _flush_regularly(self) -> None:
        while not self._ended.wait(FLUSH):
            try:
                self.flush()
            except sqlite3.Error as error:
                self.problem = f"cannot write {self.path} ({error})"
            else:
                self.problem = ""
