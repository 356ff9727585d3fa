"""``--spip-resume``: what an interrupted run lacks is done, and nothing else; the report is that of an undisturbed run."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakeMachine
from tests.support.distributions import simple_sdist, wheel
from tests.support.gates import Gate, assert_nothing_left, ledger, module, requiring, waiting_sdist
from tests.support.index import Fault
from tests.support.machine import LABEL, Done, Machine, eventually

PACKAGES = ("good", "broken", "stuck", "made")
TIMES = {"seconds", "cpu_seconds", "peak_rss", "worker"}
RUN_TIMES = {"uuid", "started", "finished", "exclude_newer", "sessions", "command", "settings", "ram"}
SUMMARY_TIMES = {
    "seconds",
    "per_second",
    "cpu_utilisation",
    "iowait",
    "phases",
    "work",
    "workers",
    "limits",
    "untold",
} | {"controller"}


@pytest.fixture
def gate(machine: Machine) -> Gate:
    """Serve a package of each kind, and one whose import stops at the gate."""
    gate = Gate(machine.root / "gate")
    module(machine, "good")
    module(machine, "broken", "import nowhere")
    wheel(machine.files, "stuck", "1.0", {"stuck.py": ""}, requires=["good==99"])
    simple_sdist(machine.files, "made", "1.0", {"made.py": ""})
    module(machine, "blocked", gate.blocking)
    for name in ("late", "later"):
        module(machine, name)
    return gate


def resumed(machine: Machine, *options: str, **how: Any) -> Done:
    """Go on with the newest run."""
    return machine.run("--spip-resume", *options, python="", **how)


def stopped_at(
    machine: Machine, gate: Gate, options: Sequence[str], judged: int, by: signal.Signals = signal.SIGKILL
) -> Done:
    """Start a command, and end it by a signal when somebody stands at the gate and so many verdicts are in the ledger."""
    session = machine.start(*options)
    gate.reached()
    assert eventually(lambda: len(ledger(machine)) >= judged), ledger(machine)
    session.send_signal(by)
    done = machine.finish(session)
    assert eventually(lambda: not machine.processes(), 5.0), machine.processes()
    return done


def comparable(report: dict[str, Any]) -> dict[str, Any]:
    """Return a report without times, names and places of workers, and what makes a run this run."""
    return {
        **report,
        "run": {key: value for key, value in report["run"].items() if key not in RUN_TIMES},
        "combinations": [_comparable(one) for one in report["combinations"]],
        "summary": {key: value for key, value in report["summary"].items() if key not in SUMMARY_TIMES},
    }


def _comparable(combination: dict[str, Any]) -> dict[str, Any]:
    told = {key: value for key, value in combination.items() if key not in TIMES}
    return {**told, "output": re.sub(r"/pytest-spip-\d+/[\w-]+/\w+/", "/place/", told["output"])}


def rows(machine: Machine, query: str) -> list[Any]:
    """Ask the database of the newest run; what is written is committed."""
    database = machine.project_path("project") / ".spip" / "latest" / "run.sqlite"
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        return connection.execute(query).fetchall()


@pytest.mark.parametrize("workers", ["-n0", "-n2"])
@pytest.mark.parametrize("moment", ["import", "build"])
def test_killed_run_is_finished(machine: Machine, gate: Gate, workers: str, moment: str) -> None:
    """After kill -9 what is missing is run, and no more; report, plan and exit status are those of an undisturbed run."""
    held = "blocked" if moment == "import" else "held"
    if moment == "build":
        waiting_sdist(machine, "held", gate.blocking)
    options = [*requiring(*PACKAGES, held, "late", "later"), workers, "--spip-runner=cold"]
    stopped_at(machine, gate, options, len(PACKAGES))
    before, plan = rows(machine, "SELECT * FROM ledger ORDER BY ordinal"), rows(machine, "SELECT * FROM plan")
    gate.open()
    done = resumed(machine, workers)
    undisturbed = machine.run(*options, project="undisturbed")

    assert comparable(done.report) == comparable(undisturbed.report)
    assert done.status == undisturbed.status == 1
    assert done.report["run"]["sessions"] == 2
    assert rows(machine, "SELECT * FROM ledger WHERE session = 1 ORDER BY ordinal") == before
    assert rows(machine, "SELECT count(*) FROM ledger") == [(7,)]
    assert rows(machine, "SELECT * FROM plan") == plan
    assert f"{7 - len(before)} of 7 combinations are left" in done.stdout
    counts = re.findall(r"(\d+) (?:passed|failed)", done.stdout.splitlines()[-1])
    assert sum(map(int, counts)) == 7 - len(before)  # which of them are left is the workers' race: one may fail
    assert_nothing_left(machine)


def test_resumed_again_and_again(machine: Machine, gate: Gate) -> None:
    """A run may be killed and resumed any number of times; its first start and its last end are told."""
    second = Gate(machine.root / "second")
    module(machine, "blocked_too", second.blocking)
    stopped_at(machine, gate, [*requiring("good", "blocked", "late", "blocked-too", "later"), "-n0"], 1)
    started = rows(machine, "SELECT value FROM run WHERE key = 'started'")
    gate.open()
    stopped_at(machine, second, ["--spip-resume", "-n0"], 3)
    second.open()
    done = resumed(machine, "-n2")

    assert done.status == 0
    assert set(done.outcomes.values()) == {"passed"}
    assert len(done.outcomes) == 5
    assert done.report["run"]["sessions"] == 3
    assert [(json.dumps(done.report["run"]["started"]),)] == started
    assert done.report["run"]["finished"] >= done.report["run"]["started"]
    assert rows(machine, "SELECT session, count(*) FROM ledger GROUP BY session") == [(1, 1), (2, 2), (3, 2)]


@pytest.mark.parametrize(("package", "status"), [("good", 0), ("broken", 1)])
def test_complete_run(machine: Machine, gate: Gate, package: str, status: int) -> None:
    """Of a complete run the report is told again, with the status of the run and without workers; nothing is run."""
    first = machine.run(*requiring(package, "late"), "-n0")
    again = resumed(machine, "-n2")
    assert first.report == again.report
    assert again.status == first.status == status
    assert "is complete: nothing is left to run" in again.stdout
    assert "2 combinations: " in again.stdout
    assert "created: " not in again.stdout
    assert_nothing_left(machine)


def test_interrupted_run_is_finished(machine: Machine, gate: Gate) -> None:
    """After Ctrl-C a run goes on as after a kill, with the report that was asked for first where none is asked for now."""
    options = requiring("good", "blocked", "late")
    done = stopped_at(machine, gate, [*options, "-n2"], 2, by=signal.SIGINT)
    assert (done.status, len(done.outcomes)) == (2, 2)
    gate.open()
    project = machine.project_path("project")
    (project / "report.json").unlink()
    bare = machine.run("--spip-resume", bare=True)
    assert bare.status == 0
    assert len(bare.outcomes) == 3
    assert "= 1 passed in" in bare.stdout


def test_live_run_is_left_alone(machine: Machine, gate: Gate) -> None:
    """Who would go on with a run on which a process works is told which; the run itself goes on undisturbed."""
    session = machine.start(*requiring("good", "blocked"), "-n0")
    gate.reached()
    refused = resumed(machine, "-n0")
    gate.open()
    assert refused.status == 4
    assert f"--spip-resume: process {session.pid} is working on run" in refused.stderr
    session.send_signal(signal.SIGINT)
    assert machine.finish(session).status == 2
    assert resumed(machine, "-n0").status == 0


def test_provisioned_combinations_are_not_provisioned_again(machine: Machine, gate: Gate) -> None:
    """Nothing is asked of the index for what was provisioned, unless a wheel of it has left the store."""
    options = [*requiring("good", "blocked", "late"), "-n0"]
    session = machine.start(*options)
    gate.reached()
    assert eventually(lambda: rows(machine, "SELECT count(*) FROM provision") == [(3,)])
    assert eventually(lambda: len(ledger(machine)) == 1)
    session.kill()
    machine.finish(session)
    (wheels,) = (
        json.loads(text)["wheels"]
        for (text,) in rows(
            machine, "SELECT environment FROM provision JOIN plan USING (ordinal) WHERE package = 'late'"
        )
    )
    shutil.rmtree(wheels[0]["root"])
    asked = len(machine.index.requests)
    gate.open()
    done = resumed(machine, "-n0")

    assert done.status == 0
    requests = [path for _, path in machine.index.requests[asked:]]
    assert [path for path in requests if "late" in path]
    assert [path for path in requests if "late" not in path] == []


def test_selection_stays(machine: Machine, gate: Gate) -> None:
    """What the first session left out by -k is not missing; what it chose and did not come to is."""
    stopped_at(machine, gate, [*requiring("good", "blocked", "late", "later"), "-n2", "-k", "not late or later"], 1)
    gate.open()
    done = resumed(machine, "-n2")
    assert set(done.outcomes) == {f"{name}[1.0-{LABEL}]" for name in ("good", "blocked", "later")}
    assert done.report["summary"]["planned"] == 3
    assert "not run" not in done.stdout
    assert done.status == 0


def test_excused_failure_does_not_fail_the_resumed_run(machine: Machine, gate: Gate) -> None:
    """A bad verdict of an earlier session that pytest took for an expected failure leaves the exit status alone."""
    text = "# of spip\nimport pytest\ndef pytest_collection_modifyitems(items):\n    items[0].add_marker(pytest.mark.xfail)\n"
    machine.project("project", {"conftest.py": text})
    stopped_at(machine, gate, [*requiring("broken", "blocked"), "-n0"], 1)
    gate.open()
    machine.project("project", {"conftest.py": ""})
    done = resumed(machine, "-n0")
    assert set(done.outcomes.values()) == {"failed", "passed"}
    assert done.status == 0


def test_interpreter_that_is_gone(machine: Machine, gate: Gate) -> None:
    """What was to run on an interpreter that is there no more ends as an error that says so."""
    stopped_at(machine, gate, [*requiring("good", "blocked", "late"), "-n0"], 1)
    gate.open()
    ((facts,),) = rows(machine, "SELECT facts FROM interpreter")
    gone = json.dumps({**json.loads(facts), "path": "/gone/python"})
    rows(machine, f"UPDATE interpreter SET facts = '{gone}'")
    done = resumed(machine, "-n0")
    assert list(done.cells.values()) == [("passed", "import", None), *[("error", "plan", "no-interpreter")] * 2]
    assert "note: /gone/python is gone since the run was planned: its combinations end as errors" in done.stdout
    assert done.status == 1


def test_index_is_read_as_of_the_start(machine: Machine) -> None:
    """What a dated index gets after the start of a run is not used by a session that goes on with it."""
    for name, requires in (("good", []), ("user", ["base"]), ("base", [])):
        made = wheel(machine.files, name, "1.0", {f"{name}.py": ""}, requires=requires)
        machine.index.add(made, upload_time="2020-01-01T00:00:00Z")
    page = machine.index.page_path("base")
    machine.index.inject(page, Fault(stall=60))
    session = machine.start(*requiring("good", "user"), "-n0")
    assert eventually(lambda: ("GET", page) in machine.index.requests)
    assert eventually(lambda: len(ledger(machine)) == 1)
    session.kill()
    machine.finish(session)
    machine.index.inject(page, Fault())
    machine.index.add(wheel(machine.files, "base", "2.0", {"base.py": ""}), upload_time="2100-01-01T00:00:00Z")
    done = resumed(machine, "-n0")
    assert done.status == 0
    assert done.combinations[f"user[1.0-{LABEL}]"]["locked"] == {"base": "1.0", "user": "1.0"}


@pytest.fixture(scope="module")
def finished(make_machine: MakeMachine) -> Machine:
    """Have a machine with a complete run."""
    machine = make_machine()
    module(machine, "good")
    files = {"test_plain.py": "def test_plain(): pass\n"}
    machine.project("project", files)
    assert machine.run(*requiring("good"), "-n0", "--spip-run=first", "--spip-timeout=50").status == 0
    return machine


REFUSED = {
    "matrix": ["--spip-matrix=other", "--spip-matrix: run first has good; leave the option out"],
    "timeout": ["--spip-timeout=7", "--spip-timeout: run first has 50.0; leave the option out"],
    "flag": ["--spip-pre", "--spip-pre: run first has it not set; leave"],
    "name": ["--spip-run=other", "--spip-run: run first has first; leave"],
    "cache": ["--spip-cache=elsewhere", "--spip-cache: run first has "],
    "unknown": ["--spip-resume=nobody", "--spip-resume: there is no run nobody below"],
    "odd": ["--spip-resume=../first", "--spip-resume: '../first' is no name for a run"],
    "node id": [f"spip::good[1.0-{LABEL}]", "--spip-resume: spip::good[1.0-"],
}


@pytest.mark.parametrize("case", REFUSED)
def test_contradiction_is_refused(finished: Machine, case: str) -> None:
    """An option that contradicts the run, or names none, ends with one line that names it, and status 4."""
    option, line = REFUSED[case]
    refused = finished.run("--spip-resume", option, bare=True)
    assert refused.status == 4
    assert line in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert ledger(finished) == {f"good[1.0-{LABEL}]": "passed"}


def test_other_indexes_are_refused(finished: Machine) -> None:
    """A run is not finished with packages from elsewhere."""
    refused = finished.run("--spip-resume", bare=True, env={"UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple"})
    assert refused.status == 4
    assert (
        f"--spip-resume: run first reads {finished.index.url.rstrip('/')}, not http://127.0.0.1:9/simple"
        in refused.stderr
    )


def test_equal_options_do_not_contradict(finished: Machine) -> None:
    """Options that say again what the run has are no contradiction."""
    done = finished.run(
        "--spip-resume=first", *requiring("good"), "--spip-timeout=50", f"--spip-cache={finished.cache}", bare=True
    )
    assert done.status == 0, done.stderr


def test_path_behind_the_option_is_a_path(finished: Machine) -> None:
    """``--spip-resume`` alone does not take the path behind it for a run's name."""
    done = finished.run("--spip-resume", "test_plain.py", bare=True)
    assert "= 1 passed in" in done.stdout, done.stdout + done.stderr
    assert "run first is complete" in done.stdout
    assert done.status == 0


DAMAGES = {
    "schema": ("PRAGMA user_version = 1", "run first has schema 1, and this pytest-spip goes on with schema"),
    "facts": ("DELETE FROM run", "run first cannot be read ("),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_foreign_run_is_refused(finished: Machine, tmp_path: Path, damage: str) -> None:
    """A run of another schema, or one that cannot be read, ends with one clear line and status 4."""
    statement, line = DAMAGES[damage]
    project = finished.project(tmp_path.name)
    shutil.copytree(finished.project_path("project") / ".spip", project / ".spip", symlinks=True)
    with contextlib.closing(sqlite3.connect(project / ".spip" / "latest" / "run.sqlite")) as connection, connection:
        connection.execute(statement)
    refused = finished.run("--spip-resume", bare=True, project=tmp_path.name)
    assert refused.status == 4
    assert line in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


def test_no_run_yet(finished: Machine, tmp_path: Path) -> None:
    """Where there is no run, the line says where it was looked for."""
    refused = finished.run("--spip-resume", bare=True, project=tmp_path.name)
    assert refused.status == 4
    assert "--spip-resume: there is no run yet below" in refused.stderr
    assert os.listdir(refused.project) == ["pytest.ini"]
