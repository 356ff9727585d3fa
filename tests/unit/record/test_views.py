"""The views of ``run.sqlite``: what people query has names and columns that stay, and holds what was recorded."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_spip.model import CONTROLLER, Environment, Outcome, Phase, Ready, Reason, Result, Span, Test, Verdict
from pytest_spip.record.rundb import RunWriter
from pytest_spip.record.telemetry import Telemetry
from tests.support.rooms import combo, plan, result, run_facts

NAMED = ["ordinal", "id", "package", "version", "label"]
COLUMNS = {
    "v_run": ["name", "value"],
    "v_verdicts": [
        *NAMED,
        "python_version",
        "interpreter",
        "resolution",
        "outcome",
        "phase",
        "reason",
        "detail",
        "seconds",
        "cpu_seconds",
        "peak_rss",
        "attempts",
        "reruns",
        "reused",
        "runner",
        "worker",
        "host",
        "fingerprint",
        "reproduce",
        "output",
        "ended",
        "session",
    ],
    "v_tests": [*NAMED, "test", "outcome", "seconds", "detail", "reruns"],
    "v_locked": [*NAMED, "project", "locked"],
    "v_attempts": [*NAMED, "worker", "attempt", "began", "seconds"],
    "v_timings": [*NAMED, "worker", "phase", "began", "seconds"],
}
"""A promise to those who query: a column may be added at the end, and none is renamed or removed."""
TESTS = (Test("t.py::test_a", "passed", 0.5), Test("t.py::test_b", "failed", 1.5, "assert 'ü'\n0", 2))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Record a run: a suite that failed, a pass, a skip, one without a verdict, and one that was left out."""
    combos = [combo(n, version=f"{n}.0", resolution="lowest" if n == 1 else "") for n in range(5)]
    writer = RunWriter(tmp_path / "run.sqlite")
    writer.create(plan(*combos), run_facts(uuid="one"))
    writer.begin(deselected=[4])
    failed = Verdict(Outcome.FAILED, Phase.TEST, Reason.TEST_FAILED, "1 of 2")
    writer.verdict(
        Result(0, failed, 2.0, 1.0, 1 << 20, tests=TESTS, locked={"demo": "0.0", "six": "1.16"}, worker="gw0")
    )
    writer.verdict(result(1, locked={"demo": "1.0"}))
    writer.verdict(result(2, Outcome.SKIPPED, Reason.NO_WHEEL))
    writer.provisioned(Ready(0, environment(), spans=(Span("resolve", 100.0, 3.0),)))
    (tmp_path / "workers").mkdir()
    telemetry = Telemetry(tmp_path / "workers" / "gw0.sqlite", "gw0", "one")
    telemetry.spans(0, [Span("compose", 110.0, 0.1), Span("run", 111.0, 1.0), Span("run", 113.0, 2.0)])
    telemetry.spans(None, [Span("wait", 105.0, 4.0)])
    telemetry.close()
    writer.merge(tmp_path / "workers")
    writer.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "run.sqlite")) as connection:
        yield connection


def environment() -> Environment:
    """Return an environment of nothing."""
    return Environment((), "fingerprint")


def test_columns_stay(database: sqlite3.Connection) -> None:
    """The views and their columns are those that were promised, each described with all its columns."""
    views = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'view'")}
    assert views == COLUMNS.keys()
    for view, columns in COLUMNS.items():
        assert [name for name, *_ in database.execute(f"SELECT * FROM {view}").description] == columns


def test_verdicts(database: sqlite3.Connection) -> None:
    """Each combination that was not left out has a row, in the plan's order, also without a verdict."""
    query = "SELECT id, label, python_version, resolution, outcome, reason, seconds, worker FROM v_verdicts"
    assert database.execute(query).fetchall() == [
        ("demo[0.0-py312]", "py312", "3.12.0", "", "failed", "test-failed", 2.0, "gw0"),
        ("demo[1.0-py312-lowest]", "py312", "3.12.0", "lowest", "passed", None, 0.0, ""),
        ("demo[2.0-py312]", "py312", "3.12.0", "", "skipped", "no-wheel", 0.0, ""),
        ("demo[3.0-py312]", "py312", "3.12.0", "", None, None, None, None),
    ]


def test_tests(database: sqlite3.Connection) -> None:
    """Each test has a row, in the order in which they ran."""
    query = "SELECT ordinal, test, outcome, seconds, detail, reruns FROM v_tests"
    assert database.execute(query).fetchall() == [(0, *test) for test in TESTS]


def test_locked(database: sqlite3.Connection) -> None:
    """Each project of each environment has a row."""
    query = "SELECT ordinal, project, locked FROM v_locked"
    assert database.execute(query).fetchall() == [(0, "demo", "0.0"), (0, "six", "1.16"), (1, "demo", "1.0")]


def test_attempts_and_timings(database: sqlite3.Connection) -> None:
    """Attempts are counted for each combination; spans have their combination, if any."""
    attempts = database.execute("SELECT id, worker, attempt, began, seconds FROM v_attempts").fetchall()
    assert attempts == [("demo[0.0-py312]", "gw0", 1, 111.0, 1.0), ("demo[0.0-py312]", "gw0", 2, 113.0, 2.0)]
    timings = database.execute("SELECT id, worker, phase, began FROM v_timings").fetchall()
    assert timings == [
        ("demo[0.0-py312]", CONTROLLER, "resolve", 100.0),
        (None, "gw0", "wait", 105.0),
        ("demo[0.0-py312]", "gw0", "compose", 110.0),
        ("demo[0.0-py312]", "gw0", "run", 111.0),
        ("demo[0.0-py312]", "gw0", "run", 113.0),
    ]


def test_facts(database: sqlite3.Connection) -> None:
    """A fact is a text, and JSON where it is more than that."""
    facts = dict(database.execute("SELECT name, value FROM v_run"))
    assert (facts["uuid"], facts["hosts"]) == ("one", '["here"]')
