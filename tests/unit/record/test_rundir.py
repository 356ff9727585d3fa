"""A run's directory: made whole or not at all, found by ``latest``, and gone with all its traces when it came to nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_spip.errors import UsageProblem
from pytest_spip.record.rundir import NEWEST, RunDirectory


def below(root: Path) -> set[str]:
    """Return everything below a directory."""
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def test_run_directory_is_made(tmp_path: Path) -> None:
    """A run has its directory with places for telemetry and locks, ignored by git, and ``latest`` leads to it."""
    run = RunDirectory.create(tmp_path, "one")
    assert run.path == tmp_path / ".spip" / "runs" / "one"
    assert (run.workers.is_dir(), run.locks.is_dir(), run.database.parent) == (True, True, run.path)
    assert (tmp_path / ".spip" / ".gitignore").read_text() == "*\n"
    assert os.readlink(tmp_path / ".spip" / "latest") == "runs/one"


def test_latest_is_the_newest(tmp_path: Path) -> None:
    """``latest`` leads to the run that was made last; the others stay."""
    first, second = (RunDirectory.create(tmp_path, name) for name in ("first", "second"))
    assert (tmp_path / ".spip" / "latest").resolve() == second.path
    assert first.workers.is_dir()


def test_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    """A run's name is given once; the run that has it is left as it is."""
    run = RunDirectory.create(tmp_path, "one")
    run.database.write_text("precious")
    before = below(tmp_path)
    with pytest.raises(UsageProblem) as caught:
        RunDirectory.create(tmp_path, "one")
    assert str(caught.value) == "--spip-run: run one exists already; choose another name"
    assert below(tmp_path) == before


HINDRANCES: dict[str, Callable[[Path], object]] = {
    "home is a file": lambda home: home.touch(),
    "runs is a file": lambda home: (home / "runs").touch(),
    "latest is a directory": lambda home: (home / "latest").mkdir(),
    "gitignore is a directory": lambda home: (home / ".gitignore").mkdir(),
}


@pytest.mark.parametrize("name", HINDRANCES)
def test_unwritable_place_is_a_usage_problem(tmp_path: Path, name: str) -> None:
    """Where the run cannot be made the user is told of the place and the fix, and nothing is left behind."""
    home = tmp_path / ".spip"
    if name != "home is a file":
        home.mkdir()
    HINDRANCES[name](home)
    before = below(tmp_path)
    with pytest.raises(
        UsageProblem, match=rf"^rootdir: cannot write {home} \(.*\); make room, run where you may write"
    ):
        RunDirectory.create(tmp_path, "one")
    assert below(tmp_path) | {".spip/.gitignore"} == before | {".spip/.gitignore"}


def test_discarded_run_leaves_no_trace(tmp_path: Path) -> None:
    """A run that came to nothing takes everything with it that it was the first to make."""
    run = RunDirectory.create(tmp_path, "one")
    (run.locks / "file").touch()
    run.discard()
    assert below(tmp_path) == set()


def test_discarded_run_leaves_others_alone(tmp_path: Path) -> None:
    """Of several runs only the discarded one goes; a ``latest`` that leads nowhere goes too."""
    RunDirectory.create(tmp_path, "first")
    RunDirectory.create(tmp_path, "second").discard()
    assert below(tmp_path) == {
        ".spip",
        ".spip/.gitignore",
        ".spip/runs",
        ".spip/runs/first",
        ".spip/runs/first/locks",
        ".spip/runs/first/workers",
    }


def test_run_is_found(tmp_path: Path) -> None:
    """A run is found by name, and the newest without one."""
    for name in ("first", "second"):
        RunDirectory.create(tmp_path, name).database.touch()
    assert RunDirectory.find(tmp_path, "first").path == tmp_path / ".spip" / "runs" / "first"
    assert RunDirectory.find(tmp_path, NEWEST).path == (tmp_path / ".spip" / "runs" / "second").resolve()


HOLD = """
import sys
from pathlib import Path
from pytest_spip.record.rundir import RunDirectory
held = RunDirectory.find(Path(sys.argv[1]), "one").hold()
print("held", flush=True)
sys.stdin.read()
"""


def test_run_is_held_until_death(tmp_path: Path) -> None:
    """One process at a time has a run; who comes second is told whose it is, and a killed process has let go."""
    run = RunDirectory.create(tmp_path, "one")
    run.database.touch()
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UsageProblem, match=rf"process {other.pid} is working on run one; wait for it"):
            run.hold()
        other.kill()
    run.hold().release()
    run.hold().release()
