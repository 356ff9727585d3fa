"""The line that says how far a run is."""

from __future__ import annotations

from collections import deque

import pytest

from pytest_spip.model import Builds
from pytest_spip.report.progress import Progress, view


@pytest.mark.parametrize(
    ("progress", "now", "line"),
    [
        (Progress(began=0), 0, "0/0 done"),
        (Progress(planned=10, began=0), 5, "0/10 done, 0 provisioned"),
        (Progress(planned=10, provisioned=4, built=1, began=0), 5, "0/10 done, 4 provisioned, 1 built"),
        (
            Progress(planned=329, provisioned=200, done=120, bad=4, built=31, began=100),
            102,
            "120/329 done (4 failed), 200 provisioned, 31 built, 60.0/s, ETA 3 s",
        ),
        (Progress(planned=10, provisioned=10, done=5, began=0), 5, "5/10 done, 1.0/s, ETA 5 s"),
        (Progress(planned=10, provisioned=2, done=5, began=0), 4, "5/10 done, 2 provisioned, 1.2/s, ETA 16 s"),
        (Progress(planned=10, provisioned=0, done=5, began=0), 5, "5/10 done, 0 provisioned, 1.0/s, ETA 5 s"),
        (Progress(planned=10, provisioned=10, done=10, began=0), 10, "10/10 done, 1.0/s, ETA 0 s"),
        (Progress(planned=1, provisioned=1, done=1, began=7), 7, "1/1 done, 1000000.0/s, ETA 0 s"),
        (
            Progress(planned=9, provisioned=7, built=1, began=0, builds=lambda: Builds((("demo 1.0 py313", 2.0),), 1)),
            9,
            "0/9 done, 7 provisioned, 1 built, building demo 1.0 py313 for 7 s, 1 waits for a build",
        ),
        (
            Progress(planned=9, provisioned=5, began=0, builds=lambda: Builds((("one", 1), ("two", 2), ("x", 3)), 4)),
            9,
            "0/9 done, 5 provisioned, building one for 8 s and 2 more, 4 wait for a build",
        ),
    ],
)
def test_line(progress: Progress, now: float, line: str) -> None:
    """The line names what has happened, and an end only when something was done; the slower of two steps decides it."""
    assert progress.line(now) == line


def test_clock_starts_by_itself() -> None:
    """A progress begins when it is made."""
    progress = Progress(planned=2, provisioned=2, done=1)
    assert progress.line(progress.began + 2) == "1/2 done, 0.5/s, ETA 2 s"


def test_view() -> None:
    """A terminal shows counts, a bar, what is built, what runs, the longest first, and the newest failures."""
    progress = Progress(
        planned=8,
        provisioned=8,
        done=2,
        bad=2,
        began=0,
        builds=lambda: Builds((("demo 2.0 py38", 1.0),), 0),
        newest=deque(["demo[1-py38] import-error: no\x1b[2J", "demo[1-py39] timeout"], maxlen=3),
    )
    running = [("gw0", "demo[2-py38]", 3.9), ("gw10", "demo[3-py38]", 1.0)]
    assert view(progress, 4.0, running, 60, 40) == [
        ("spip: 2/8 done (2 failed), 0.5/s, ETA 12 s", ""),
        ("  [##########..............................]  25%", ""),
        ("  building demo 2.0 py38 for 3 s", "dim"),
        ("  gw10  demo[3-py38]  3 s", "dim"),
        ("  gw0   demo[2-py38]", "dim"),
        ("  demo[1-py39] timeout", "red"),
        ("  demo[1-py38] import-error: no?[2J", "red"),
    ]


def test_view_fits_the_terminal() -> None:
    """Lines are cut to the width, workers to a third of the height; a low terminal has one line."""
    progress = Progress(planned=1000, provisioned=1000, done=500, began=0)
    running = [(f"gw{n}", f"demo[{n}.0-py312]", float(n)) for n in range(128)]
    shown = [text for text, _ in view(progress, 200.0, running, 30, 24)]
    assert shown[:2] == ["spip: 500/1000 done, 2.5/s, …", "  [########........]  50%"]
    assert shown[2:] == [*(f"  gw{n}  demo[{n}.0-py312]  {200 - n} s"[:30] for n in range(6)), "  … and 122 more"]
    assert all(len(text) <= 30 for text in shown)
    assert len(view(progress, 200.0, running, 80, 11)) == 1
