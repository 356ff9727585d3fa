"""Workers with and without pytest, end to end: nobody who listens to pytest's hooks can tell the difference."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import Any

import pytest

from tests.conftest import MakeMachine
from tests.support.distributions import wheel
from tests.support.machine import LABEL, Done, Machine

GOOD, BAD, OLD = f"good[1.0-{LABEL}]", f"bad[1.0-{LABEL}]", f"old[1.0-{LABEL}]"
MATRIX = ("--spip-matrix=good", "--spip-matrix=bad", "--spip-matrix=old")

IN_WORKERS = """\
# of spip
import os

def pytest_runtest_setup(item):
    with open(f"seen-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}.txt", "a") as file:
        print(item.name, file=file)
"""
IN_CONTROLLER = """\
# of spip
def told(*what):
    with open("told.txt", "a") as file:
        print(*what, file=file)

def pytest_runtest_logstart(nodeid, location):
    told(nodeid, "start", location)

def pytest_runtest_logreport(report):
    told(report.nodeid, report.when, report.outcome, [name for name, _ in report.user_properties])

def pytest_runtest_logfinish(nodeid, location):
    told(nodeid, "finish", location)
"""
NO_PHASES = """\
# of spip
def pytest_sessionstart(session):
    import os
    with open(f"started-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}.txt", "a") as file:
        print("started", file=file)
"""
PLACES = """\
# of spip
import os

def pytest_runtest_logreport(report):
    if report.when == "call":
        assert os.path.isfile(report.location[0]), report.location
        assert report.location[2] in report.nodeid
"""

# Runs by name: arguments, and the files of the project.
RUNS: Mapping[str, Mapping[str, Any]] = {
    "junit-n0": {"arguments": (*MATRIX, "-n0", "--junitxml=junit.xml", "-rs")},
    "junit-n2": {"arguments": (*MATRIX, "-n2", "--junitxml=junit.xml", "-rs")},
    "items-n2": {"arguments": (*MATRIX, "-n2"), "files": {"conftest.py": IN_WORKERS}},
    "reports-n0": {"arguments": (*MATRIX, "-n0"), "files": {"conftest.py": IN_CONTROLLER}},
    "reports-n2": {"arguments": (*MATRIX, "-n2"), "files": {"conftest.py": IN_CONTROLLER}},
    "plugin-n2": {
        "arguments": (*MATRIX, "-n2", "-p", "watcher.plugin"),
        "files": {"watcher/__init__.py": "", "watcher/plugin.py": IN_WORKERS},
    },
    "places-n0": {"arguments": (*MATRIX, "-n0"), "files": {"conftest.py": PLACES}},
    "places-n2": {"arguments": (*MATRIX, "-n2"), "files": {"conftest.py": PLACES}},
    "k-n2": {"arguments": (*MATRIX, "-n2", "-k", "good or old")},
    "sessions-n2": {"arguments": (*MATRIX, "-n2", "-v"), "files": {"conftest.py": NO_PHASES}},
    "n7": {"arguments": (*MATRIX, "-n7")},
}


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:
    """Serve a package that works, one that does not, and one that is for no Python of today."""
    machine = make_machine()
    wheel(machine.files, "good", "1.0", {"good.py": ""})
    wheel(machine.files, "bad", "1.0", {"bad.py": "import nonesuch"})
    wheel(machine.files, "old", "1.0", {"old.py": ""}, requires_python="<3")
    return machine


@pytest.fixture(scope="module")
def done(machine: Machine) -> dict[str, Done]:
    """Run everything once."""
    machine.run(*MATRIX, "--collect-only", project="warm-up")
    for name, how in RUNS.items():
        machine.project(name, how.get("files", {}))
    pipeline = {"GITHUB_ACTIONS": "true"}
    return machine.run_all(
        {
            name: {"arguments": how["arguments"], "env": pipeline if name.startswith("places") else {}}
            for name, how in RUNS.items()
        }
    )


@pytest.mark.parametrize("name", sorted(set(RUNS) - {"k-n2"}))
def test_verdicts(done: dict[str, Done], name: str) -> None:
    """Whatever a worker is, verdicts and exit status are the same."""
    assert done[name].outcomes == {GOOD: "passed", BAD: "failed", OLD: "skipped"}
    assert done[name].status == 1
    assert "1 failed, 1 passed, 1 skipped" in done[name].stdout


def test_junitxml_is_complete(done: dict[str, Done]) -> None:
    """JUnit's report has cases, properties and reasons as it has without workers."""

    def cases(name: str) -> dict[str, tuple[list[str], list[str | None]]]:
        tree = ET.parse(done[name].project / "junit.xml")
        return {
            case.get("name", ""): (
                [node.tag for node in case],
                [*(prop.get("name") for prop in case.iter("property")), *(node.get("type") for node in case)],
            )
            for case in tree.iter("testcase")
        }

    assert set(cases("junit-n0")) == {GOOD, BAD, OLD}
    assert cases("junit-n2") == cases("junit-n0")
    assert "spip_outcome" in cases("junit-n2")[GOOD][1]


@pytest.mark.parametrize("name", ["junit-n0", "junit-n2"])
def test_skips_tell_their_reason(done: dict[str, Done], name: str) -> None:
    """A skip is told with its reason, and with no line of ours as its place."""
    assert re.search(r"^SKIPPED \(requires-python\) \[1\] spip: requires-python: ", done[name].stdout, re.MULTILINE)


def test_hooks_of_items_are_called_in_workers(done: dict[str, Done]) -> None:
    """Who hooks into the running of items gets them, in workers that are pytest sessions; the header says so."""
    seen = [line for path in done["items-n2"].project.glob("seen-gw*.txt") for line in path.read_text().splitlines()]
    assert sorted(seen) == sorted([GOOD, BAD, OLD])
    assert "spip: workers are pytest sessions, for conftest.py has pytest_runtest_setup" in done["items-n2"].stdout


def test_plugin_is_named(done: dict[str, Done]) -> None:
    """A plugin for which workers must be pytest sessions is named as the user knows it."""
    said = "workers are pytest sessions, for plugin watcher.plugin has pytest_runtest_setup"
    assert said in done["plugin-n2"].stdout


def test_hooks_of_reports_hear_everything(done: dict[str, Done]) -> None:
    """Who listens to reports in the controller is told of beginning, set-up, call and end, in this order."""

    def told(name: str) -> dict[str, list[str]]:
        words: dict[str, list[str]] = {}
        for line in (done[name].project / "told.txt").read_text().splitlines():
            nodeid, _, rest = line.partition(" ")
            words.setdefault(nodeid, []).append(rest)
        return words

    assert len(told("reports-n0")) == 3
    assert [line.split()[0] for line in told("reports-n2")[f"spip::{GOOD}"]] == [
        "start",
        "setup",
        "call",
        "teardown",
        "finish",
    ]
    assert {name: [line.split()[:2] for line in lines[1:-1]] for name, lines in told("reports-n2").items()} == {
        name: [line.split()[:2] for line in lines[1:-1]] for name, lines in told("reports-n0").items()
    }
    assert "workers are pytest sessions" not in done["reports-n2"].stdout


def test_selection_is_pytests(done: dict[str, Done]) -> None:
    """What -k leaves out is not run; pytest chooses, in workers that are pytest sessions."""
    assert done["k-n2"].outcomes == {GOOD: "passed", OLD: "skipped"}
    assert "workers are pytest sessions, for items are chosen or ordered by keyword" in done["k-n2"].stdout


def test_workers_have_no_session_without_need(done: dict[str, Done]) -> None:
    """A conftest file that has no use for items starts no pytest in workers; -v names each item all the same."""
    assert [path.name for path in done["sessions-n2"].project.glob("started-*")] == ["started-main.txt"]
    assert re.search(rf"\[gw\d\].* PASSED spip::{re.escape(GOOD)}", done["sessions-n2"].stdout)


def test_no_more_workers_than_work(done: dict[str, Done]) -> None:
    """Three combinations start three workers, whatever was allowed."""
    assert "created: 3/3 workers" in done["n7"].stdout
