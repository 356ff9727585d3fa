"""The collection of records: what goes, when, and what never does, on each engine."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_spip.errors import UsageProblem
from pytest_spip.hosts.database import Database
from pytest_spip.hosts.record_gc import SLICE, collect_records
from pytest_spip.hosts.record_kinds import Kind, Record
from pytest_spip.hosts.records import Records
from pytest_spip.hosts.reservations import Reservations
from tests.support.shared_database import counted, pass_time


def left(records: Records) -> set[tuple[str, str]]:
    """Return kind and key of what is there."""
    return {(one.kind.value, one.key) for page in records.pages() for one in page.records}


def test_expired_goes_after_the_grace(records: Records) -> None:
    """What has expired stays for the grace and goes then; what has no time to expire at stays; counts are by kind."""
    records.push(Record(kind, "lasts", {"on": []}, ttl=10_000) for kind in Kind if kind is not Kind.RELEASE)
    records.push(Record(kind, "ends", {"on": []}, ttl=300) for kind in Kind)
    records.push([Record(Kind.TASK, "stays")])
    pass_time(records.database, 600)
    assert collect_records(records, grace=1000) == {}
    assert collect_records(records, grace=200) == dict.fromkeys(Kind, 1)
    kinds = [kind.value for kind in Kind if kind is not Kind.RELEASE]
    assert left(records) == {(kind, "lasts") for kind in kinds} | {("task", "stays")}
    assert collect_records(records, grace=0) == {}


def test_released_goes_with_its_release(records: Records) -> None:
    """A released reservation, and the release, go when the grace is over, long before it would have expired."""
    reservations = Reservations(records)
    reservations.reserve("done", ttl=100_000)
    reservations.reserve("goes on", ttl=100_000)
    reservations.release("done")
    pass_time(records.database, 600)
    assert collect_records(records, grace=1000) == {}
    assert collect_records(records, grace=500) == {Kind.RESERVATION: 1, Kind.RELEASE: 1}
    assert left(records) == {("reservation", "goes on")}


def test_active_never_goes(records: Records) -> None:
    """A reservation that a heartbeat extends stays, though its own time is long over; so do renewed and reserved ones."""
    reservations = Reservations(records)
    reservations.reserve("extended", ttl=1)
    reservations.reserve("renewed", ttl=1)
    reservations.reserve("again", ttl=1000)
    reservations.release("again")
    pass_time(records.database, 500)
    reservations.reserve("renewed", ttl=600)
    reservations.reserve("again", ttl=600)
    reservations.beat(ttl=600)
    active = {one.key for one in reservations.active()}
    assert active == {"extended", "renewed", "again"}
    assert collect_records(records, grace=0) == {Kind.RELEASE: 1}
    assert {one.key for one in reservations.active()} == active
    assert left(records) == {("heartbeat", "alice"), *(("reservation", key) for key in active)}


def test_lapsed_heartbeat_goes_with_what_it_extended(records: Records) -> None:
    """What a heartbeat extended goes after the heartbeat's end and the grace, not after its own."""
    reservations = Reservations(records)
    reservations.reserve("thing", ttl=1)
    reservations.beat(ttl=1000)
    pass_time(records.database, 1500)
    assert collect_records(records, grace=700) == {}
    assert collect_records(records, grace=300) == {Kind.RESERVATION: 1, Kind.HEARTBEAT: 1}
    assert left(records) == set()


def test_deleted_goes_after_the_grace(records: Records) -> None:
    """What is left of a deletion can be pulled for the grace, then it goes."""
    records.push(Record(kind, "gone", {"on": []}, ttl=10_000) for kind in Kind)
    for kind in Kind:
        records.delete(kind, ["gone"])
    pass_time(records.database, 600)
    assert collect_records(records, grace=1000) == {}
    assert collect_records(records, grace=500) == dict.fromkeys(Kind, 1)
    assert left(records) == set()


def test_dry_run_tells_the_same(records: Records) -> None:
    """A dry run tells what would go, by one statement beside the clock's, and removes nothing."""
    records.push(Record(Kind.RESERVATION, f"{n}", ttl=1 if n % 3 else 100_000) for n in range(30))
    records.push(Record(Kind.RELEASE, f"{n}") for n in range(0, 30, 2))
    records.push(Record(Kind.TASK, f"{n}", ttl=100 * n + 50) for n in range(30))
    pass_time(records.database, 6000)
    before = left(records)
    with counted(records.database) as found:
        told = collect_records(records, grace=4000, dry_run=True)
    assert found["statements"] == 2
    assert left(records) == before
    assert collect_records(records, grace=4000) == told
    assert told == {Kind.RESERVATION: 25, Kind.RELEASE: 15, Kind.TASK: 20}


def test_slices(records: Records) -> None:
    """Many records go in slices, so that nobody waits for long; none is left."""
    count = 2 * SLICE + 1
    records.push(Record(Kind.TASK, f"{n}", ttl=1) for n in range(count))
    pass_time(records.database, 60)
    with counted(records.database) as found:
        assert collect_records(records, grace=0) == {Kind.TASK: count}
    assert found["commits"] == 1 + 3
    assert left(records) == set()


def test_runs_are_apart(database: Database) -> None:
    """A collection is of one run."""
    one, other = Records(database, "one", "alice"), Records(database, "other", "alice")
    for records in (one, other):
        records.push([Record(Kind.RESERVATION, "thing", ttl=1), Record(Kind.RELEASE, "thing")])
    pass_time(database, 60)
    assert collect_records(one, grace=0) == {Kind.RESERVATION: 1, Kind.RELEASE: 1}
    assert len(left(other)) == 2


@pytest.mark.parametrize("grace", [-1.0, float("nan")])
def test_grace_is_a_time(records: Records, grace: float) -> None:
    """A grace below 0 would remove what is active, and is refused."""
    with pytest.raises(UsageProblem, match="grace"):
        collect_records(records, grace=grace)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), st.sampled_from("abc"), st.sampled_from([500.0, 5000.0])),
        st.tuples(st.just("release"), st.sampled_from("abc"), st.just(0.0)),
        st.tuples(st.just("beat"), st.just(""), st.sampled_from([500.0, 5000.0])),
        st.tuples(st.just("wait"), st.just(""), st.sampled_from([300.0, 2100.0])),
        st.tuples(st.just("collect"), st.just(""), st.sampled_from([0.0, 1100.0])),
    ),
    max_size=14,
)


@given(STEPS, st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_collecting_changes_nothing_that_counts(
    database: Database, steps: list[tuple[str, str, float]], data: st.DataObject
) -> None:
    """Whatever two agents do, and whenever it is collected: what is held before is held after, and the dry run was right."""
    hands = [Reservations(Records(database, "model", name)) for name in ("alice", "bob")]
    pass_time(database, 1e7)
    collect_records(hands[0].records, grace=0)
    assert left(hands[0].records) == set()
    for what, key, seconds in steps:
        hand = data.draw(st.sampled_from(hands))
        if what == "reserve":
            holder = hand.holder(key)
            is_free = holder is None or holder.agent == hand.records.agent
            assert (hand.reserve(key, ttl=seconds) is not None) == is_free
        elif what == "release":
            holder = hand.holder(key)
            assert hand.release(key) == (holder is not None and holder.agent == hand.records.agent)
            assert (found := hand.holder(key)) is None or found.agent != hand.records.agent
        elif what == "beat":
            hand.beat(ttl=seconds)
        elif what == "wait":
            pass_time(database, seconds)
        else:
            before = hand.active()
            told = collect_records(hand.records, grace=seconds, dry_run=True)
            assert collect_records(hand.records, grace=seconds) == told
            assert hand.active() == before
