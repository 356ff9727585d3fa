"""Which conftests a session with a matrix loads: its directory's own, and its tests' only where they matter."""

from __future__ import annotations

from tests.conftest import MakeMachine
from tests.support.distributions import wheel
from tests.support.machine import LABEL

MISSING = "import nonesuch\n"
OPTION = "def pytest_addoption(parser): parser.addoption('--own')\n"
HERE = "def pytest_report_header(): return 'the conftest here'\n"
PROJECTS: dict[str, tuple[dict[str, str], list[str], int, str]] = {
    "tests": ({"tests/conftest.py": MISSING}, [], 0, "1 passed"),
    "testpaths": (
        {"checks/deep/conftest.py": MISSING, "pytest.ini": "[pytest]\ntestpaths = checks/*\n"},
        [],
        0,
        "1 passed",
    ),
    "here": ({"tests/conftest.py": MISSING, "conftest.py": HERE}, [], 0, "the conftest here"),
    "pasted": ({"tests/conftest.py": MISSING}, [f"spip::good[1-{LABEL}]"], 0, "1 passed"),
    "option": ({"tests/conftest.py": OPTION, "pytest.ini": "[pytest]\naddopts = --own=1\n"}, [], 0, "1 passed"),
    "functions": ({"tests/conftest.py": MISSING}, ["--spip-check=none"], 4, "No module named 'nonesuch'"),
    "broken": ({"conftest.py": MISSING}, [], 4, "No module named 'nonesuch'"),
    "named": ({"tests/conftest.py": MISSING}, ["tests"], 4, "No module named 'nonesuch'"),
}
"""By project: its files, further arguments, the exit status, and what is said."""


def test_conftests_of_tests_are_spared(make_machine: MakeMachine) -> None:
    """A conftest that cannot be imported here matters only where tests are named, or where it has a say in the session."""
    machine = make_machine()
    wheel(machine.files, "good", "1", {"good.py": ""})
    for name, (files, _, _, _) in PROJECTS.items():
        machine.project(name, files)
    found = machine.run_all(
        {name: {"arguments": ("--spip-matrix=good", "-n0", *words)} for name, (_, words, _, _) in PROJECTS.items()}
    )
    assert {name: done.status for name, done in found.items()} == {name: row[2] for name, row in PROJECTS.items()}
    assert [name for name, row in PROJECTS.items() if row[3] not in found[name].stdout + found[name].stderr] == []


def test_our_modules_are_imported_as_they_are(make_machine: MakeMachine) -> None:
    """pytest rewrites assertions of the session's own tests, and does not take the time to do so with all of ours."""
    machine = make_machine()
    wheel(machine.files, "good", "1", {"good.py": ""})
    conftest = """
import sys

def pytest_sessionfinish():
    names = ("pytest_spip.session", "pytest_spip.workbench", "pytest_spip.report.terminal", "conftest")
    print(*(type(sys.modules[name].__spec__.loader).__name__ for name in names))
"""
    machine.project("project", {"conftest.py": conftest})
    done = machine.run("--spip-matrix=good", "-n0")
    assert " ".join([*["SourceFileLoader"] * 3, "AssertionRewritingHook"]) in done.stdout, done.stdout
