"""Builds that hosts with one cache make once, on both engines."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_spip.errors import QueueUnreachable
from pytest_spip.hosts.database import Database
from pytest_spip.hosts.records import Records
from pytest_spip.hosts.reservations import Reservations
from pytest_spip.hosts.status import BUILD
from pytest_spip.hosts.urls import parse_url
from pytest_spip.session.shared_builds import BuildTurns

MakeTurns = Callable[..., BuildTurns]
DEADLINE = 20.0
"""Seconds."""


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Open an empty database."""
    opened = Database(parse_url("url", database_url, Path()))
    yield opened
    opened.close()


@pytest.fixture
def turns(database: Database, tmp_path: Path) -> MakeTurns:
    """Return a function that makes a host's turns."""

    def make(agent: str, *, cache: str = "cache", is_ended: Callable[[], bool] = lambda: False) -> BuildTurns:
        (tmp_path / cache).mkdir(exist_ok=True)
        reservations = Reservations(Records(database, "run", agent))
        return BuildTurns(reservations, tmp_path / cache, host=f"host of {agent}", lease=60, is_ended=is_ended)

    return make


def test_hosts_with_one_cache_take_turns(turns: MakeTurns, database: Database) -> None:
    """The second one waits until the first has finished; meanwhile everybody can see who builds what."""
    first, second, order = turns("a"), turns("b"), []
    begun = threading.Event()

    def build() -> None:
        begun.set()
        with second("key", "demo 1.0 py312"):
            order.append("second")

    with first("key", "demo 1.0 py312"):
        waiting = threading.Thread(target=build)
        waiting.start()
        assert begun.wait(DEADLINE)
        (held,) = Reservations(Records(database, "run", "")).active()
        assert held.key.startswith(BUILD)
        assert held.body == {"what": "demo 1.0 py312", "host": "host of a"}
        order.append("first")
    waiting.join(DEADLINE)
    assert order == ["first", "second"]
    assert Reservations(Records(database, "run", "")).active() == []


def test_hosts_with_caches_of_their_own_do_not_wait(turns: MakeTurns) -> None:
    """What one builds is of no use to the other."""
    with turns("a", cache="one")("key", "demo"), turns("b", cache="two")("key", "demo"):
        pass


def test_database_that_goes_away_behind_a_reservation(
    turns: MakeTurns, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is held is released, though nobody could be told what is built: heartbeats would keep it for the session."""

    def push(*_: object) -> None:
        raise QueueUnreachable("the server is away")

    with monkeypatch.context() as away:
        away.setattr(Records, "push", push)
        turn = turns("a")("key", "demo")
        turn.__enter__()
    turn.__exit__(None, None, None)
    assert Reservations(Records(database, "run", "")).active() == []


def test_nobody_waits_at_the_end(turns: MakeTurns) -> None:
    """A session that ends waits for no other host's build."""
    with turns("a")("key", "demo"), turns("b", is_ended=lambda: True)("key", "demo"):
        pass


def test_cache_that_cannot_be_written(turns: MakeTurns, tmp_path: Path) -> None:
    """It belongs to nobody else, as far as can be known."""
    (tmp_path / "cache" / "id").mkdir(parents=True)
    with turns("a")("key", "demo"), turns("b")("key", "demo"):
        pass
