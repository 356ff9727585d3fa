"""Reservations: who holds what, for how long, and what ends it, on each engine."""

from __future__ import annotations

import pytest

from pytest_spip.errors import UsageProblem
from pytest_spip.hosts.database import Database
from pytest_spip.hosts.record_kinds import Kind, Record
from pytest_spip.hosts.records import Records
from pytest_spip.hosts.reservations import Reservations
from tests.support.shared_database import counted, pass_time


@pytest.fixture
def alice(database: Database) -> Reservations:
    """Return the hand of one agent."""
    return Reservations(Records(database, "run", "alice"))


@pytest.fixture
def bob(database: Database) -> Reservations:
    """Return the hand of another."""
    return Reservations(Records(database, "run", "bob"))


def held(reservations: Reservations) -> dict[str, str]:
    """Return who holds what."""
    return {one.key: one.agent for one in reservations.active()}


def test_one_agent_holds_a_thing(alice: Reservations, bob: Reservations) -> None:
    """What one agent holds another cannot have, until it is released; what the holder said of it can be read."""
    found = alice.reserve("sdist", ttl=60, body={"why": "build"})
    assert found is not None
    assert (found.key, found.agent, found.body) == ("sdist", "alice", {"why": "build"})
    assert 0 < found.until - alice.records.database.now() <= 60
    assert bob.reserve("sdist") is None
    assert bob.holder("sdist") == found
    assert bob.reserve("other") is not None
    assert held(alice) == {"sdist": "alice", "other": "bob"}
    assert alice.release("sdist")
    assert bob.holder("sdist") is None
    assert bob.reserve("sdist") is not None
    assert held(alice) == {"sdist": "bob", "other": "bob"}


def test_holder_may_reserve_again(alice: Reservations, bob: Reservations) -> None:
    """Who holds a thing holds it anew, for longer, with another body; released, it is as free as any."""
    first = alice.reserve("thing", ttl=10)
    again = alice.reserve("thing", ttl=60, body={"n": 2})
    assert first is not None
    assert again is not None
    assert again.until > first.until
    assert again.body == {"n": 2}
    assert alice.release("thing")
    assert not alice.release("thing")
    assert alice.reserve("thing") is not None
    assert bob.reserve("thing") is None


def test_reservation_expires(alice: Reservations, bob: Reservations) -> None:
    """A reservation is over at its time, and the thing is free; the late holder can release nothing."""
    alice.reserve("thing", ttl=300)
    pass_time(alice.records.database, 200)
    assert held(bob) == {"thing": "alice"}
    pass_time(alice.records.database, 200)
    assert held(bob) == {}
    assert not alice.release("thing")
    assert bob.reserve("thing") is not None
    assert not alice.release("thing")
    assert held(bob) == {"thing": "bob"}
    assert alice.reserve("brief", ttl=0) is None


def test_heartbeat_extends(alice: Reservations, bob: Reservations) -> None:
    """An agent's heartbeat extends what it holds, and nobody else's; without a next one it ends."""
    alice.reserve("of alice", ttl=300)
    bob.reserve("of bob", ttl=300)
    alice.beat({"busy": 3}, ttl=1000)
    found = alice.holder("of alice")
    assert found is not None
    assert 900 < found.until - alice.records.database.now() <= 1000
    pass_time(alice.records.database, 600)
    assert held(bob) == {"of alice": "alice"}
    assert bob.reserve("of alice") is None
    alice.beat(ttl=900)
    pass_time(alice.records.database, 600)
    assert held(bob) == {"of alice": "alice"}
    pass_time(alice.records.database, 600)
    assert held(bob) == {}


def test_short_heartbeat_takes_nothing_away(alice: Reservations) -> None:
    """A heartbeat that ends before a reservation does leaves it as long as it was."""
    alice.reserve("thing", ttl=1000)
    alice.beat(ttl=1)
    pass_time(alice.records.database, 500)
    assert held(alice) == {"thing": "alice"}


def test_heartbeat_does_not_revive_what_others_took(alice: Reservations, bob: Reservations) -> None:
    """What expired and was taken by another stays theirs, whatever the old holder says."""
    alice.reserve("thing", ttl=1)
    pass_time(alice.records.database, 2)
    assert bob.reserve("thing") is not None
    alice.beat()
    assert held(alice) == {"thing": "bob"}


def test_records_are_as_good(alice: Reservations, bob: Reservations) -> None:
    """Reservations, heartbeats and releases that were pushed count as those that were made here."""
    alice.records.push(Record(Kind.RESERVATION, f"{n}", ttl=300) for n in range(5))
    assert held(bob) == {f"{n}": "alice" for n in range(5)}
    bob.records.push([Record(Kind.RELEASE, "0", agent="alice"), Record(Kind.RELEASE, "1"), Record(Kind.RELEASE, "9")])
    alice.records.push([Record(Kind.RELEASE, "2", {"why": "done"})])
    assert held(bob) == {"1": "alice", "3": "alice", "4": "alice"}
    alice.records.delete(Kind.RESERVATION, ["3"])
    bob.records.push([Record(Kind.HEARTBEAT, "alice", agent="alice", ttl=1000)])
    pass_time(bob.records.database, 500)
    assert held(bob) == {"1": "alice", "4": "alice"}
    bob.records.delete(Kind.HEARTBEAT, ["alice"])
    assert held(bob) == {}


def test_late_release_does_not_end_a_new_reservation(alice: Reservations, bob: Reservations) -> None:
    """A release that is pushed again, for its answer was lost, does not end what another agent has reserved since."""
    alice.reserve("thing")
    alice.release("thing")
    bob.reserve("thing")
    alice.records.push([Record(Kind.RELEASE, "thing")])
    assert held(alice) == {"thing": "bob"}


def test_deleted_release_is_none(alice: Reservations) -> None:
    """A reservation whose release was deleted is active again, as long as it lasts."""
    alice.reserve("thing")
    alice.release("thing")
    alice.records.delete(Kind.RELEASE, ["thing"])
    assert held(alice) == {"thing": "alice"}


def test_active_ones_are_one_query(alice: Reservations) -> None:
    """However many there are, with heartbeats and releases, one statement finds them; pages follow the keys."""
    keys = [f"{n:04}" for n in range(1200)]
    agents = [f"agent {n % 300}" for n in range(1200)]
    pairs = list(zip(keys, agents, strict=True))
    alice.records.push(Record(Kind.RESERVATION, key, agent=agent, ttl=300) for key, agent in pairs)
    alice.records.push(Record(Kind.HEARTBEAT, agent, agent=agent, ttl=3000) for agent in agents[:100])
    alice.records.push(Record(Kind.RELEASE, key, agent=agent) for key, agent in pairs[::2])
    pass_time(alice.records.database, 600)
    expected = [key for number, key in enumerate(keys) if number % 300 < 100 and number % 2]
    with counted(alice.records.database) as found:
        active = alice.active()
    assert found == {"statements": 1, "commits": 1}
    assert [one.key for one in active] == expected
    pages = [alice.active(limit=70)]
    while len(pages[-1]) == 70:
        pages.append(alice.active(after=pages[-1][-1].key, limit=70))
    assert [one for page in pages for one in page] == active


def test_asking_for_what_is_held_does_not_wait(alice: Reservations, bob: Reservations) -> None:
    """Who finds a thing held changes nothing, so that many may ask again and again."""
    alice.reserve("thing")
    cursor = alice.records.pull().cursor
    with counted(bob.records.database) as found:
        assert bob.reserve("thing") is None
    assert found["statements"] == 1
    assert alice.records.pull(cursor).records == []


def test_bad_reservations(alice: Reservations) -> None:
    """What cannot be a record cannot be reserved."""
    with pytest.raises(UsageProblem, match="a ttl of -1 s"):
        alice.reserve("thing", ttl=-1)
    with pytest.raises(UsageProblem, match="bytes"):
        alice.reserve("thing", body={"text": "x" * 60_000})
    with pytest.raises(UsageProblem, match="no name"):
        alice.release("")
    assert alice.active() == []
