"""The line that says how far a run is."""

from __future__ import annotations

import pytest

from pytest_spip.model import Builds
from pytest_spip.report.progress import Progress


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
