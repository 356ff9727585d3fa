"""Dependencies: what leads to what, in order, and never in a circle, on each engine."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_spip.errors import UsageProblem
from pytest_spip.hosts.database import Database
from pytest_spip.hosts.dependencies import dependency_closure
from pytest_spip.hosts.record_kinds import Kind, Record
from pytest_spip.hosts.records import Records
from tests.support.shared_database import counted, pass_time


def on(key: str, *others: str, ttl: float | None = None) -> Record:
    """Return a dependency."""
    return Record(Kind.DEPENDENCY, key, {"on": others}, ttl)


def closure(records: Records, key: str) -> list[str]:
    """Return what a key depends on."""
    return dependency_closure(records.database, records.run, key)


def test_closure_in_order(records: Records) -> None:
    """All that a key depends on is found once, each behind what it depends on itself."""
    records.push([on("app", "web", "db"), on("web", "http"), on("http", "core"), on("db", "core"), on("other", "app")])
    found = closure(records, "app")
    assert sorted(found) == ["core", "db", "http", "web"]
    assert found.index("core") < found.index("http") < found.index("web")
    assert found.index("core") < found.index("db")
    assert closure(records, "core") == []
    assert closure(records, "nobody") == []


def test_circles_are_refused(records: Records) -> None:
    """A dependency that would close a circle is refused with the way around; what was there stays, its batch is not written."""
    records.push([on("a", "b"), on("b", "c")])
    with pytest.raises(
        UsageProblem, match=r"would depend on itself: (a -> b -> c -> a|b -> c -> a -> b|c -> a -> b -> c)"
    ):
        records.push([Record(Kind.TASK, "beside"), on("c", "x", "a")])
    with pytest.raises(UsageProblem, match="itself: d -> d"):
        records.push([on("d", "d")])
    assert closure(records, "a") == ["c", "b"]
    assert len(records.pull().records) == 2
    records.push([on("b"), on("c", "a")])
    assert closure(records, "c") == ["b", "a"]


def test_circle_within_one_batch(records: Records) -> None:
    """A circle that comes at once is refused, too."""
    with pytest.raises(UsageProblem, match="would depend on itself"):
        records.push([on("a", "b"), on("b", "c"), on("c", "a")])
    assert records.pull().records == []


def test_what_is_gone_does_not_count(records: Records) -> None:
    """Dependencies that were deleted, or have expired, lead nowhere and close no circle."""
    records.push([on("a", "b", ttl=300), on("b", "c"), on("c", "d")])
    records.delete(Kind.DEPENDENCY, ["c"])
    assert closure(records, "a") == ["c", "b"]
    pass_time(records.database, 600)
    assert closure(records, "a") == []
    records.push([on("b", "a")])
    with pytest.raises(UsageProblem, match="itself"):
        records.push([on("a", "b")])


def test_deep_and_wide(records: Records) -> None:
    """A chain of 3 000 and a fan of 1 500 are one query each; a circle through all of it is found, and told in one short line."""
    records.push(on(f"{n}", f"{n + 1}") for n in range(3000))
    records.push([on("fan", *(f"leaf {n}" for n in range(1500)))])
    with counted(records.database) as found:
        assert closure(records, "0") == [f"{n}" for n in range(3000, 0, -1)]
        assert sorted(closure(records, "fan")) == sorted(f"leaf {n}" for n in range(1500))
    assert found["statements"] == 2
    with pytest.raises(UsageProblem) as caught:
        records.push([on("3000", "0")])
    assert len(str(caught.value)) < 300


def test_runs_are_apart(database: Database) -> None:
    """A circle through two runs is none."""
    one, other = Records(database, "one", "alice"), Records(database, "other", "alice")
    one.push([on("a", "b")])
    other.push([on("b", "a")])
    assert closure(one, "a") == ["b"]


KEYS = st.sampled_from("abcdef")


@given(st.lists(st.tuples(KEYS, st.lists(KEYS, max_size=3)), max_size=12))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_circle_ever(records: Records, pushes: list[tuple[str, list[str]]]) -> None:
    """Whatever is pushed, what is kept has no circle, and closures are those of the kept graph."""
    records.delete(Kind.DEPENDENCY, "abcdef")
    graph: dict[str, list[str]] = {}

    def reach(key: str, graph: dict[str, list[str]]) -> set[str]:
        found: set[str] = set()
        rest = list(graph.get(key, ()))
        while rest:
            if (name := rest.pop()) not in found:
                found.add(name)
                rest += graph.get(name, ())
        return found

    for key, others in pushes:
        wanted = {**graph, key: others}
        if key in reach(key, wanted):
            with pytest.raises(UsageProblem):
                records.push([on(key, *others)])
        else:
            records.push([on(key, *others)])
            graph = wanted
    for key in "abcdef":
        assert set(closure(records, key)) == reach(key, graph)


def test_agents_may_differ(records: Records) -> None:
    """A dependency is the run's, whoever pushed it."""
    records.push([dataclasses.replace(on("a", "b"), agent="bob"), on("b", "c")])
    assert closure(records, "a") == ["c", "b"]


def test_other_fields_are_not_read(records: Records) -> None:
    """What else a body holds, such as deep lists, is in nobody's way."""
    deep: list[object] = []
    for _ in range(400):
        deep = [deep]
    records.push([Record(Kind.DEPENDENCY, "a", {"deep": deep, "on": ["b"]}), on("b", "c")])
    assert closure(records, "a") == ["c", "b"]
