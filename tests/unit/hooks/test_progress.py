"""Where the state of a run is written to, and when it cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_spip.common.machine import Machine
from pytest_spip.errors import UsageProblem
from pytest_spip.hooks.stats import StatsReporter
from pytest_spip.report.progress import Progress


@pytest.mark.parametrize(("name", "why"), [(".", "Is a directory"), ("no/out", "No such file or directory")])
def test_file_that_cannot_be(pytestconfig: pytest.Config, tmp_path: Path, name: str, why: str) -> None:
    """A file that cannot be written is a problem of usage, told before anything begins."""
    with pytest.raises(UsageProblem) as raised:
        StatsReporter(pytestconfig, 10, tmp_path / name, Progress, lambda: (0, 0), Machine())
    assert str(raised.value) == f"--spip-stats: cannot write {tmp_path / name} ({why}); name a file to append to"


def test_stopped_before_it_began(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    """A run that ends before it began has nothing to tell, and keeps no file open."""
    progress_line = StatsReporter(pytestconfig, 10, tmp_path / "out", Progress, lambda: (0, 0), Machine())
    progress_line.stop()
    progress_line.stop()
    assert not (tmp_path / "out").read_text()
