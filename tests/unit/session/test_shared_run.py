"""A session's part in a run that hosts share, with a database in a file."""

from __future__ import annotations

import contextlib
import queue
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_spip.errors import QueueUnreachable, UsageProblem
from pytest_spip.hosts.database import Database
from pytest_spip.hosts.reservations import Reservations
from pytest_spip.hosts.urls import parse_url
from pytest_spip.model import Outcome, Phase, Result, Verdict
from pytest_spip.session import shared_run
from pytest_spip.session.readiness import Listener
from pytest_spip.session.shared_run import SharedRun
from pytest_spip.session.shared_verdicts import SharedTask
from tests.support.machine import eventually

DEADLINE = 30.0
FACTS: Any = SimpleNamespace(plan_hash="plan", check="import", experiment="limits", dated=False, started="")


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[SharedRun]:
    """Return one host's part in a run that nobody has published."""
    run = SharedRun(Database(parse_url("url", "sqlite:///shared.sqlite", tmp_path), patience=0.1), "run")
    with contextlib.closing(run):
        yield run
        run.stop()


ONE = (SharedTask(0, "demo[1.0-py312]", 1.0),)
PASSED = Result(0, Verdict(Outcome.PASSED, Phase.IMPORT))


def start(shared: SharedRun, tmp_path: Path, listener: Listener, combos: Sequence[SharedTask] = ONE) -> None:
    """Take part with some combinations."""
    sqlite3.connect(tmp_path / "planned.sqlite").close()
    shared.start(FACTS, combos, tmp_path / "planned.sqlite", workers=1, listener=listener, lose=lambda _: None)


def unreachable(*_: object, **__: object) -> None:
    """Stand for a database that is gone."""
    raise QueueUnreachable("the server is away")


def test_database_that_stays_away(shared: SharedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session ends for want of work also when verdicts wait that it cannot share."""
    ready: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
    faults: queue.SimpleQueue[str] = queue.SimpleQueue()
    start(shared, tmp_path, Listener(ready=lambda ordinals: ready.put(list(ordinals)), fault=faults.put))
    assert ready.get(timeout=DEADLINE) == [0]
    monkeypatch.setattr(Database, "run", unreachable)
    monkeypatch.setattr(shared_run, "GIVE_UP", 0.0)
    shared.record(PASSED, failing=False)
    assert "the server is away" in faults.get(timeout=DEADLINE)


def test_database_that_vanishes_at_the_start(
    shared: SharedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a fault of what was named, at each step."""
    monkeypatch.setattr(Reservations, "reserve", unreachable)
    with pytest.raises(UsageProblem, match="--spip-queue: the server is away"):
        start(shared, tmp_path, Listener())


def test_refused_host(shared: SharedRun, tmp_path: Path) -> None:
    """One that has other combinations selected takes nothing from the run, though that is complete."""
    url = parse_url("url", "sqlite:///shared.sqlite", tmp_path)
    start(shared, tmp_path, Listener(ready=lambda _: shared.record(PASSED, failing=False)))
    other = SharedRun(Database(url), "run")
    with contextlib.closing(other), pytest.raises(UsageProblem, match="run run has other combinations selected"):
        start(other, tmp_path, Listener(), [*ONE, SharedTask(1, "demo[1.1-py312]", 1.0)])
    assert eventually(shared._ended.is_set, DEADLINE)
    assert shared.finish()
    assert not other.finish()
