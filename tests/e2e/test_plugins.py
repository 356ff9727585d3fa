"""Plugins that people have installed: together with all of them a matrix comes to what it comes to without them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import pytest

from tests.conftest import MakeMachine
from tests.support.distributions import wheel
from tests.support.machine import LABEL, Done, Machine
from tests.support.plugins import Plugins

pytestmark = pytest.mark.network

TOGETHER = tuple(
    f"pytest-{name}"
    for name in [
        "rerunfailures",
        "retry",
        "timeout",
        "html",
        "cov",
        "randomly",
        "sugar",
        "split",
        "asyncio",
        "instafail",
    ]
)
USED = ("--html=report.html", "--self-contained-html", "--instafail", "--splits=1", "--group=1", "--timeout=300")
GOOD, BAD, MARKED = f"good[1.0-{LABEL}]", f"bad[1.0-{LABEL}]", f"marked[1.0-{LABEL}]"
MATRIX = ("--spip-matrix=good", "--spip-matrix=bad", "--spip-matrix=marked", "--junitxml=junit.xml")
MARKS = """\
# for spip
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if "marked" in item.nodeid:
            item.add_marker(pytest.mark.xfail(reason="known"))
        item.add_marker(pytest.mark.xdist_group("together"))
"""
GROUPS = """\
# for spip
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        number = int(item.nodeid.partition("[")[2][0])
        if number % 4:
            item.add_marker(pytest.mark.xdist_group(f"group{number % 4}"))
"""
FUNCTIONS = """\
import os
import pytest

def test_program(spip_env):
    assert spip_env.python("print(1)").stdout == "1\\n"

@pytest.mark.forked
def test_plain():
    os._exit(3)
"""
CURIOUS = """\
# for spip
import inspect

def pytest_collection_modifyitems(items):
    for item in items:
        assert item.function.__name__ and item.obj.__doc__ and inspect.getsource(item.function)
        assert item.function.__globals__ and item.module.__name__ and item.originalname in item.name
        assert item.cls is None and item.instance is None and item.funcargs == {}
        item.fixturenames.append("extra")
        assert item.fixturenames == ["extra"]
        item.obj = item.obj

def pytest_xdist_node_collection_finished(node, ids):
    sched = node.config.pluginmanager.get_plugin("dsession").sched
    assert sched.config is node.config and sched.numnodes == 2
    assert sched.collection in (None, list(ids))
    seen = [place for places in sched.node2pending.values() for place in places] + sched.pending
    assert set(seen) <= set(range(len(ids)))
    sched.log("looked at")
"""


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:
    """Serve a good release, a broken one, and one that is expected to be broken."""
    machine = make_machine()
    wheel(machine.files, "good", "1.0", {"good.py": ""})
    for name in ("bad", "marked"):
        wheel(machine.files, name, "1.0", {f"{name}.py": "import nonesuch"})
    for number in range(1, 9):
        wheel(machine.files, "many", f"{number}.0", {"many.py": ""})
    return machine


def junit(it: Done) -> dict[str, Any]:
    """Return what JUnit's file says, without times, places and the order of cases."""
    (suite,) = ET.parse(it.project / "junit.xml").iter("testsuite")
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")}
    cases = {}
    for case in suite.iter("testcase"):
        properties = [(one.get("name"), one.get("value")) for one in case.iter("property")]
        ends = [(part.tag, (part.get("message") or "").split("\n")[0]) for part in case if part.tag != "properties"]
        cases[f"{case.get('classname')}::{case.get('name')}"] = (properties, ends)
    return {"counts": counts, "cases": cases}


def told(it: Done) -> str:
    """Return the summary line's counts."""
    found = re.search(r"^spip: (\d+ combinations: .*?) in ", it.stdout, re.MULTILINE)
    assert found, it.stdout + it.stderr
    return found[1]


@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_together(machine: Machine, plugins: Plugins, workers: str) -> None:
    """With ten plugins, most of them in use, verdicts, counts, JUnit's file and status are those without them."""
    for name in ("with", "without"):
        machine.project(f"{name}{workers}", {"conftest.py": MARKS})
    without = machine.run(*MATRIX, workers, project=f"without{workers}")
    env = plugins.variables(*TOGETHER)
    with_all = machine.finish(
        machine.start(*MATRIX, *USED, workers, project=f"with{workers}", env=env), f"with{workers}", timeout=240
    )
    assert with_all.cells.items() == without.cells.items(), with_all.stdout + with_all.stderr
    assert without.outcomes == {GOOD: "passed", BAD: "failed", MARKED: "failed"}
    assert (
        (with_all.status, told(with_all))
        == (without.status, told(without))
        == (1, "3 combinations: 1 passed, 2 failed")
    )
    assert junit(with_all) == junit(without)
    assert BAD in (with_all.project / "report.html").read_text("utf-8")


@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_forked(machine: Machine, plugins: Plugins, workers: str) -> None:
    """What has a combination is not forked by pytest-forked, which all else is."""
    name = f"forked{workers}"
    machine.project(name, {"test_it.py": FUNCTIONS})
    it = machine.run(
        *MATRIX[:2], "--forked", workers, "test_it.py", project=name, env=plugins.variables("pytest-forked")
    )
    assert it.outcomes == {GOOD: "passed", BAD: "failed"}, it.stdout + it.stderr
    assert "running the test EXITED with status 3" in it.stdout
    assert "= 2 failed, 3 passed in " in it.stdout


def test_groups(machine: Machine, plugins: Plugins) -> None:
    """With --dist=loadgroup, and pytest 8.4, which puts groups behind node ids, every combination has its verdict."""
    machine.project("groups", {"conftest.py": MARKS})
    env = plugins.variables("pytest==8.4.2")
    it = machine.run(*MATRIX, "-n2", "--dist=loadgroup", project="groups", env=env)
    assert "pytest-8.4.2" in it.stdout
    assert it.outcomes == {GOOD: "passed", BAD: "failed", MARKED: "failed"}, it.stdout + it.stderr
    assert "internal" not in it.stdout


def test_groups_stay_with_a_worker(machine: Machine, plugins: Plugins) -> None:
    """Combinations of one xdist_group are run by one worker; newer pytests have no use for what xdist writes there."""
    machine.project("together", {"conftest.py": GROUPS})
    env = plugins.variables("pytest==8.4.2")
    done = machine.run("--spip-matrix=many", "-n3", "--dist=loadgroup", project="together", env=env)
    assert (done.status, set(done.outcomes.values())) == (0, {"passed"}), done.stdout
    workers: dict[int, set[str]] = defaultdict(set)
    for one in done.combinations.values():
        workers[int(one["version"][0]) % 4].add(one["worker"])
    assert all(len(workers[group]) == 1 for group in (1, 2, 3)), workers


def test_curious_conftest(machine: Machine) -> None:
    """A conftest finds on items and scheduler what functions' items and xdist's schedulers have."""
    machine.project("curious", {"conftest.py": CURIOUS})
    it = machine.run(*MATRIX, "-n2", project="curious", env={"PYTEST_ADDOPTS": ""})  # with hypothesis and anyio
    assert it.outcomes == {GOOD: "passed", BAD: "failed", MARKED: "failed"}, it.stdout + it.stderr


LISTING: Mapping[str, tuple[str, ...]] = {
    "setup-plan": ("--setup-plan",),
    "setup-only-n2": ("--setup-only", "test_it.py", "-n2"),
    "fixtures": ("--fixtures",),
    "fixtures-per-test": ("--fixtures-per-test", "test_it.py"),
    "cache-show": ("--cache-show",),
    "markers": ("--markers",),
    "collect-only-n2": ("--collect-only", "-q", "-n2"),
}


@pytest.mark.parametrize("name", LISTING)
def test_listing(machine: Machine, name: str) -> None:
    """Options with which pytest only lists make no run, and no environment."""
    machine.project("listing", {"test_it.py": "def test_it(spip_env): pass\n"})
    it = machine.run(*MATRIX[:1], *LISTING[name], project="listing")
    assert it.status == 0, it.stdout + it.stderr
    assert not (it.project / ".spip").exists()
    assert not machine.worktrees()
    assert not it.written
