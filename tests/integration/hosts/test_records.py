"""Records: what a push does, what a pull finds, and that nothing is passed over, on each engine."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_spip.errors import UsageProblem
from pytest_spip.hosts.database import Database
from pytest_spip.hosts.record_kinds import BODY, LIFETIMES, NAME, Kind, Pushed, Record
from pytest_spip.hosts.records import BATCH, Page, Records, behind
from tests.support.shared_database import counted, pass_time, rows_read

_NUMBERS = itertools.count()
EACH = [Record(kind, f"of {kind}", {"on": ["a"]}) for kind in Kind]


def keys(page: Page) -> list[str]:
    """Return the keys of a page's records."""
    return [record.key for record in page.records]


def test_seven_kinds_come_back(records: Records) -> None:
    """What is pushed is pulled: kind, key, agent and body, in the order of the push; each kind has its lifetime."""
    assert records.push(EACH) == Pushed(inserted=7)
    now = records.database.now()
    page = records.pull()
    assert [(one.kind, one.key, one.agent, one.body) for one in page.records] == [
        (one.kind, one.key, "alice", one.body) for one in EACH
    ]
    for one in page.records:
        ttl = LIFETIMES.get(one.kind)
        assert one.expires_at is None if ttl is None else abs(one.expires_at - now - ttl) < 30  # type: ignore[operator]
    assert [one.seq for one in page.records] == sorted({one.seq for one in page.records})


def test_push_tells_what_became_of_each(records: Records) -> None:
    """A push inserts what is new, replaces what differs, and passes over what is there; the last of one key counts."""
    one, other = Record(Kind.TASK, "one", {"n": 1}), Record(Kind.TASK, "other", {"n": 1})
    assert records.push([one, other]) == Pushed(inserted=2)
    cursor = records.pull().cursor
    changed = dataclasses.replace(other, body={"n": 2})
    assert records.push([one, changed, Record(Kind.CLAIM, "one")]) == Pushed(1, 1, 1)
    assert keys(records.pull(cursor)) == ["other", "one"]
    assert records.push([Record(Kind.TASK, "twice", {"n": n}) for n in range(3)]) == Pushed(inserted=1, skipped=2)
    assert [found.body for found in records.pull(kinds=[Kind.TASK]).records] == [{"n": 1}, {"n": 2}, {"n": 2}]
    assert records.push([dataclasses.replace(one, agent="bob")]) == Pushed(updated=1)
    assert records.push([dataclasses.replace(one, agent="bob", ttl=60)]) == Pushed(updated=1)


def test_nothing_to_push_makes_no_call(records: Records) -> None:
    """No statement is sent for no records."""
    records.pull()
    with counted(records.database) as found:
        assert records.push([]) == Pushed()
        assert records.push(iter(())) == Pushed()
        assert records.delete(Kind.TASK, []) == 0
    assert found == {"statements": 0, "commits": 0}


def test_batches_of_500(records: Records) -> None:
    """7 001 records are 14 batches of 500 and one of 1, each a transaction; statements do not grow with records."""
    many = (Record(Kind.INTENT, f"{n}") for n in range(7001))
    with counted(records.database) as found:
        assert records.push(many) == Pushed(inserted=7001)
    assert found["commits"] == 15
    assert found["statements"] < 15 * 5
    assert BATCH == 500


def test_pull_in_pages(records: Records) -> None:
    """Pages follow one another without a gap and without an overlap; the last one says so; a cursor may be used again."""
    records.push(Record(Kind.TASK, f"{n}") for n in range(25))
    first = records.pull(limit=10)
    second = records.pull(first.cursor, 10)
    third = records.pull(second.cursor, 10)
    assert keys(first) + keys(second) + keys(third) == [f"{n}" for n in range(25)]
    assert [page.is_last for page in (first, second, third)] == [False, False, True]
    assert records.pull(first.cursor, 10) == second
    assert records.pull(third.cursor) == Page([], third.cursor, is_last=True)
    assert [keys(page) for page in records.pages(limit=10)] == [keys(page) for page in (first, second, third)]
    assert list(records.pages(third.cursor)) == []


def test_pull_costs_the_same_each_time(records: Records) -> None:
    """A pull is one statement, from whatever cursor."""
    records.push(Record(Kind.TASK, f"{n}") for n in range(100))
    with counted(records.database) as found:
        for cursor in (0, 50, 0, 50):
            records.pull(cursor, 10)
    assert found == {"statements": 4, "commits": 4}


def test_some_kinds(records: Records) -> None:
    """A pull of some kinds finds those alone, in the order of their changes, in pages too."""
    records.push(Record(kind, f"{n}", {"on": []}) for n in range(6) for kind in Kind)
    assert keys(records.pull(kinds=[Kind.CLAIM])) == [f"{n}" for n in range(6)]
    wanted = [Kind.CLAIM, Kind.TASK]
    both = [(one.kind, one.key) for page in records.pages(limit=5, kinds=wanted) for one in page.records]
    assert both == [(kind, f"{n}") for n in range(6) for kind in (Kind.TASK, Kind.CLAIM)]
    assert len(records.pull(kinds=Kind).records) == 42


@pytest.mark.parametrize("kinds", [[Kind.CLAIM], [Kind.CLAIM, Kind.TASK]])
def test_other_kinds_are_not_read(records: Records, kinds: list[Kind]) -> None:
    """The engine walks along the index of the kinds that are asked for, and passes over no other record."""
    records.push(Record(kind, f"{n}", {"on": []}) for n in range(600) for kind in Kind)
    statement, values = behind("run", 4000, 100, kinds)
    plan = rows_read(records.database, statement.params(values))
    if records.database.is_postgresql:
        assert "spip_record_of_kind" in plan
        assert "Rows Removed by Filter" not in plan
        assert "Seq Scan" not in plan
    else:
        assert plan.count("spip_record_of_kind (<expr>=? AND seq>?)") == len(kinds)
        assert "SCAN spip_record" not in plan


def test_deleted_records_are_told(records: Records) -> None:
    """Who pulls is told of a deletion, once, without the body; a push brings the record back as a new one."""
    records.push([Record(Kind.TASK, "one", {"n": 1}), Record(Kind.TASK, "two"), Record(Kind.CLAIM, "one")])
    cursor = records.pull().cursor
    assert records.delete(Kind.TASK, ["one", "one", "nobody's"]) == 1
    [gone] = records.pull(cursor).records
    assert (gone.kind, gone.key, gone.deleted, gone.body) == (Kind.TASK, "one", True, {})
    assert records.delete(Kind.TASK, ["one"]) == 0
    assert records.push([Record(Kind.TASK, "one", {"n": 1})]) == Pushed(inserted=1)
    [back] = records.pull(gone.seq).records
    assert (back.deleted, back.body, back.expires_at) == (False, {"n": 1}, None)


def test_runs_do_not_see_each_other(database: Database) -> None:
    """Records of one run are not those of another, though their kinds and keys are equal."""
    one, other = Records(database, "one", "alice"), Records(database, "other", "alice")
    one.push([Record(Kind.TASK, "key", {"of": "one"})])
    assert other.push([Record(Kind.TASK, "key", {"of": "other"})]) == Pushed(inserted=1)
    assert other.delete(Kind.TASK, ["key"]) == 1
    assert [found.body for found in one.pull().records] == [{"of": "one"}]


@pytest.mark.parametrize("size", [50, 1_000, 10_000, 50_000])
def test_payloads(records: Records, size: int) -> None:
    """Payloads of up to 50 KB come back as they were, by the batch."""
    bodies = [{"payload": chr(97 + n) * size} for n in range(20)]
    records.push(Record(Kind.TASK, f"{n}", body) for n, body in enumerate(bodies))
    assert [one.body for one in records.pull().records] == bodies


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (Record(Kind.TASK, "key", {"text": "x" * BODY}), f"has {BODY + 11} bytes, and {BODY} are allowed"),
        (Record(Kind.TASK, "key", {"text": "é" * (BODY // 2)}), f"has {BODY + 11} bytes"),
        (Record(Kind.TASK, "key", {"set": {1}}), "no JSON object"),
        (Record(Kind.TASK, "key", {"number": float("nan")}), "no JSON object"),
        (Record(Kind.TASK, "key", {"half": "\ud800"}), "no JSON object"),
        (Record("wish", "key"), "no such kind"),  # type: ignore[arg-type]  # as JSON may have it
        (Record(Kind.TASK, ""), "its key is no name"),
        (Record(Kind.TASK, "k" * (NAME + 1)), "its key is no name"),
        (Record(Kind.TASK, "zero\0"), "its key is no name"),
        (Record(Kind.TASK, "half\ud800"), "its key is no name"),
        (Record(Kind.TASK, "key", agent="a" * 501), "its agent is no name"),
        (Record(Kind.TASK, "key", ttl=-1), "a ttl of -1 s"),
        (Record(Kind.TASK, "key", ttl=float("inf")), "a ttl of inf s"),
        (Record(Kind.TASK, "key", ttl=float("nan")), "a ttl of nan s"),
        (Record(Kind.DEPENDENCY, "key"), "no list 'on'"),
        (Record(Kind.DEPENDENCY, "key", {"on": "text"}), "no list 'on'"),
        (Record(Kind.DEPENDENCY, "key", {"on": [1]}), "no list 'on'"),
        (Record(Kind.DEPENDENCY, "key", {"on": [""]}), "no name"),
        (Record(Kind.DEPENDENCY, "key", {"on": [], "note": "\0"}), "has a zero"),
    ],
)
def test_bad_records_are_refused_in_one_line(records: Records, record: Record, message: str) -> None:
    """What cannot be a record is named in one line that can be printed, and its batch is not written."""
    with pytest.raises(UsageProblem) as caught:
        records.push([Record(Kind.TASK, "good"), record])
    text = str(caught.value)
    assert message in text
    assert len(text.encode("utf-8", "strict").splitlines()) == 1
    assert len(text) < 300
    assert records.pull().records == []


def test_largest_names_and_bodies(records: Records) -> None:
    """The largest key, agent, run and body that are allowed can be stored, also where nothing of them repeats."""
    draw = random.Random(1)
    key, agent, run = ("".join(draw.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=NAME)) for _ in range(3))
    body = {"text": "".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=BODY - len('{"text":""}')))}
    large = Records(records.database, run, agent)
    large.push([Record(Kind.TASK, key, body)])
    [found] = large.pull().records
    assert (found.key, found.agent, found.body) == (key, agent, body)


@pytest.mark.parametrize("run", ["", "zero\0", "half\ud800", "r" * (NAME + 1)])
def test_bad_runs_are_refused(database: Database, run: str) -> None:
    """What cannot be the name of a run is told before anything is asked."""
    with pytest.raises(UsageProblem, match="its name is no name"):
        Records(database, run, "alice")


@pytest.mark.parametrize(
    "name", ["\x01", "'; DROP TABLE spip_record; --", "%s", ":run", "100%", "$1", "\\", '"', "ключ"]
)
def test_names_are_no_statements(records: Records, name: str) -> None:
    """Whatever a name holds, it is data."""
    odd = Records(records.database, name, name)
    odd.push([Record(Kind.TASK, name, {name: name}), Record(Kind.DEPENDENCY, name, {"on": [name + "2"]})])
    found = odd.pull().records
    assert [(one.key, one.agent) for one in found] == [(name, name)] * 2
    assert found[0].body == {name: name}
    assert odd.delete(Kind.TASK, [name]) == 1


def test_expired_records_can_still_be_pulled(records: Records) -> None:
    """Records that have expired are there until they are collected, and say when they expired."""
    records.push([Record(Kind.INTENT, "build", ttl=30)])
    pass_time(records.database, 60)
    [found] = records.pull().records
    assert found.expires_at is not None
    assert found.expires_at < records.database.now()


BODIES = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=5,
    ),
    max_size=3,
)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)


@given(st.lists(st.tuples(NAMES, BODIES), max_size=8))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_body_comes_back(records: Records, pairs: list[tuple[str, dict[str, object]]]) -> None:
    """Any JSON object under any name is pulled as it was pushed."""
    records.delete(Kind.TASK, [one.key for one in records.pull().records])
    records.push(Record(Kind.TASK, key, body) for key, body in pairs)
    found = {one.key: one.body for one in records.pull().records if not one.deleted}
    assert json.dumps(found, sort_keys=True) == json.dumps(dict(pairs), sort_keys=True)


CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 2)), max_size=4)),
        st.tuples(st.just("delete"), st.lists(st.sampled_from("abcd"), max_size=2)),
        st.tuples(st.just("pull"), st.integers(1, 3)),
    ),
    max_size=12,
)


@given(CHANGES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_who_follows_sees_what_is_there(database: Database, changes: list[tuple[str, object]]) -> None:
    """A follower who pulls pages now and then knows, at the end, what the last pushes and deletions made of it."""
    records = Records(database, f"run {next(_NUMBERS)}", "alice")
    truth: dict[str, int] = {}
    seen: dict[str, int] = {}
    cursor = 0

    def follow(limit: int) -> bool:
        nonlocal cursor
        page = records.pull(cursor, limit)
        assert page.cursor >= cursor
        cursor = page.cursor
        for one in page.records:
            seen.pop(one.key, None)
            if not one.deleted:
                seen[one.key] = one.body["n"]
        return page.is_last

    for what, value in changes:
        if what == "push":
            pushed = records.push(Record(Kind.TASK, key, {"n": n}) for key, n in value)  # type: ignore[attr-defined]
            assert pushed.inserted == len({key for key, _ in value} - {*truth})  # type: ignore[attr-defined]
            truth.update(value)  # type: ignore[call-overload]
        elif what == "delete":
            assert records.delete(Kind.TASK, value) == len({*truth}.intersection(value))  # type: ignore[arg-type]
            for key in value:  # type: ignore[attr-defined]
                truth.pop(key, None)
        else:
            follow(value)  # type: ignore[arg-type]
    while not follow(2):
        pass
    assert seen == truth
