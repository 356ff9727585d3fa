"""``run.sqlite``: the frozen plan, what provisioning made, and the ledger with one verdict per combination."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_spip.model import (
    CONTROLLER,
    Combo,
    Disagreement,
    Environment,
    Interpreter,
    Plan,
    Provisioned,
    Result,
    StoredWheel,
    verdict_from_plain,
    verdict_to_plain,
)
from pytest_spip.record.timeline import TABLES, TAKE_IN

__all__ = ["RunReader", "RunWriter", "connect"]

SCHEMA = """
CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE interpreter (id TEXT PRIMARY KEY, label TEXT NOT NULL, path TEXT NOT NULL, facts TEXT NOT NULL);
CREATE TABLE plan (
    ordinal INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, package TEXT NOT NULL, version TEXT NOT NULL,
    interpreter TEXT NOT NULL, label TEXT NOT NULL, extras TEXT NOT NULL, prejudged TEXT
);
CREATE TABLE provision (ordinal INTEGER PRIMARY KEY, environment TEXT, verdict TEXT, output TEXT NOT NULL);
CREATE TABLE ledger (
    ordinal INTEGER PRIMARY KEY, outcome TEXT NOT NULL, phase TEXT NOT NULL, reason TEXT, detail TEXT NOT NULL,
    seconds REAL NOT NULL, cpu_seconds REAL NOT NULL, peak_rss INTEGER NOT NULL, attempts INTEGER NOT NULL,
    runner TEXT NOT NULL, worker TEXT NOT NULL, host TEXT NOT NULL, fingerprint TEXT NOT NULL,
    locked TEXT NOT NULL, reproduce TEXT NOT NULL, output TEXT NOT NULL, at REAL NOT NULL
);
CREATE TABLE disagreement (
    ordinal INTEGER NOT NULL,
    warm TEXT NOT NULL CHECK (typeof(warm) = 'text'), cold TEXT NOT NULL CHECK (typeof(cold) = 'text')
);
CREATE TABLE work (ordinal INTEGER, what TEXT NOT NULL, count INTEGER NOT NULL);
"""
ENTER = "INSERT OR IGNORE INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
COMBOS = "SELECT ordinal, package, version, interpreter, label, extras, prejudged FROM plan"
FLUSH = 0.5
"""Seconds after which a verdict is durable, half of what is promised."""


def connect(path: Path) -> sqlite3.Connection:
    """Open a database in WAL mode, in which a commit does not wait for the disk unless it is told to."""
    connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection


class RunWriter:
    """The controller's hand on ``run.sqlite``; nobody else writes to it. Safe to use from many threads.

    Verdicts are committed together, at most ``FLUSH`` seconds after they were given, and only these commits wait for the
    disk. A second verdict for a combination is ignored: the first one counts. Verdicts that cannot be written are kept and
    tried again; ``problem`` says why, and is empty again when they are written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem = ""
        self._connection = connect(path)
        self._lock = threading.RLock()
        self._verdicts: list[tuple[Any, ...]] = []
        self._entering = threading.Lock()  # held for a moment only, never while a disk is waited for
        self._ended = threading.Event()
        self._flusher = threading.Thread(target=self._flush_regularly, name="ledger", daemon=True)

    def create(self, plan: Plan, facts: Mapping[str, Any]) -> None:
        """Freeze the plan; ``facts`` describe the run."""
        with self._transaction(durable=True):
            for statement in (SCHEMA + TABLES).split(";")[:-1]:
                self._connection.execute(statement)
            self._facts(facts)
            self._connection.executemany(
                "INSERT INTO interpreter VALUES (?, ?, ?, ?)", map(_interpreter_row, plan.interpreters)
            )
            self._connection.executemany(
                "INSERT INTO plan VALUES (?, ?, ?, ?, ?, ?, ?, ?)", map(_combo_row, plan.combos)
            )
        self._flusher.start()

    def note(self, facts: Mapping[str, Any]) -> None:
        """Add or replace facts about the run."""
        with self._transaction(durable=True):
            self._facts(facts)

    def provisioned(self, done: Provisioned) -> None:
        """Record what provisioning made of a combination; visible to workers when this returns."""
        environment = json.dumps(dataclasses.asdict(done.environment)) if done.environment else None
        verdict = json.dumps(verdict_to_plain(done.verdict)) if done.verdict else None
        with self._transaction(durable=False):
            self._connection.execute(
                "INSERT OR IGNORE INTO provision VALUES (?, ?, ?, ?)",
                (done.ordinal, environment, verdict, _encodable(done.output)),
            )
            rows = [(done.ordinal, CONTROLLER, span.phase, span.at, span.seconds) for span in done.spans]
            self._connection.executemany("INSERT INTO phase VALUES (?, ?, ?, ?, ?)", rows)
            self._connection.executemany(
                "INSERT INTO work VALUES (?, ?, ?)", [(done.ordinal, *item) for item in done.work.items()]
            )

    def verdict(self, result: Result) -> None:
        """Enter a verdict into the ledger."""
        with self._entering:
            self._verdicts.append(_ledger_row(result))

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
            self._flusher.join()
        try:
            self.flush()
            self._connection.execute("PRAGMA busy_timeout=0")  # for a reader nobody waits: then the log stays
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            with contextlib.suppress(sqlite3.OperationalError):
                self._connection.execute("PRAGMA journal_mode=DELETE")
        finally:
            self._connection.close()

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


class RunReader:
    """Reads a run: the workers by ordinal while it goes on, the reports when it is over."""

    def __init__(self, path: Path) -> None:
        place = f"{path.absolute().as_uri()}?mode=ro"
        self._connection = sqlite3.connect(place, uri=True, timeout=30, check_same_thread=False)
        self._lock = threading.Lock()

    def facts(self) -> dict[str, Any]:
        """Return what is known of the run as a whole."""
        return {key: json.loads(value) for key, value in self._rows("SELECT key, value FROM run")}

    def interpreters(self) -> tuple[Interpreter, ...]:
        """Return the interpreters in the plan's order."""
        plain = [json.loads(facts) for (facts,) in self._rows("SELECT facts FROM interpreter ORDER BY rowid")]
        return tuple(_interpreter(facts) for facts in plain)

    def combos(self) -> tuple[Combo, ...]:
        """Return the plan."""
        return tuple(_combo(*row) for row in self._rows(f"{COMBOS} ORDER BY ordinal"))

    def combo(self, ordinal: int) -> Combo:
        """Return a combination of the plan; raises ``LookupError``."""
        for row in self._rows(f"{COMBOS} WHERE ordinal=?", ordinal):
            return _combo(*row)
        raise LookupError(f"the plan has no combination {ordinal}")

    def provision(self, ordinal: int) -> Provisioned | None:
        """Return what provisioning made of a combination; None when it is not done."""
        for environment, verdict, output in self._rows(
            "SELECT environment, verdict, output FROM provision WHERE ordinal=?", ordinal
        ):
            return Provisioned(
                ordinal,
                _environment(json.loads(environment)) if environment else None,
                verdict_from_plain(json.loads(verdict)) if verdict else None,
                output,
            )
        return None

    def results(self) -> dict[int, Result]:
        """Return the ledger, by ordinal. Phases are telemetry and not in it."""
        return {row[0]: _result(row) for row in self._rows("SELECT * FROM ledger ORDER BY ordinal")}

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

    def _rows(self, query: str, *parameters: object) -> list[Any]:
        with self._lock:
            return self._connection.execute(query, parameters).fetchall()


def _interpreter_row(interpreter: Interpreter) -> tuple[str, ...]:
    return interpreter.id, interpreter.label, interpreter.path, json.dumps(dataclasses.asdict(interpreter))


def _interpreter(plain: Mapping[str, Any]) -> Interpreter:
    lists = {key: tuple(plain[key]) for key in ("abis", "platforms")}
    return Interpreter(**{**plain, **lists, "markers": tuple((key, value) for key, value in plain["markers"])})


def _combo_row(combo: Combo) -> tuple[Any, ...]:
    verdict = json.dumps(verdict_to_plain(combo.prejudged)) if combo.prejudged else None
    return (
        combo.ordinal,
        combo.id,
        combo.package,
        combo.version,
        combo.interpreter,
        combo.label,
        json.dumps(combo.extras),
        verdict,
    )


def _combo(
    ordinal: int, package: str, version: str, interpreter: str, label: str, extras: str, verdict: str | None
) -> Combo:
    prejudged = verdict_from_plain(json.loads(verdict)) if verdict else None
    return Combo(ordinal, package, version, interpreter, label, tuple(json.loads(extras)), prejudged)


def _environment(plain: Mapping[str, Any]) -> Environment:
    wheels = tuple(StoredWheel(**{**wheel, "modules": tuple(wheel["modules"])}) for wheel in plain["wheels"])
    return Environment(**{**plain, "wheels": wheels})


def _ledger_row(result: Result) -> tuple[Any, ...]:
    verdict = [text and _encodable(text) for text in verdict_to_plain(result.verdict)]
    numbers = result.seconds, result.cpu_seconds, result.peak_rss, result.attempts
    texts = (
        result.runner,
        result.worker,
        result.host,
        result.fingerprint,
        json.dumps(dict(result.locked)),
        _encodable(result.reproduce),
        _encodable(result.output),
    )
    return result.ordinal, *verdict, *numbers, *texts, time.time()


def _encodable(text: str) -> str:
    """Replace what UTF-8 cannot say, such as parts of a file's name that is not UTF-8: SQLite refuses it."""
    return text.encode("utf-8", "replace").decode()


def _result(row: Sequence[Any]) -> Result:
    ordinal, *verdict = row[:5]
    numbers = ("seconds", "cpu_seconds", "peak_rss", "attempts")
    names = (*numbers, "runner", "worker", "host", "fingerprint", "locked", "reproduce", "output")
    told = dict(zip(names, row[5:16], strict=True))
    return Result(ordinal, verdict_from_plain(verdict), **{**told, "locked": json.loads(told["locked"])})
