"""A worker's telemetry: everything is written once, in batches, and no combination waits for it."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_spip.model import Span
from pytest_spip.record import telemetry
from pytest_spip.record.telemetry import Telemetry
from tests.support.machine import eventually


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a worker's file."""
    return tmp_path / "gw0.sqlite"


def rows(path: Path, query: str) -> list[Any]:
    """Ask another connection."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


RAN = Span("run", 1e9, 1.0)


def test_spans_are_written_in_the_end(path: Path) -> None:
    """What was recorded is in the file when telemetry is closed, and nothing is beside it; a wait is for no combination."""
    mine = Telemetry(path, "gw0", "one")
    mine.spans(0, [Span("compose", 1e9, 0.25), Span("run", 1e9 + 0.25, 0.5)])
    mine.spans(None, [Span("wait", 1e9 + 1, 2.0)])
    mine.spans(2, [])
    mine.close()
    assert rows(path, "SELECT * FROM phase") == [
        (0, "gw0", "compose", 1e9, 0.25),
        (0, "gw0", "run", 1e9 + 0.25, 0.5),
        (None, "gw0", "wait", 1e9 + 1, 2.0),
    ]
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_worker_samples_itself_alone(path: Path) -> None:
    """A worker's samples are of its own memory and processor time, from its beginning to its end."""
    before = time.time()
    Telemetry(path, "gw0", "one").close()
    first, last = rows(path, "SELECT worker, at, cpu_seconds, rss FROM sample")
    assert first[0] == last[0] == "gw0"
    assert before <= first[1] <= last[1] <= time.time()
    assert 0 < first[2] <= last[2] <= time.process_time()
    assert 0 < last[3] < psutil.virtual_memory().total
    assert rows(path, "SELECT * FROM host") == []


def test_one_process_samples_the_machine(path: Path) -> None:
    """Who is told where environments live samples the machine as well."""
    Telemetry(path, "controller", "one", room=path.parent).close()
    assert rows(path, "SELECT count(*), min(available) > 0, min(room_used) > 0 FROM host") == [(1, 1, 1)]


def test_room_that_is_gone_is_borne(path: Path) -> None:
    """A machine whose room was cleared away already is not sampled, and all else is written."""
    mine = Telemetry(path, "controller", "one", room=path.parent / "gone")
    mine.spans(0, [RAN])
    mine.close()
    assert rows(path, "SELECT (SELECT count(*) FROM host), (SELECT count(*) FROM phase)") == [(0, 1)]


def test_batches_are_written_meanwhile(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was recorded is in the file before the end, without anybody asking."""
    monkeypatch.setattr(telemetry, "BATCH", 0.01)
    mine = Telemetry(path, "gw0", "one")
    mine.spans(0, [RAN])
    assert eventually(lambda: len(rows(path, "SELECT * FROM phase")) == 1)
    mine.close()


def test_everything_is_written_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the writer's batches fall between records of other threads, none is lost and none is doubled."""
    monkeypatch.setattr(telemetry, "BATCH", 0.0)
    mine = Telemetry(path, "gw0", "one")

    def record(part: int) -> None:
        for number in range(5000):
            mine.spans(number * 4 + part, [RAN])

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
        mine.spans(0, [RAN])
        samples = len(mine._samples)
        assert eventually(lambda: len(mine._samples) > samples + 2)
        other.execute("ALTER TABLE away RENAME TO phase")
    assert eventually(lambda: len(rows(path, "SELECT * FROM phase")) == 1)
    mine.close()


def test_memory_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the file refuses them no more than the newest spans are kept."""
    monkeypatch.setattr(telemetry, "BATCH", 0.01)
    monkeypatch.setattr(telemetry, "KEPT", 3)
    mine = Telemetry(path, "gw0", "one")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("ALTER TABLE phase RENAME TO away")
        for ordinal in range(10):
            mine.spans(ordinal, [RAN])
        assert eventually(lambda: len(mine._spans) == 3)
        other.execute("ALTER TABLE away RENAME TO phase")
    mine.close()
    assert rows(path, "SELECT ordinal FROM phase") == [(7,), (8,), (9,)]


def test_refusal_to_the_end_is_borne(path: Path) -> None:
    """Telemetry that cannot be written at all is given up in silence: no verdict depends on it."""
    mine = Telemetry(path, "gw0", "one")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("DROP TABLE phase")
    mine.spans(0, [RAN])
    mine.close()
    assert rows(path, "SELECT count(*) FROM sample") == [(0,)]


def test_replaced_worker_goes_on_in_the_same_file(path: Path) -> None:
    """A worker that takes a dead one's name adds to its file."""
    for ordinal in range(2):
        mine = Telemetry(path, "gw0", "one")
        mine.spans(ordinal, [RAN])
        mine.close()
    assert rows(path, "SELECT ordinal FROM phase") == [(0,), (1,)]
