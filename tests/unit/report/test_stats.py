"""The state of a run in a line, as text and as data."""

from __future__ import annotations

import dataclasses
import json

import pytest

from pytest_spip.common.machine import Snapshot
from pytest_spip.report.progress import Progress
from pytest_spip.report.stats import StatsLine, stats_line

GIB = 1 << 30
LINE = StatsLine(
    at="2026-11-01T12:00:00.000Z",
    seconds=2.0,
    planned=329,
    done=120,
    failed=4,
    errors=1,
    per_second=60.0,
    recent_per_second=70.123456,
    eta=3.4833333,
    busy=7,
    idle=1,
    cpu=0.971,
    iowait=0.0034,
    memory_used=3 * GIB + (GIB >> 3),
    memory_available=12 * GIB,
)


REST = "7 busy, 1 idle, CPU 97%, iowait 0.3%, memory 3.1 GiB used, 12.0 GiB available"


def test_text() -> None:
    """The line says all it knows."""
    text = f"120/329 done, 60.0/s, 70.1/s of late, ETA 3 s, {REST}, 4 failed, 1 errors"
    assert text == LINE.text


def test_text_at_the_beginning() -> None:
    """The line says the same things in the same order when they are 0 or unknown, so that programs can read it."""
    line = dataclasses.replace(LINE, done=0, per_second=0.0, recent_per_second=0.0, eta=None, failed=0, errors=0)
    assert line.text == f"0/329 done, 0.0/s, 0.0/s of late, ETA unknown, {REST}, 0 failed, 0 errors"


def test_plain() -> None:
    """The data are the same facts by name, and survive JSON; numbers have no more digits than they mean."""
    plain = LINE.to_plain()
    assert list(plain) == [field.name for field in dataclasses.fields(StatsLine)]
    assert json.loads(json.dumps(plain)) == plain
    assert (plain["recent_per_second"], plain["eta"], plain["memory_used"]) == (70.1235, 3.4833, LINE.memory_used)
    assert dataclasses.replace(LINE, eta=None).to_plain()["eta"] is None


@pytest.mark.parametrize(
    ("progress", "before", "expected"),
    [
        (Progress(planned=10, provisioned=10, began=0), (0.0, 0), (0.0, 0.0, None, 0, 0)),
        (Progress(planned=10, provisioned=10, done=5, began=0), (5.0, 0), (0.5, 1.0, 10.0, 0, 0)),
        (Progress(planned=10, provisioned=10, done=5, bad=3, errors=1, began=0), (5.0, 5), (0.5, 0.0, 10.0, 2, 1)),
        (Progress(planned=10, provisioned=2, done=5, began=0), (8.0, 3), (0.5, 1.0, 40.0, 0, 0)),
        (Progress(planned=10, provisioned=10, done=1, began=0), (9.0, 7), (0.1, 0.0, 90.0, 0, 0)),
    ],
)
def test_made_of_progress(
    progress: Progress, before: tuple[float, int], expected: tuple[float, float, float | None, int, int]
) -> None:
    """Rates are those of the whole run and since the line before; errors are no failures."""
    line = stats_line(progress, 10.0, before, at="", workers=(1, 0), machine=Snapshot(1, 0, 0))
    assert (line.per_second, line.recent_per_second, line.eta, line.failed, line.errors) == expected
    assert (line.planned, line.done, line.seconds, line.busy, line.idle) == (10, progress.done, 10.0, 1, 0)
