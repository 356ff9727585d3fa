"""pytest-timeout: a combination that takes too long has a verdict, whoever sets the limit and however."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping

import pytest

from tests.conftest import MakeMachine
from tests.support.distributions import scripted, wheel
from tests.support.machine import LABEL, Done
from tests.support.plugins import Plugins

pytestmark = pytest.mark.network

GOOD, SLOW, BUILT = (f"{name}[1.0-{LABEL}]" for name in ("good", "slow", "built"))
FUNCTIONS = """\
import time

def test_program(spip_env):
    assert spip_env.python("print(1)").stdout == "1\\n"
    spip_env.python("import time; time.sleep(600)")

def test_good(spip_env):
    spip_env.python("")
"""
INI = "[pytest]\ntimeout = 4\ntimeout_method = {}\n"
SLOW_BUILD = """\
import time, zipfile
time.sleep(6)
with zipfile.ZipFile(os.path.join(directory, "built-1.0-py3-none-any.whl"), "w") as wheel:
    wheel.writestr("built.py", "")
    wheel.writestr("built-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: built\\nVersion: 1.0\\n")
    wheel.writestr("built-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr("built-1.0.dist-info/RECORD", "built.py,,\\n")
return "built-1.0-py3-none-any.whl"
"""
# By name: arguments, and the project's files.
RUNS: Mapping[str, tuple[tuple[str, ...], Mapping[str, str]]] = {
    "signal": (("--timeout=4", "--timeout-method=signal", "--spip-matrix=built"), {}),
    "thread-n2": (("--timeout=4", "--timeout-method=thread", "-n2"), {}),
    "ini-thread": (("test_it.py",), {"pytest.ini": INI.format("thread"), "test_it.py": FUNCTIONS}),
    "ini-signal-n2": (("test_it.py", "-n2"), {"pytest.ini": INI.format("signal"), "test_it.py": FUNCTIONS}),
}


@pytest.fixture(scope="module")
def done(make_machine: MakeMachine, plugins: Plugins) -> dict[str, Done]:
    """Run everything once: a good release, one whose import does not end, and one that takes long to build."""
    machine = make_machine()
    wheel(machine.files, "good", "1.0", {"good.py": ""})
    wheel(machine.files, "slow", "1.0", {"slow.py": "import time; time.sleep(600)"})
    scripted(machine.files, SLOW_BUILD, name="built")
    always = ("--spip-matrix=good", "--spip-matrix=slow", "--junitxml=junit.xml")
    for name, (_, files) in RUNS.items():
        machine.project(name, files)
    env = plugins.variables("pytest-timeout")
    return machine.run_all({name: {"arguments": (*always, *more), "env": env} for name, (more, _) in RUNS.items()})


@pytest.mark.parametrize("name", RUNS)
def test_verdict(done: dict[str, Done], name: str) -> None:
    """What takes too long is killed, as by our own limit; all else goes on."""
    it = done[name]
    assert it.status == 1, it.stdout + it.stderr
    built = {BUILT: ("passed", "import", None)} if name == "signal" else {}
    assert it.cells == {GOOD: ("passed", "import", None), SLOW: ("killed", "import", "timeout"), **built}
    assert it.combinations[SLOW]["detail"] == "no end after 4 s"
    assert "not run" not in it.stdout


@pytest.mark.parametrize("name", RUNS)
def test_text_is_short(done: dict[str, Done], name: str) -> None:
    """Nothing is told of our own frames and threads, neither on the terminal nor in JUnit's file."""
    it = done[name]
    assert len(it.stdout.splitlines()) < 90, it.stdout
    for text in (it.stdout, (it.project / "junit.xml").read_text("utf-8")):
        assert "Stack of" not in text
        assert "in _read" not in text
    cases = {case.get("name"): case for case in ET.parse(it.project / "junit.xml").iter("testcase")}
    failure = cases[SLOW].find("failure")
    assert failure is not None
    assert "timeout: no end after 4 s" in (failure.get("message") or "")


def test_waiting_for_a_build(done: dict[str, Done]) -> None:
    """The time that a build takes, longer than the limit, is not the combination's."""
    assert done["signal"].outcomes[BUILT] == "passed"
    assert done["signal"].report["summary"]["phases"]["build"] > 4


@pytest.mark.parametrize("name", ["ini-thread", "ini-signal-n2"])
def test_functions(done: dict[str, Done], name: str) -> None:
    """A program that a test runs is bounded by what is left of the test's limit, and the test fails with its own words."""
    stdout = done[name].stdout
    assert f"FAILED test_it.py::test_program[good-1.0-{LABEL}]" in stdout
    assert "ProgramFailed: no end after" in stdout
    assert "ERROR" not in stdout
    assert f"test_good[good-1.0-{LABEL}]" not in stdout
