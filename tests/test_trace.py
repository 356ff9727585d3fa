"""The trace: what a browser's tracing tools open, and what happened."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_spip.model import HostSample, Outcome, Reason, Span, Summary
from pytest_spip.report.trace import Lanes, write
from tests.conftest import MakeMachine
from tests.support.distributions import wheel
from tests.support.machine import LABEL, Done
from tests.support.rooms import combo, result, summary

Event = dict[str, Any]


@pytest.fixture
def finished() -> Summary:
    """Return a run of three combinations on two hosts."""
    results = [
        result(0, worker="gw0", host="here", runner="warm"),
        result(1, Outcome.FAILED, Reason.IMPORT_ERROR, worker="gw10", host="there", runner="cold"),
    ]
    return summary([combo(n, version=f"1.{n}") for n in range(3)], results, facts={"hosts": ["here"]})


def traced(path: Path, finished: Summary, began: float = 1e9, **how: Any) -> list[Event]:
    """Write a trace and return its events."""
    write(finished, path, **{"began": began, "workers": (), "provisioning": (), "host": (), **how})
    events: list[Event] = json.loads(path.read_text("utf-8"))["traceEvents"]
    return events


def names(events: list[Event], what: str) -> dict[tuple[int, int | None], Any]:
    """Return the names that metadata events give, by process and thread."""
    told = (event for event in events if event["ph"] == "M" and event["name"] == what)
    return {(event["pid"], event.get("tid")): next(iter(event["args"].values())) for event in told}


def by_lane(events: list[Event]) -> dict[str, list[Event]]:
    """Return the complete events by the name of their thread."""
    threads, lanes = names(events, "thread_name"), defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            lanes[threads[event["pid"], event["tid"]]].append(event)
    return dict(lanes)


def test_workers_have_lanes(tmp_path: Path, finished: Summary) -> None:
    """Each worker is a thread of its host, ordered by its number; a span is as long as it was and says whose it is."""
    spans = [
        Span("wait", 1e9, 0.5, None, "gw0"),
        Span("run", 1e9 + 0.5, 0.25, 0, "gw0"),
        Span("run", 1e9 + 1, 0.001, 1, "gw10"),
        Span("compose", 1e9 + 2, 0.001, 2, "gw10"),
    ]
    events = traced(tmp_path / "trace.json", finished, workers=spans)
    assert list(names(events, "process_name").values()) == ["here", "there"]
    assert list(names(events, "thread_sort_index").values()) == [0, 10]
    assert [{**event, "pid": 0, "tid": 0} for event in by_lane(events)["gw0"]] == [
        {"name": "wait", "ph": "X", "pid": 0, "tid": 0, "ts": 0, "dur": 500_000, "args": {}},
        {
            "name": "run",
            "ph": "X",
            "pid": 0,
            "tid": 0,
            "ts": 500_000,
            "dur": 250_000,
            "args": {"combination": "demo[1.0-py312]", "outcome": "passed", "reason": None},
        },
    ]
    assert [event["args"] for event in by_lane(events)["gw10"]] == [
        {"combination": "demo[1.1-py312]", "outcome": "failed", "reason": "import-error"},
        {"combination": "demo[1.2-py312]"},
    ]


def test_clock_that_was_set_back(tmp_path: Path, finished: Summary) -> None:
    """What a clock that was set back meanwhile tells does not overlap."""
    spans = [Span("run", 1e9 + at, 1.0, None, "gw0") for at in (0, 1, 0.5, 5)]
    (lane,) = by_lane(traced(tmp_path / "trace.json", finished, workers=spans)).values()
    assert [(event["ts"], event["dur"]) for event in lane] == [
        (0, 1_000_000),
        (1_000_000, 1_000_000),
        (2_000_000, 0),
        (5_000_000, 1_000_000),
    ]


def test_provisioning_has_lanes(tmp_path: Path, finished: Summary) -> None:
    """Combinations that were provisioned at once are in different lanes, and a lane is used again."""
    spans = [
        Span("resolve", 1e9, 1.0, 0, "controller"),
        Span("fetch", 1e9 + 1, 1.0, 0, "controller"),
        Span("resolve", 1e9 + 0.5, 1.0, 1, "controller"),
        Span("resolve", 1e9 + 1.5, 1.0, 2, "controller"),
    ]
    events = traced(tmp_path / "trace.json", finished, provisioning=spans)
    assert {name: [event["args"]["combination"] for event in lane] for name, lane in by_lane(events).items()} == {
        "provisioning 1": ["demo[1.0-py312]"] * 2,
        "provisioning 2": ["demo[1.1-py312]", "demo[1.2-py312]"],
    }


def test_machine_has_counters(tmp_path: Path, finished: Summary) -> None:
    """Samples of the machine are counters in per cent and MiB; what the kernel does not tell is not there."""
    told = HostSample(1e9 + 5, 0.5, 0.25, 3 << 30, 5 << 20, 0.1, 0.2, 0.3)
    silent = dataclasses.replace(told, at=1e9 + 10, cpu_pressure=None, io_pressure=None, memory_pressure=None)
    events = traced(tmp_path / "trace.json", finished, host=[told, silent])
    counters = [(event["ts"], event["name"], event["args"]) for event in events if event["ph"] == "C"]
    common = [("CPU", {"busy": 50.0, "iowait": 25.0})]
    rest = [("memory available, MiB", {"MiB": 3072}), ("environments' file system, MiB", {"MiB": 5})]
    pressure = ("pressure", {"cpu": 10.0, "io": 20.0, "memory": 30.0})
    first, second = [*common, pressure, *rest], [*common, *rest]
    assert counters == [(5_000_000, *one) for one in first] + [(10_000_000, *one) for one in second]


def test_trace_of_nothing(tmp_path: Path) -> None:
    """A run of which nothing is told has an empty trace."""
    assert traced(tmp_path / "trace.json", summary([], [])) == []


def test_failed_trace_leaves_nothing(tmp_path: Path, finished: Summary) -> None:
    """A trace that cannot be completed leaves the older one, and nothing beside it."""
    (tmp_path / "trace.json").write_text("older")
    with pytest.raises(ZeroDivisionError):
        traced(tmp_path / "trace.json", finished, workers=(Span("run", 1 / n, 1.0) for n in (1, 0)))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"trace.json": "older"}


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 10))))
def test_lanes_are_few_and_free(drawn: list[tuple[int, int]]) -> None:
    """In a lane nothing overlaps, and there are no more lanes than jobs at once."""
    jobs = sorted((start, start + length) for start, length in drawn)
    lanes, taken = Lanes(), defaultdict(list)
    for start, end in jobs:
        taken[lanes.put(start, end)].append((start, end))
    assert all(end <= start for lane in taken.values() for (_, end), (start, _) in pairwise(lane))
    active_workers = max(
        (sum(s <= start < e or (s, e) == (start, end) for s, e in jobs) for start, end in jobs), default=0
    )
    assert len(taken) <= active_workers


# -- end to end ---------------------------------------------------------------------------------------------------------

PACKAGES = {"good": "", "bad": "import nonesuch", "other": "", "last": ""}


@pytest.fixture(scope="module")
def done(make_machine: MakeMachine) -> Done:
    """Run a small matrix on two workers."""
    machine = make_machine()
    for name, text in PACKAGES.items():
        for version in ("1", "2", "3"):
            wheel(machine.files, name, version, {f"{name}.py": text})
    matrix = [f"--spip-matrix={name}" for name in PACKAGES]
    return machine.run(*matrix, "-n", "2", "--spip-report=trace:trace.json")


@pytest.fixture(scope="module")
def events(done: Done) -> list[Event]:
    """Read the trace that the run wrote."""
    trace = json.loads((done.project / "trace.json").read_text("utf-8"))
    assert trace.keys() == {"displayTimeUnit", "traceEvents"}
    found: list[Event] = trace["traceEvents"]
    return found


def test_combinations_ran_where_they_are_told(done: Done, events: list[Event]) -> None:
    """Every combination that ran has one span of it, in its worker's lane, with its outcome and reason."""
    ran = [
        (event["args"]["combination"], worker, event["args"]["outcome"], event["args"]["reason"])
        for worker, lane in by_lane(events).items()
        for event in lane
        if event["name"] == "run"
    ]
    told = [(one["id"], one["worker"], one["outcome"], one["reason"]) for one in done.combinations.values()]
    assert sorted(ran) == sorted(told)
    assert len(ran) == 12
    assert f"bad[1-{LABEL}]" in {name for name, _, outcome, _ in ran if outcome == "failed"}


def test_lanes_do_not_overlap(done: Done, events: list[Event]) -> None:
    """In no lane a span begins before the one before has ended; all are of one host, and within the run's time."""
    lanes = by_lane(events)
    assert {"provisioning 1"} <= lanes.keys()
    for lane in lanes.values():
        assert all(one["ts"] + one["dur"] <= next_["ts"] for one, next_ in pairwise(lane))
    assert list(names(events, "process_name").values()) == done.report["run"]["hosts"]
    assert {event["name"] for lane in lanes.values() for event in lane} >= {"resolve", "compose", "run", "report"}


def test_machine_is_sampled_by_one(events: list[Event]) -> None:
    """The machine's figures are told by one process, not by each worker."""
    counters = [event["ts"] for event in events if event["ph"] == "C" and event["name"] == "CPU"]
    assert counters
    assert len(counters) == len(set(counters))


def test_workers_times_are_told(done: Done) -> None:
    """The JSON report tells where each worker's time went; nothing of telemetry is missing, and limits are shown."""
    told = done.report["summary"]
    assert set(told["workers"]) == {one["worker"] for one in done.combinations.values()}
    for times in told["workers"].values():
        assert sum(times.values()) == pytest.approx(told["seconds"], abs=0.01)
        assert times["run"] > 0
    assert told["untold"] == {}
    assert [line for line in done.stdout.splitlines() if "limited by" in line] == [
        f"spip: {line}" for line in told["limits"]
    ]


DAMAGE = """
import os, pathlib, pytest
@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    for path in pathlib.Path(".spip/latest/workers").glob("gw*.sqlite"):
        data = path.read_bytes()
        {how}
"""
WAYS = {
    "garbage": "path.write_bytes(data[:4096] + os.urandom(len(data) - 4096))",
    "truncated": "path.write_bytes(data[:len(data) // 2])",
    "empty": "path.write_bytes(b'')",
}


def test_damaged_telemetry_costs_no_verdict(make_machine: MakeMachine) -> None:
    """Workers' files that are damaged before they are merged cost their spans, which is said, and nothing else."""
    machine = make_machine()
    wheel(machine.files, "good", "1", {"good.py": ""})
    wheel(machine.files, "bad", "1", {"bad.py": "import nonesuch"})
    for name, how in WAYS.items():
        machine.project(name, {"conftest.py": DAMAGE.format(how=how)})
    arguments = ("--spip-matrix=good", "--spip-matrix=bad", "-n", "2", "--spip-report=trace:trace.json")
    for name, found in machine.run_all({name: {"arguments": arguments} for name in WAYS}).items():
        assert found.outcomes == {f"good[1-{LABEL}]": "passed", f"bad[1-{LABEL}]": "failed"}, name
        assert sum(found.report["summary"]["untold"].values()) == 2
        # Either worker may have run both: the other one, late, told nothing that could be damaged.
        told = r"spip: telemetry: 2 of 2 combinations have no spans \(gw\d damaged"
        assert re.search(told, found.stdout), found.stdout
        trace = json.loads((found.project / "trace.json").read_text("utf-8"))
        assert {lane.rpartition(" ")[0] for lane in by_lane(trace["traceEvents"])} <= {"provisioning"}
