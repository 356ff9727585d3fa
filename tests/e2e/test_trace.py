"""The trace of a real run: what happened, where it happened."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import pytest

from tests.conftest import MakeMachine
from tests.support.distributions import wheel
from tests.support.machine import LABEL, Done
from tests.support.traces import Event, by_lane, names

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
