"""Our own hooks in hands that make mistakes: one line that names hook and file, and no verdict is lost."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

import pytest

from tests.conftest import MakeMachine
from tests.support.distributions import wheel
from tests.support.machine import LABEL, Done, Machine

FIX = "correct the hook, or remove it"
PLAN = "def pytest_spip_plan(config, combos, interpreters):\n    "
OFFER = "def pytest_spip_interpreters(config):\n    "
REPORT = "def pytest_spip_report(config, kind, path, summary, plan):\n    "
VERDICT = "def pytest_spip_verdict(config, combo, result):\n    "
IDS = {f"{name}[{version}-{LABEL}]" for name in ("alpha", "beta") for version in ("1.0", "2.0")}

# By name: the conftest, and the line that ends the session before anything begins.
REFUSED: Mapping[str, tuple[str, str]] = {
    "plan-raises": (
        PLAN + "raise ValueError('boom\\nmore')",
        "pytest_spip_plan: conftest.py:2 raised ValueError: boom",
    ),
    "plan-silent": (PLAN + "assert not combos, ''", "pytest_spip_plan: conftest.py:2 raised AssertionError"),
    "plan-deep": (PLAN + "[].pop()", "pytest_spip_plan: conftest.py:2 raised IndexError: pop from empty list"),
    "plan-exits": (PLAN + "raise SystemExit('no')", "pytest_spip_plan: conftest.py:2 raised SystemExit: no"),
    "plan-skips": (
        "import pytest\n" + PLAN + "pytest.skip('no')",
        "pytest_spip_plan: conftest.py:3 raised Skipped: no",
    ),
    "plan-foreign": (
        "import dataclasses\n" + PLAN + "combos.append(dataclasses.replace(combos[0], version='9.9'))",
        f"pytest_spip_plan: conftest.py adds alpha[9.9-{LABEL}], which is not in the matrix",
    ),
    "plan-elsewhere": (
        "import dataclasses\n" + PLAN + "combos[:] = [dataclasses.replace(one, interpreter='x') for one in combos]",
        f"pytest_spip_plan: conftest.py adds alpha[1.0-{LABEL}], which is not in the matrix",
    ),
    "plan-twice": (PLAN + "combos.extend(combos[1:2])", f"conftest.py adds alpha[2.0-{LABEL}] a second time"),
    "plan-junk": (
        PLAN + "combos.append('alpha')",
        "pytest_spip_plan: conftest.py adds 'alpha', which is no combination",
    ),
    "offer-raises": (OFFER + "return 1 / 0", "pytest_spip_interpreters: conftest.py:2 raised ZeroDivisionError"),
    "offer-text": (
        OFFER + "return '/usr/bin/python3'",
        "pytest_spip_interpreters: conftest.py returns '/usr/bin/python3', which is no list of paths",
    ),
    "offer-none": (
        OFFER + "return [None]",
        "pytest_spip_interpreters: conftest.py returns [None], which is no list of",
    ),
}
# By name: the conftest, arguments, and the line at the end of the session.
LATER: Mapping[str, tuple[str, tuple[str, ...], str]] = {
    "verdict": (
        VERDICT + "raise OSError(2, 'boom')",
        (),
        "conftest.py:2 raised FileNotFoundError: [Errno 2] boom (4 times)",
    ),
    "verdict-n2": (
        VERDICT + "raise KeyError(3)",
        ("-n2",),
        "pytest_spip_verdict: conftest.py:2 raised KeyError: 3 (4 times)",
    ),
    "report": (
        REPORT + "if kind == 'count': open('/nowhere/x')",
        ("--spip-report=count:count.txt",),
        "pytest_spip_report: conftest.py:2 raised FileNotFoundError: [Errno 2] No such file",
    ),
    "report-lies": (
        REPORT + "return kind == 'count' or None",
        ("--spip-report=count:count.txt", "-n2"),
        "pytest_spip_report: conftest.py wrote nothing to ",
    ),
    "report-none": (
        REPORT + "return None",
        ("--spip-report=count:count.txt",),
        "--spip-report: no report is named 'count'; there are terminal, json, ",
    ),
    "report-terminal": (
        REPORT + "if kind == 'terminal': 1 / 0",
        (),
        "conftest.py:2 raised ZeroDivisionError: division",
    ),
}


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:
    """Serve two releases each of two packages, all good."""
    machine = make_machine()
    for name in ("alpha", "beta"):
        for version in ("1.0", "2.0"):
            wheel(machine.files, name, version, {f"{name}.py": ""})
    return machine


@pytest.fixture(scope="module")
def done(machine: Machine) -> dict[str, Done]:
    """Run everything once."""
    commands: dict[str, tuple[str, tuple[str, ...]]] = {name: (text, ()) for name, (text, _) in REFUSED.items()}
    commands |= {name: (text, arguments) for name, (text, arguments, _) in LATER.items()}
    runs = {}
    for name, (text, arguments) in commands.items():
        machine.project(name, {"conftest.py": text + "\n"})
        runs[name] = {"arguments": ("--spip-matrix=alpha", "--spip-matrix=beta", *arguments)}
    return machine.run_all(runs)


@pytest.mark.parametrize("name", REFUSED)
def test_planning(done: dict[str, Done], name: str) -> None:
    """A mistake while the run is planned ends the session with one line, and nothing is made."""
    it = done[name]
    (line,) = it.stderr.strip().splitlines()
    assert it.status == 4
    assert line.startswith("ERROR: ")
    assert REFUSED[name][1] in line
    assert line.endswith(f"; {FIX}")
    assert not (it.project / ".spip").exists()


@pytest.mark.parametrize("name", LATER)
def test_later(done: dict[str, Done], name: str) -> None:
    """A mistake later is told at the end, with pytest's status of an internal error; every verdict is in the ledger."""
    it = done[name]
    assert it.status == 3, it.stdout + it.stderr
    assert f"{LATER[name][2]}" in it.stdout
    assert "INTERNALERROR" not in it.stdout + it.stderr
    assert "4 passed" in it.stdout
    ledger = sqlite3.connect(it.project / ".spip" / "latest" / "run.sqlite")
    assert set(ledger.execute("SELECT id, outcome FROM plan JOIN ledger USING (ordinal)")) == {
        (name, "passed") for name in IDS
    }
