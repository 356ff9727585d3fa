"""``--spip-shard`` and ``pytest-spip merge``: parts that run apart, and the run that they make."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from tests.conftest import MakeMachine
from tests.support.distributions import simple_sdist, wheel
from tests.support.machine import Done, Machine

CLI = (sys.executable, "-m", "pytest_spip.cli")
FUNCTIONS = """\
def test_it(spip_env):
    assert spip_env.python("import sys").status == 0

def test_ordinary():
    pass
"""
SAME = ("id", "outcome", "phase", "reason", "detail", "fingerprint", "locked", "python")


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:
    """List twelve releases: the oldest fail to import, one is built, and one fails to build."""
    machine = make_machine()
    for number in range(10):
        wheel(machine.files, "demo", f"1.{number}", {"demo.py": "import nowhere" if number < 3 else ""})
    simple_sdist(machine.files, "demo", "1.10", {"demo.py": ""})
    simple_sdist(machine.files, "demo", "1.11", {"demo.py": ""}, fails="no compiler")
    return machine


@pytest.fixture(scope="module")
def whole(machine: Machine) -> Done:
    """Run the matrix without shards."""
    return machine.run("--spip-matrix=demo", project="whole")


def shards(machine: Machine, project: str, count: int, *more: str) -> list[Done]:
    """Run all shards of the matrix, one after another, with as many workers as their number is odd or even."""
    return [
        machine.run(
            "--spip-matrix=demo",
            f"--spip-shard={number}/{count}",
            f"--spip-run=s{number}",
            f"-n{number % 2}",
            *more,
            project=project,
        )
        for number in range(1, count + 1)
    ]


def merged(machine: Machine, project: str, *runs: str, out: str = "whole") -> Done:
    """Merge runs of a project."""
    return machine.run("merge", out, *runs, project=project, bare=True, program=CLI)


def same(done: Done) -> dict[str, Mapping[str, Any]]:
    """Return what of a report does not depend on who ran it when."""
    return {name: {key: one[key] for key in SAME} for name, one in done.combinations.items()}


@pytest.mark.parametrize("count", [2, 5])
def test_merged_shards_are_the_whole(machine: Machine, whole: Done, count: int) -> None:
    """Verdicts, groups and support are those of a run without shards, and so is the exit status; telemetry is all there."""
    project = f"of{count}"
    done = shards(machine, project, count)
    assert sorted(name for one in done for name in one.outcomes) == sorted(whole.outcomes)
    assert f"shard 1 of {count}: " in done[0].stdout
    names = [f"s{number}" for number in range(count, 0, -1)]
    made = merged(machine, project, *names)
    assert made.status == whole.status == 1, made.stderr
    assert "12 combinations: 8 passed, 4 failed" in made.stdout
    report = machine.run("report", "whole", "--json", "report.json", project=project, bare=True, program=CLI)
    assert same(report) == same(whole)
    assert [(one["signature"], one["count"]) for one in report.report["groups"]] == [
        (one["signature"], one["count"]) for one in whole.report["groups"]
    ]
    assert report.report["packages"] == whole.report["packages"]
    assert report.report["run"]["sessions"] == count
    assert report.report["summary"]["not_run"] == []
    assert report.report["summary"]["untold"] == {}
    with contextlib.closing(sqlite3.connect(report.project / ".spip" / "runs" / "whole" / "run.sqlite")) as database:
        ((spans,),) = database.execute("SELECT count(DISTINCT ordinal) FROM phase WHERE phase = 'run'").fetchall()
    assert spans == 11  # one is not built, and does not run
    assert sorted(path.name for path in (report.project / ".spip" / "runs" / "whole").iterdir()) == [
        "locks",
        "run.sqlite",
        "workers",
    ]


def test_what_is_no_whole_is_refused(machine: Machine) -> None:
    """A missing shard, one that is given twice, another plan, and a run that is no shard are named; nothing is made."""
    project = "refused"
    shards(machine, project, 2)
    machine.run("--spip-matrix=demo<1.5", "--spip-shard=2/2", "--spip-run=other", project=project)
    machine.run("--spip-matrix=demo", "--spip-run=plain", project=project)
    machine.run("--spip-matrix=demo", "--spip-shard=2/2", "--spip-run=limited", "--spip-timeout=9", project=project)
    for runs, words in (
        (("s1",), "of 2 shards 2 is missing"),
        (("s1", "s1"), "of 2 shards 2 is missing"),
        (("s1", "s2", "s2"), "shard 2 is given twice"),
        (("s1", "other"), "2/2 (run other) is of another plan than 1/2 (run s1)"),
        (("s1", "limited"), "ran under other limits"),
        (("s1", "plain"), "run plain is no shard"),
        (("s1", "nothing"), "there is no run nothing"),
    ):
        done = merged(machine, project, *runs)
        assert done.status == 4, runs
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert not (done.project / ".spip" / "runs" / "whole").exists()
    assert merged(machine, project, "s1", "s2", out="s1").status == 4  # the name is taken
    assert merged(machine, project, "s1", "s2", out="../s").status == 4


def test_undone_work_is_not_green(machine: Machine) -> None:
    """Combinations that a shard left without a verdict are named, and the status is that of an interrupted session."""
    project = "undone"
    for number in (1, 2):
        more = ("-x",) if number == 1 else ()
        machine.run(
            "--spip-matrix=demo>=1.3", f"--spip-shard={number}/2", f"--spip-run=s{number}", *more, project=project
        )
    broken = machine.run("--spip-matrix=demo", "--spip-shard=1/2", "--spip-run=b1", "-x", "-n0", project=project)
    assert broken.status == 1
    machine.run("--spip-matrix=demo", "--spip-shard=2/2", "--spip-run=b2", project=project)
    done = merged(machine, project, "b1", "b2")
    assert done.status == 1
    assert "not run: " in done.stdout


def test_resumed_and_compared_shards(machine: Machine, whole: Done) -> None:
    """A shard goes on as the same part, and a comparison with the whole calls nothing removed that other shards run."""
    project = "resumed"
    first = machine.run("--spip-matrix=demo", "--spip-shard=1/2", "--spip-run=s1", "-x", "-n0", project=project)
    assert first.status == 1
    resumed = machine.run("--spip-resume=s1", project=project)
    assert resumed.report["summary"]["not_run"] == []
    base = whole.project / "report.json"
    second = machine.run(
        "--spip-matrix=demo", "--spip-shard=2/2", "--spip-run=s2", f"--spip-compare={base}", "-n2", project=project
    )
    assert second.report["comparison"]["removed"] == []
    assert len(second.report["comparison"]["same"]) == len(second.outcomes)
    assert not resumed.outcomes.keys() & second.outcomes.keys()
    done = merged(machine, project, "s1", "s2")
    assert "12 combinations: 8 passed, 4 failed" in done.stdout


def test_functions_go_with_their_combinations(machine: Machine) -> None:
    """Test functions over the matrix run where their combination does, in workers that are pytest sessions too."""
    machine.project("functions", {"test_it.py": FUNCTIONS})
    counts = []
    for number in (1, 2):
        arguments = ("--spip-matrix=demo>=1.3,<1.9", f"--spip-shard={number}/2", "test_it.py", "-n2")
        done = machine.run(*arguments, project="functions")
        assert done.status == 0, done.stdout
        assert f"{2 * len(done.outcomes) + 1} passed" in done.stdout
        counts.append(len(done.outcomes))
    assert sum(counts) == 6


@pytest.mark.parametrize("given", ["0/2", "3/2", "1", "1/0", "x/y"])
def test_bad_parts(machine: Machine, given: str) -> None:
    """What names no part is one clear line."""
    done = machine.run("--spip-matrix=demo", f"--spip-shard={given}", "--collect-only", project="bad")
    assert done.status == 4
    assert f"--spip-shard: {given!r} is no part; write it like 1/3, from 1/3 to 3/3" in done.stdout + done.stderr
