"""Several processes that push, follow, reserve and collect at once, on each engine."""

from __future__ import annotations

from pytest_spip.hosts.dependencies import dependency_closure
from pytest_spip.hosts.records import Records
from pytest_spip.hosts.reservations import Reservations
from tests.support.record_agents import answers

KINDS = ["task", "claim", "heartbeat"]


def test_followers_miss_nothing(records: Records, database_url: str) -> None:
    """Four push, two follow by a cursor meanwhile: each follower ends with every record as it was written last."""
    pushers = [{"role": "push", "agent": f"pusher {n}", "batches": 30, "keys": 200, "kinds": KINDS} for n in range(4)]
    told = answers(database_url, [*pushers, *({"role": "follow", "pushers": 4} for _ in range(2))])
    truth = {f"{one.kind} {one.key}": [one.seq, one.body] for page in records.pages() for one in page.records}
    assert told[4] == truth
    assert told[5] == truth
    assert len({seq for seq, _ in truth.values()}) == len(truth)
    pushed = told[:4]
    assert sum(one["inserted"] for one in pushed) == len(truth) - 4
    assert all(one["inserted"] + one["updated"] + one["skipped"] == one["pushed"] for one in pushed)
    assert all(one["updated"] for one in pushed)


def test_one_agent_has_each_thing(records: Records, database_url: str) -> None:
    """Of four who reserve the same things at once, one has each."""
    had = answers(database_url, [{"role": "reserve", "agent": f"{n}", "keys": 30} for n in range(4)])
    assert sorted(key for keys in had for key in keys) == sorted(f"{n}" for n in range(30))
    active = {one.key: one.agent for one in Reservations(records).active()}
    assert active == {key: f"{n}" for n, keys in enumerate(had) for key in keys}


def test_who_holds_is_alone(records: Records, database_url: str) -> None:
    """What is read and written by whoever holds a thing loses no turn."""
    turns = answers(database_url, [{"role": "count", "agent": f"{n}", "turns": 8} for n in range(3)])
    assert turns == [8, 8, 8]
    [found] = [one for one in records.pull().records if one.key == "number" and one.kind == "task"]
    assert found.body == {"n": 24}


def test_no_circle_of_two(records: Records, database_url: str) -> None:
    """Of two who depend on each other at the same time, one is refused."""
    tasks = [{"role": "depend", "agent": f"{n}", "keys": 20, "reverse": bool(n)} for n in range(2)]
    left, right = answers(database_url, tasks)
    assert sorted(left + right) == list(range(20))
    for number in range(20):
        found = dependency_closure(records.database, "run", f"{number} left")
        assert found == ([f"{number} right"] if number in left else [])


def test_collection_takes_nothing_that_was_renewed(records: Records, database_url: str) -> None:
    """While one collects all the time, what others hold anew a moment after its end stays."""
    renewing = [{"role": "renew", "agent": f"{n}", "keys": 25} for n in range(2)]
    *lost, _ = answers(database_url, [*renewing, {"role": "collect", "agent": "gc", "times": 30}])
    assert lost == [[], []]
    assert len(Reservations(records).active()) == 50
