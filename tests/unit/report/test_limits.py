"""Where the workers' time went, and what is said of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_spip.model import Span
from pytest_spip.report.limits import RULES, Course, Figures, limits, worker_times

COURSE = Course(began=100.0, provisioned=104.0, ended=110.0)


def work(at: float, seconds: float, phase: str = "run", worker: str = "gw0") -> Span:
    """Return a span of a combination."""
    return Span(phase, at, seconds, 0, worker)


def wait(at: float, seconds: float, worker: str = "gw0") -> Span:
    """Return a span of waiting."""
    return Span("wait", at, seconds, None, worker)


# -- times --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([work(100, 10)], {"run": 10}),
        ([work(101, 1, "compose"), work(102, 2), work(104, 6)], {"start-up": 1, "compose": 1, "run": 8}),
        ([work(100, 2), work(103, 7)], {"run": 9, "other": 1}),
        ([wait(100, 3), work(103, 7)], {"wait-provisioning": 3, "run": 7}),
        ([work(100, 5), wait(105, 2), work(107, 3)], {"run": 8, "wait-work": 2}),
        ([work(100, 2), wait(102, 5), work(107, 3)], {"run": 5, "wait-provisioning": 2, "wait-work": 3}),
        ([work(100, 6), wait(106, 4)], {"run": 6, "tail": 4}),
        ([work(100, 6)], {"run": 6, "tail": 4}),
        ([work(100, 2), wait(102, 8)], {"run": 2, "wait-provisioning": 2, "tail": 6}),
        ([wait(100, 1), wait(101, 1)], {"wait-provisioning": 4, "tail": 6}),
        ([wait(90, 12), work(102, 20)], {"wait-provisioning": 2, "run": 8}),
        ([work(105, 1), wait(106, 1), wait(107, 1), work(108, 2)], {"start-up": 5, "run": 3, "wait-work": 2}),
    ],
)
def test_times(spans: list[Span], expected: dict[str, float]) -> None:
    """A worker's time is told by phase, waiting by what was waited for; all of it lies in the run."""
    (times,) = worker_times(spans, COURSE).values()
    assert {kind: seconds for kind, seconds in times.items() if seconds} == expected
    assert sum(times.values()) == COURSE.seconds


def test_times_are_told_by_worker() -> None:
    """Each worker has times of its own; who tells of nothing is not there."""
    found = worker_times([work(100, 10), work(100, 4, worker="gw1"), wait(104, 6, worker="gw1")], COURSE)
    assert {worker: times["run"] for worker, times in found.items()} == {"gw0": 10, "gw1": 4}
    assert worker_times([], COURSE) == {}


@given(
    st.lists(st.tuples(st.sampled_from(["wait", "run", "report"]), st.floats(0, 4), st.floats(0, 4)), min_size=1),
    st.floats(95, 115),
)
def test_times_add_up(steps: list[tuple[str, float, float]], provisioned: float) -> None:
    """Whatever a worker did one after the other, before, within or after the run, its times add up to the run's."""
    spans, at = [], 98.0
    for phase, pause, seconds in steps:
        spans.append(Span(phase, at + pause, seconds, None, "gw0"))
        at = spans[-1].end
    (times,) = worker_times(spans, Course(100.0, provisioned, 110.0)).values()
    assert sum(times.values()) == pytest.approx(10.0)
    assert all(seconds >= 0 for seconds in times.values())


# -- rules --------------------------------------------------------------------------------------------------------------


def figures(times: dict[str, float], **more: float) -> Figures:
    """Return the figures of a run of ten seconds, and of one worker that spent them like this."""
    return Figures({"gw0": times}, 10.0, 8, **more)  # type: ignore[arg-type]  # some are flags


FETCHING = "downloads and builds; a second run takes them from the cache"
SHORTER = "a shorter --spip-timeout, or fewer workers"


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        (figures({"run": 7, "other": 3}, cpu=0.7), []),
        (figures({"run": 9, "compose": 0.6, "other": 0.4}, cpu=0.98), [
            "processors - workers busy 96%, CPU 98%: more cores (-n auto has 8) would help",
        ]),
        (figures({"run": 9, "clear": 0.7}, cpu=0.4), ["workers - workers busy 97%, CPU 40%: raise -n (now 1)"]),
        (figures({"wait-provisioning": 6.2, "run": 3.8}, fetched=True), [
            f"provisioning - workers waited 62% of their time for {FETCHING}",
        ]),
        (figures({"wait-provisioning": 2}), [
            "provisioning - workers waited 20% of their time although everything was in the cache: more would not help",
        ]),
        (figures({"start-up": 4}), [
            "start-up - workers took 40% of their time to start: fewer of them (-n), or more work for them",
        ]),
        (figures({"tail": 3}, timed_out=True), [
            f"tail - workers stood idle 30% of their time behind the last combinations: {SHORTER}",
        ]),
        (figures({"tail": 3}), [
            "tail - workers stood idle 30% of their time behind the last combinations: fewer workers (-n) would do as much",
        ]),
        (figures({"wait-work": 2, "report": 1}, controller=0.97), [
            "controller - it used 97% of a processor while workers waited: more of them would not help",
        ]),
        (figures({"wait-work": 2}, controller=0.2), [
            "dispatch - workers waited 20% of their time for work that was ready: fewer of them (-n) would do as much",
        ]),
        (figures({"run": 5}, memory=0.23), [
            "memory - processes waited for memory 23% of the time: fewer workers (-n), or a smaller --spip-memory",
        ]),
        (figures({"run": 5}, iowait=0.12, on_disk=True), [
            "disk - processors waited 12% for disks, and environments are on one: --spip-ram=DIR names a tmpfs",
        ]),
        (figures({"run": 5}, iowait=0.12), [
            "disk - processors waited 12% for disks: --spip-cache=DIR on a faster one would help",
        ]),
    ],
)  # fmt: skip  # a table
def test_limits(given: Figures, lines: list[str]) -> None:
    """What limited a run is named with its figure and what to change; where nothing did, nothing is."""
    assert limits(given) == tuple(f"limited by: {line}" for line in lines)


def test_two_that_cost_most_are_told() -> None:
    """Of several limits the two that cost most are told, the worst first."""
    found = limits(figures({"start-up": 2, "wait-provisioning": 3, "tail": 5}, fetched=True))
    assert [line.split()[2] for line in found] == ["tail", "provisioning"]


@pytest.mark.parametrize("given", [Figures({}, 10.0, 8), Figures({"gw0": {"tail": 0.9}}, 0.9, 8), Figures({}, 0.0, 8)])
def test_little_is_not_explained(given: Figures) -> None:
    """A run of less than a second, or without telemetry, says nothing of limits."""
    assert limits(given) == ()


KINDS = ("start-up", "compose", "run", "clear", "report", "wait-provisioning", "wait-work", "tail")
SHARE = st.floats(0, 1)


@given(st.dictionaries(st.sampled_from(KINDS), st.floats(0, 10)), SHARE, SHARE, SHARE, st.booleans())
def test_rules_are_for_every_run(times: dict[str, float], cpu: float, iowait: float, memory: float, flag: bool) -> None:
    """Whatever the figures, two lines at most are told, and each of another limit."""
    seconds = max(sum(times.values()), 1.0)
    found = limits(
        Figures({"gw0": times}, seconds, 2, cpu, iowait, memory, cpu, on_disk=flag, fetched=flag, timed_out=flag)
    )
    names = [line.split(" - ")[0] for line in found]
    assert len(names) == len(set(names)) <= 2


def test_every_rule_is_in_the_table() -> None:
    """Every rule has a line of its own in the tests above."""
    assert len({rule.fix for rule in RULES}) == len(RULES) == 12
