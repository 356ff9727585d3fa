"""What becomes of a run afterwards: compared, gated on, reused, bisected, listed."""

from __future__ import annotations

import configparser
import contextlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pytest_spip
from tests.conftest import MakeMachine
from tests.support.distributions import wheel
from tests.support.machine import LABEL, VERSION, Done, Machine

BROKEN = "import nowhere"
GOOD, BAD = [f"1.{n}" for n in range(4)], [f"1.{n}" for n in range(4, 6)]


@pytest.fixture(scope="module")
def kept(make_machine: MakeMachine) -> Machine:
    """Run a matrix of six releases, of which the two newest fail, and keep it as the run ``first``."""
    machine = make_machine()
    for version in GOOD:
        wheel(machine.files, "demo", version, {"demo.py": f"version = {version!r}", "more.py": "\n" * len(version)})
    for version in BAD:
        wheel(machine.files, "demo", version, {"demo.py": BROKEN}, requires_python=">=3.8")
    first = ran(machine, "--spip-run=first")
    assert first.status == 1
    machine.project(files={"first.json": first.written})
    return machine


def ran(machine: Machine, *options: str, **how: Any) -> Done:
    """Run the matrix."""
    return machine.run("--spip-matrix=demo", *options, **how)


def command(machine: Machine, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of pytest-spip's in the project."""
    return subprocess.run(
        [sys.executable, "-m", "pytest_spip.cli", *words],
        cwd=machine.project_path("project"),
        env={**machine.environment(), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def ids(*versions: str) -> list[str]:
    """Return the ids of releases."""
    return [f"demo[{version}-{LABEL}]" for version in versions]


# -- comparing ------------------------------------------------------------------------------------------------------------


def fewer(machine: Machine, name: str) -> Path:
    """Return a report in which the release 1.4 passed, and 1.3 had failed."""
    document = json.loads((machine.project_path("project") / "first.json").read_text("utf-8"))
    for one in document["combinations"]:
        if one["version"] == "1.4":
            one.update(outcome="passed", reason=None)
        if one["version"] == "1.3":
            one.update(outcome="failed", reason="import-error")
    path = machine.project_path("project") / name
    path.write_text(json.dumps(document), "utf-8")
    return path


@pytest.mark.parametrize(("fail_on", "status"), [("any", 1), ("regressed", 1), ("never", 0)])
def test_regression(kept: Machine, fail_on: str, status: int) -> None:
    """A report in which a failing release passed makes it regressed; the gate decides the status."""
    report, page = fewer(kept, "earlier.json"), kept.root / f"{fail_on}.md"
    env = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(page)}
    done = ran(kept, f"--spip-compare={report.name}", f"--spip-fail-on={fail_on}", "-n1", env=env)
    assert "| 1.5 … 1.4 (2) | ❌ imp |" in page.read_text("utf-8")
    assert done.status == status, done.stdout
    compared = done.report["comparison"]
    assert (compared["regressed"], compared["fixed"], compared["same"]) == (
        ids("1.4"),
        ids("1.3"),
        ids("1.0", "1.1", "1.2", "1.5"),
    )
    assert f"regressed: {ids('1.4')[0]}: passed -> failed (import-error)" in done.stdout
    assert f"::error title={ids('1.4')[0]} regressed::" in done.stdout
    assert done.stdout.count("::error") == 1


def test_nothing_regressed(kept: Machine) -> None:
    """Beside the same run, named by its name or as the newest one, nothing fails the session but what is told to."""
    assert ran(kept, "--spip-compare=first", "--spip-fail-on=regressed").status == 0
    assert ran(kept, "--spip-compare=latest", "--spip-fail-on=any").status == 1


def test_other_failures_count(kept: Machine) -> None:
    """A failing test beside the matrix fails the session, whatever the combinations do."""
    test = kept.project(files={"test_beside.py": "def test_it():\n    assert 0\n"}) / "test_beside.py"
    done = ran(kept, "--spip-compare=first", "--spip-fail-on=regressed", test.name)
    test.unlink()
    assert done.status == 1, done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--spip-fail-on=regressed"], "--spip-fail-on: nothing is named"),
        (["--spip-compare=nothing"], "--spip-compare: there is no run nothing"),
        (["--spip-compare=pytest.ini"], "--spip-compare: pytest.ini is no JSON report"),
        (["--spip-compare=first", "--spip-baseline=x"], "--spip-compare: a run is compared with one thing"),
        (
            ["--spip-baseline=missing.txt"],
            "--spip-baseline: there is no missing.txt; write it with --spip-update-baseline",
        ),
        (["--spip-update-baseline"], "--spip-update-baseline: no file is named"),
        (["--spip-fail-on=sometimes"], "invalid choice 'sometimes' (choose from any, regressed, never)"),
    ],
)
def test_bad_gates(kept: Machine, options: list[str], message: str) -> None:
    """What cannot be compared ends with status 4 and one line."""
    done = ran(kept, *options)
    assert (done.status, message in done.stderr) == (4, True), done.stderr


def test_compare_command(kept: Machine) -> None:
    """Two runs, or a report and a run, are compared afterwards; the status is that of the gate."""
    report = fewer(kept, "before.json").name
    assert command(kept, "compare", "first", "first").returncode == 0
    done = command(kept, "compare", report, "first")
    assert (done.returncode, done.stdout.splitlines()[0]) == (
        1,
        f"regressed: {ids('1.4')[0]}: passed -> failed (import-error): ModuleNotFoundError: No module named 'nowhere'",
    )
    assert command(kept, "compare", "first", "first", "--fail-on=any").returncode == 1
    assert command(kept, "compare", report, "first", "--fail-on=never").returncode == 0
    plain = json.loads(command(kept, "compare", report, "first", "--json").stdout)
    assert plain["regressed"] == ids("1.4")
    bad = command(kept, "compare", "nothing", "first")
    assert (bad.returncode, bad.stderr.startswith("pytest-spip compare: BASE: there is no run nothing")) == (4, True)


def test_baseline(kept: Machine) -> None:
    """A baseline keeps what fails out of the status; one new failure is one line of difference, and fails the session."""
    options = ("--spip-baseline=known.txt", "--spip-fail-on=regressed")
    assert ran(kept, *options, "--spip-update-baseline").status == 1, "nothing was known yet"
    path = kept.project_path("project") / "known.txt"
    text = path.read_text("utf-8")
    assert text.splitlines()[2:] == [f"demo  1.4 ... 1.5  {LABEL}  failed import-error"]
    assert ran(kept, *options).status == 0
    (path).write_text(text.replace("1.4 ... 1.5", "1.5"), "utf-8")
    done = ran(kept, *options)
    assert (done.status, done.report["comparison"]["regressed"]) == (1, ids("1.4"))
    path.write_text(f"{text}nonsense\n", "utf-8")
    bad = ran(kept, *options)
    assert (bad.status, "known.txt, line 4: 'nonsense' has 1 columns" in bad.stderr) == (4, True)


def test_flaky_is_no_regression(make_machine: MakeMachine) -> None:
    """What fails once and passes in a clean environment is called flaky, and does not fail the session."""
    machine = make_machine()
    wheel(machine.files, "demo", "1.0", {"demo.py": ""})
    tries = machine.root / "tries"
    script = f"echo >> {tries}; [ $(wc -l < {tries}) -gt 1 ]"  # fails once
    options = ("--spip-check=command", "--spip-sandbox=off", f'--spip-command=sh -c "{script}"')
    wrong = ran(machine, *options)
    assert wrong.status == 1, "without a comparison a failure is a failure"
    document = wrong.report
    document["combinations"][0].update(outcome="passed", reason=None)
    machine.project(files={"good.json": json.dumps(document)})
    tries.unlink()
    done = ran(machine, *options, "--spip-compare=good.json", "--spip-fail-on=regressed")
    assert (done.status, done.report["comparison"]["flaky"]) == (0, ids("1.0")), done.stdout


# -- reusing --------------------------------------------------------------------------------------------------------------


def test_reuse(kept: Machine) -> None:
    """Verdicts of an earlier run stand, marked; the report is the same otherwise."""
    first = ran(kept, "--spip-run=fresh").combinations
    done = ran(kept, "--spip-reuse", "-n1")
    assert (done.status, done.report["summary"]["reused"]) == (1, 6)
    assert "6 reused" in done.stdout
    unlike = {"reused", "worker"}
    for name, one in done.combinations.items():
        assert one["reused"]
        assert {key: one[key] for key in one if key not in unlike} == {
            key: first[name][key] for key in one if key not in unlike
        }


@pytest.mark.parametrize(
    "options",
    [
        ["--spip-timeout=30"],
        ["--spip-memory=1GiB"],
        ["--spip-runner=cold"],
        ["--spip-network"],
        ["--spip-sandbox=off"],
        ["--spip-check=command", "--spip-command=python -V"],
        ["--spip-env=PATH"],
        ["--spip-with=helper"],
    ],
)
def test_what_changes_is_run_anew(kept: Machine, options: list[str]) -> None:
    """Another limit, sandbox, runner, check, variable or wheel is another experiment."""
    wheel(kept.files, "helper", "1.0", {"helper.py": ""})
    done = ran(kept, "--spip-reuse", *options)
    assert done.report["summary"]["reused"] == 0


def test_changed_wheel_is_run_anew(make_machine: MakeMachine) -> None:
    """A wheel with other content makes another experiment."""
    machine = make_machine()
    path = wheel(machine.files, "demo", "1.0", {"demo.py": ""})
    assert ran(machine).status == 0
    assert ran(machine, "--spip-reuse").report["summary"]["reused"] == 1
    path.unlink()
    wheel(machine.files, "demo", "1.0", {"demo.py": "changed = True"})
    done = ran(machine, "--spip-reuse", f"--spip-cache={machine.root / 'other'}")
    assert done.report["summary"]["reused"] == 0


def test_jobs_share_verdicts(kept: Machine) -> None:
    """Runs of another root directory are reused through a directory that both name."""
    shared = kept.root / "shared"
    assert ran(kept, f"--spip-reuse={shared}", project="one").report["summary"]["reused"] == 0
    assert ran(kept, f"--spip-reuse={shared}", project="two").report["summary"]["reused"] == 6
    assert len(os.listdir(shared)) == 2
    (next(shared.iterdir()) / "run.sqlite").write_bytes(b"damaged")
    assert ran(kept, f"--spip-reuse={shared}", project="three").status == 1


# -- bisecting ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_bisect(kept: Machine, workers: str) -> None:
    """The first failing release is found in few runs, all else is inferred, and what changed in it is shown."""
    done = ran(kept, "--spip-bisect", workers)
    (line,) = done.report["bisect"]
    assert (line["last_good"], line["first_bad"], line["monotonic"]) == ("1.3", "1.4", True)
    assert line["runs"] <= math.ceil(math.log2(6)) + 2
    run = [one for one in done.combinations.values() if one["reason"] != "inferred"]
    assert len(run) == line["runs"]
    assert f"demo {LABEL}: 1.4 fails, 1.3 passes" in done.stdout
    (change,) = line["changes"]
    assert change["requires"] == ["+Requires-Python: >=3.8"]
    assert (change["files"]["removed"], change["files"]["changed"]) == (["more.py"], ["demo.py"])
    assert done.status == 1


def test_bisect_of_several_changes(make_machine: MakeMachine) -> None:
    """A history with several changes is run whole, and says so."""
    machine = make_machine()
    for number, good in enumerate([True] * 4 + [False] * 4 + [True] * 4 + [False] * 4):
        wheel(machine.files, "demo", f"1.{number}", {"demo.py": "" if good else BROKEN})
    done = ran(machine, "--spip-bisect", "-n2")
    (line,) = done.report["bisect"]
    assert (line["monotonic"], line["runs"]) == (False, 16)
    assert [(one["before"], one["after"]) for one in line["changes"]] == [
        ("1.3", "1.4"),
        ("1.7", "1.8"),
        ("1.11", "1.12"),
    ]
    assert "the history has several changes" in done.stdout


# -- reading runs ---------------------------------------------------------------------------------------------------------


def test_list_and_show(kept: Machine) -> None:
    """Runs are listed and shown, for people and for programs."""
    listed = command(kept, "list")
    assert any(line.startswith("first  ") and "6: 4 passed, 2 failed" in line for line in listed.stdout.splitlines())
    rows = json.loads(command(kept, "list", "--json").stdout)
    assert next(row for row in rows if row["run"] == "first")["outcomes"] == {"passed": 4, "failed": 2}
    shown = command(kept, "show", ids("1.5")[0], "--run=first")
    assert "failed in phase import: import-error: ModuleNotFoundError" in shown.stdout
    assert "locked: demo 1.5" in shown.stdout
    assert "6 combinations: 4 passed, 2 failed" in command(kept, "show", "first").stdout
    assert json.loads(command(kept, "show", "first", "--json").stdout)["run"]["uuid"] == "first"
    bad = command(kept, "show", "demo[9-py39]", "--run=first")
    assert (bad.returncode, "has no such combination" in bad.stderr) == (4, True)


def test_report_command(kept: Machine) -> None:
    """A report written afterwards is the one that the run wrote."""
    done = ran(kept, "--spip-run=reported")
    again = command(kept, "report", "reported", "--json", "again.json")
    assert again.returncode == 0, again.stderr
    written = json.loads((kept.project_path("project") / "again.json").read_text("utf-8"))
    assert written["combinations"] == done.report["combinations"]
    assert command(kept, "report", "reported").returncode == 4


def test_export(kept: Machine) -> None:
    """An environment is written as requirements or as its lock, what failed as a tox.ini or a matrix of jobs."""
    (name,) = ids("1.5")
    assert command(kept, "export", name, "--run=first").stdout == "demo==1.5\n"
    assert 'name = "demo"' in command(kept, "export", name, "--run=first", "--as=pylock").stdout
    tox = configparser.ConfigParser()
    tox.read_string(command(kept, "export", "first").stdout)
    assert tox["tox"]["env_list"].split() == [f"{LABEL}-demo{version}" for version in BAD]
    assert f"{LABEL}-demo1.4: demo==1.4" in tox["testenv"]["deps"].splitlines()
    jobs = json.loads(command(kept, "export", "first", "--as=github").stdout)["include"]
    assert jobs[0] == {"id": ids("1.4")[0], "python": VERSION, "requirements": ["demo==1.4"]}
    bad = command(kept, "export", "first", "--as=pylock")
    assert (bad.returncode, bad.stderr) == (
        4,
        "pytest-spip export: --as: pylock is made of one combination; choose from tox, github\n",
    )


def test_gc(make_machine: MakeMachine) -> None:
    """Runs that are old or too large together go, but for the newest and for one that a process works on."""
    machine = make_machine()
    wheel(machine.files, "demo", "1.0", {"demo.py": ""})
    runs = machine.project_path("project") / ".spip" / "runs"
    names = ("newest", "held", "older", "oldest")
    assert [ran(machine, f"--spip-run={name}").status for name in names] == [0] * 4
    for age, name in enumerate(names):
        os.utime(runs / name / "run.sqlite", times=(time.time() - age * 86400 - 1,) * 2)
    with held(runs / "held"):
        dry = command(machine, "gc", "--older=60m", "--dry-run")
        assert "\n3 runs, " in dry.stdout, dry.stdout
        assert dry.stdout.splitlines()[-1].startswith("there is no cache at "), "the machine's is elsewhere"
        assert sorted(os.listdir(runs)) == ["held", "newest", "older", "oldest"]
        done = command(machine, "gc", "--older=36h", "--only=runs")
        assert (done.returncode, sorted(os.listdir(runs))) == (0, ["held", "newest"])
        kept = command(machine, "gc", "--size=1KB")
        assert (kept.returncode, "kept held" in kept.stdout) == (1, True)
    assert command(machine, "gc", "--size=1KB").returncode == 0
    assert os.listdir(runs) == ["newest"]
    assert command(machine, "gc", "--older=soon").returncode == 2


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Have another process work on a run."""
    code = "import sys; from pathlib import Path; from pytest_spip.common.owners import OwnerLock; "
    code += "lock = OwnerLock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield
        process.communicate(timeout=30)


def test_load(kept: Machine) -> None:
    """A notebook gets the records by a run's name, or the path of its directory."""
    root = kept.project_path("project")
    loaded = pytest_spip.load("first", root)
    assert (len(loaded.combos), len(loaded.results), loaded.facts.uuid) == (6, 6, "first")
    assert pytest_spip.load(root / ".spip" / "runs" / "first").results == loaded.results
    with pytest.raises(Exception, match="there is no run nothing"):
        pytest_spip.load("nothing", root)
