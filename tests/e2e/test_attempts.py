"""Plugins that run items again: the last attempt is the verdict, wherever it is told, and the others are counted."""

from __future__ import annotations

import re
import sqlite3
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import Any

import pytest

from tests.conftest import MakeMachine
from tests.support.distributions import wheel
from tests.support.machine import LABEL, Done, Machine
from tests.support.plugins import Plugins

pytestmark = pytest.mark.network

FICKLE = """\
import os
with open({path!r}, "a+") as file:
    file.write("x")
    if file.tell() % 3:
        raise ImportError("not yet")
"""
"""Fails twice, then passes."""
BROKEN, FLAKY, GOOD = f"broken[1.0-{LABEL}]", f"fickle[1.0-{LABEL}]", f"good[1.0-{LABEL}]"
MATRIX = tuple(f"--spip-matrix={name}" for name in ("broken", "fickle", "good"))
COLD = ("--spip-runner=cold", "--spip-sandbox=off")
"""Each attempt is one import, and leaves something behind."""
DEADLY = """\
# for spip
import os, pathlib

def pytest_runtest_setup(item):
    count = pathlib.Path(item.config.rootpath, item.originalname)
    with count.open("a+") as file:
        file.write("x")
        if {deaths}[item.originalname] >= file.tell():
            os._exit(1)
"""
# By name: the plugin, arguments, and other keywords of Machine.run.
RUNS: Mapping[str, tuple[str, tuple[str, ...], Mapping[str, Any]]] = {
    "rerunfailures": ("pytest-rerunfailures", ("--reruns=2", "-rR"), {}),
    "rerunfailures-n2": ("pytest-rerunfailures", ("--reruns=2", "-n2"), {}),
    "retry": ("pytest-retry", ("--retries=2",), {}),
    "retry-n2": ("pytest-retry", ("--retries=2", "-n2"), {}),
    "flaky-rerunfailures": ("pytest-rerunfailures", ("-n2",), {"ini": "spip_flaky =\n  fickle\n  broken\n"}),
    "flaky-retry": ("pytest-retry", (), {"ini": "spip_flaky =\n  fickle\n  broken\n"}),
}


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:
    """Serve a release that is broken, one that is good, and one that changes its mind."""
    machine = make_machine()
    wheel(machine.files, "broken", "1.0", {"broken.py": "import nonesuch"})
    wheel(machine.files, "good", "1.0", {"good.py": ""})
    wheel(machine.files, "fickle", "1.0", {"fickle.py": FICKLE.format(path=str(machine.root / "count"))})
    return machine


@pytest.fixture(scope="module")
def done(machine: Machine, plugins: Plugins) -> dict[str, Done]:
    """Run everything once, one after another: the counting release counts for all."""
    found = {}
    for name, (plugin, arguments, how) in RUNS.items():
        machine.project(name, {"pytest.ini": f"[pytest]\n{how.get('ini', '')}"})
        (machine.root / "count").unlink(missing_ok=True)
        more = ("--junitxml=junit.xml", *COLD, *MATRIX, *arguments)
        found[name] = machine.run(*more, project=name, env=plugins.variables(plugin))
    return found


@pytest.mark.parametrize("name", RUNS)
def test_last_attempt_counts(done: dict[str, Done], name: str) -> None:
    """What fails twice and then passes has passed, with two attempts before: in report, ledger, grid and exit status."""
    it = done[name]
    assert it.status == 1, it.stdout + it.stderr
    assert it.outcomes == {BROKEN: "failed", FLAKY: "passed", GOOD: "passed"}
    assert {key: one.get("reruns") for key, one in it.combinations.items()} == {BROKEN: 2, FLAKY: 2, GOOD: None}
    assert it.combinations[FLAKY]["flaky"] is True
    assert "spip: 3 combinations: 2 passed (1 flaky), 1 failed" in it.stdout
    ledger = sqlite3.connect(it.project / ".spip" / "latest" / "run.sqlite")
    rows = ledger.execute("SELECT id, outcome, ledger.reruns, failing FROM plan JOIN ledger USING (ordinal)").fetchall()
    assert sorted(rows) == [(BROKEN, "failed", 2, 1), (FLAKY, "passed", 2, 0), (GOOD, "passed", 0, 0)]


@pytest.mark.parametrize("name", RUNS)
def test_pytest_counts_attempts(done: dict[str, Done], name: str) -> None:
    """pytest's own line and JUnit's file tell of attempts as the plugin does, and no property twice."""
    it = done[name]
    counts = r"1 failed, 2 passed, 2 retried" if "retry" in name else r"1 failed, 2 passed, 4 rerun"
    assert re.search(rf"= {counts} in .* =+$", it.stdout, re.MULTILINE), it.stdout
    cases = [case for case in ET.parse(it.project / "junit.xml").iter("testcase") if case.get("name") == FLAKY]
    names = [one.get("name") for one in cases[-1].iter("property")]
    assert names == ["spip_outcome", "spip_phase", "spip_reruns", "spip_flaky"]
    assert cases[-1].find("failure") is None


def test_lost_workers(machine: Machine, plugins: Plugins) -> None:
    """Attempts over which workers die are run again, too, where pytest-rerunfailures has it so."""
    deaths = {"broken": 9, "good": 2, "fickle": 0}
    machine.project("lost", {"conftest.py": DEADLY.format(deaths=deaths)})
    how: dict[str, Any] = {"project": "lost", "env": plugins.variables("pytest-rerunfailures")}
    it = machine.run("--spip-matrix=broken", "--spip-matrix=good", "-n2", "--reruns=2", **how)
    assert it.cells[GOOD] == ("passed", "import", None)
    assert it.cells[BROKEN] == ("error", "import", "worker-lost")
    assert (it.combinations[GOOD]["reruns"], it.combinations[BROKEN]["reruns"]) == (1, 2)
    assert it.status == 1, it.stdout
