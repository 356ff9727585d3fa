"""A worker's telemetry: everything is written once, in batches, and no combination waits for it."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_spip.record import telemetry
from pytest_spip.record.telemetry import Telemetry, cpu_times
from tests.support.machine import eventually


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a worker's file."""
    return tmp_path / "gw0.sqlite"


def rows(path: Path, query: str) -> list[Any]:
    """Ask another connection."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def test_phases_are_written_in_the_end(path: Path) -> None:
    """What was recorded is in the file when telemetry is closed, with a sample, and nothing is beside it."""
    mine = Telemetry(path, "gw0", "one")
    mine.phases(0, {"compose": 0.25, "run": 0.5})
    mine.phases(1, {"run": 1.0})
    mine.phases(2, {})
    mine.close()
    assert rows(path, "SELECT * FROM phase") == [
        (0, "gw0", "compose", 0.25),
        (0, "gw0", "run", 0.5),
        (1, "gw0", "run", 1.0),
    ]
    ((worker, cpu, iowait, rss, available),) = rows(path, "SELECT worker, cpu, iowait, rss, available FROM sample")
    assert worker == "gw0"
    assert -1 <= iowait <= 1
    assert -1 <= cpu <= 1
    assert 0 < rss <= psutil.virtual_memory().total >= available > 0
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_batches_are_written_meanwhile(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was recorded is in the file before the end, without anybody asking."""
    monkeypatch.setattr(telemetry, "BATCH", 0.01)
    mine = Telemetry(path, "gw0", "one")
    mine.phases(0, {"run": 1.0})
    assert eventually(lambda: len(rows(path, "SELECT * FROM phase")) == 1)
    mine.close()


def test_everything_is_written_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the writer's batches fall between records of other threads, none is lost and none is doubled."""
    monkeypatch.setattr(telemetry, "BATCH", 0.0)
    mine = Telemetry(path, "gw0", "one")

    def record(part: int) -> None:
        for number in range(5000):
            mine.phases(number * 4 + part, {"run": 1.0})

    threads = [threading.Thread(target=record, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    mine.close()
    assert rows(path, "SELECT count(*), count(DISTINCT ordinal) FROM phase") == [(20_000, 20_000)]


def test_refused_batch_is_tried_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that the file refuses is kept for the next one, and nobody is told."""
    monkeypatch.setattr(telemetry, "BATCH", 0.01)
    mine = Telemetry(path, "gw0", "one")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("ALTER TABLE phase RENAME TO away")
        mine.phases(0, {"run": 1.0})
        samples = len(mine._samples)
        assert eventually(lambda: len(mine._samples) > samples + 2)
        other.execute("ALTER TABLE away RENAME TO phase")
    assert eventually(lambda: len(rows(path, "SELECT * FROM phase")) == 1)
    mine.close()


def test_refusal_to_the_end_is_borne(path: Path) -> None:
    """Telemetry that cannot be written at all is given up in silence: no verdict depends on it."""
    mine = Telemetry(path, "gw0", "one")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("DROP TABLE phase")
    mine.phases(0, {"run": 1.0})
    mine.close()
    assert rows(path, "SELECT count(*) FROM sample") == [(0,)]


def test_replaced_worker_goes_on_in_the_same_file(path: Path) -> None:
    """A worker that takes a dead one's name adds to its file."""
    for ordinal in range(2):
        mine = Telemetry(path, "gw0", "one")
        mine.phases(ordinal, {"run": 1.0})
        mine.close()
    assert rows(path, "SELECT ordinal FROM phase") == [(0,), (1,)]


def test_cpu_times_add_up() -> None:
    """Busy and waiting time are parts of the whole, which is what psutil counts."""
    busy, iowait, total = cpu_times()
    assert 0 <= iowait <= total
    assert 0 < busy <= total
    times = psutil.cpu_times()
    assert total <= sum(times) + 1  # sum counts guests twice
