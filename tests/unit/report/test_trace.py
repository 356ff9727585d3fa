"""The trace's file: lanes, spans and counters, of records."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_spip.model import HostSample, Outcome, Reason, Span, Summary
from pytest_spip.report.trace import Lanes, write
from tests.support.rooms import combo, result, run_facts, summary
from tests.support.traces import Event, by_lane, names


@pytest.fixture
def finished() -> Summary:
    """Return a run of three combinations on two hosts."""
    results = [
        result(0, worker="gw0", host="here", runner="warm"),
        result(1, Outcome.FAILED, Reason.IMPORT_ERROR, worker="gw10", host="there", runner="cold"),
    ]
    return summary([combo(n, version=f"1.{n}") for n in range(3)], results, facts=run_facts(hosts=("here",)))


def traced(path: Path, finished: Summary, began: float = 1e9, **how: Any) -> list[Event]:
    """Write a trace and return its events."""
    write(finished, path, **{"began": began, "workers": (), "provisioning": (), "host": (), **how})
    events: list[Event] = json.loads(path.read_text("utf-8"))["traceEvents"]
    return events


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
