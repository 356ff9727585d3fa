"""What of a project's pytest configuration holds for a session with a matrix: our own keys, and conftests that mention us."""

from __future__ import annotations

import sys
from typing import NamedTuple

import pytest

from tests.conftest import MakeMachine
from tests.support.distributions import wheel
from tests.support.machine import LABEL, Done

MISSING = "import nonesuch\n"
OPTION = "def pytest_addoption(parser): parser.addoption('--own')\n"
OURS = "def pytest_report_header(): return 'a conftest for spip'\n"
PLAIN = "def test_one(): pass\n"
RUN = (sys.executable, "-m", "pytest_spip.cli", "run")


class Case(NamedTuple):
    """A project's files, further arguments, the exit status and what is printed; ``program`` is pytest where it is empty."""

    files: dict[str, str]
    arguments: tuple[str, ...] = ()
    status: int = 0
    printed: str = "1 passed"
    program: tuple[str, ...] = ()


def ini(*lines: str) -> dict[str, str]:
    """Return a project that is a pytest.ini with these lines."""
    return {"pytest.ini": "\n".join(["[pytest]", *lines, ""])}


CASES = {
    # conftests
    "conftest-of-tests": Case({"tests/conftest.py": MISSING}),
    "conftest-of-testpaths": Case({"checks/deep/conftest.py": MISSING} | ini("testpaths = checks/*")),
    "conftest-at-root": Case({"conftest.py": MISSING}, printed="left to its suites: conftest.py"),
    "conftest-with-plugins": Case({"tests/conftest.py": "pytest_plugins = ['nonesuch']\n"}),
    "conftest-pasted-id": Case({"conftest.py": MISSING}, (f"spip::good[1-{LABEL}]",)),
    "conftest-ours": Case({"conftest.py": OURS, "tests/conftest.py": MISSING}, printed="a conftest for spip"),
    "conftest-ours-in-tests": Case({"tests/conftest.py": OURS}, printed="a conftest for spip"),
    "conftest-with-option": Case({"conftest.py": OPTION}, ("--own=1",)),
    "conftest-for-functions": Case(
        {"tests/conftest.py": MISSING}, ("--spip-check=none",), 4, "No module named 'nonesuch'"
    ),
    "conftest-of-named": Case({"tests/conftest.py": MISSING}, ("tests",), 4, "No module named 'nonesuch'"),
    # addopts
    "addopts-of-absent-plugin": Case(ini("addopts = --cov=x --cov-report=term"), printed="left to its suites: addopts"),
    "addopts-with-workers": Case(ini("addopts = -n 2 -x -k nothing --collect-only")),
    "addopts-of-conftest": Case({"conftest.py": OPTION} | ini("addopts = --own=1")),
    "addopts-strict": Case(ini("addopts = --strict-markers --strict-config", "nonesuch = 1")),
    "addopts-with-paths": Case({"tests/test_x.py": PLAIN} | ini("addopts = tests")),
    "addopts-of-ours": Case(ini("addopts = --nonesuch --spip-check command --spip-command='python -V' tests")),
    "addopts-typed": Case({}, ("-o", "addopts=--nonesuch"), 4, "unrecognized arguments: --nonesuch"),
    "toml-addopts": Case({"pyproject.toml": "[tool.pytest.ini_options]\naddopts = ['--cov', '-ra']\n"}),
    "tox-addopts": Case({"tox.ini": "[pytest]\naddopts = --cov\n"}),
    # other keys
    "warnings-unknown-key": Case(ini("filterwarnings = error", "asyncio_mode = auto")),
    "warnings-of-absent-module": Case(
        ini("filterwarnings =", "    error", "    ignore::nonesuch.Warning"), program=RUN
    ),
    "warnings-of-the-project": Case(
        {"mine.py": "raise SystemExit('imported')\n"} | ini("pythonpath = .", "filterwarnings = ignore::mine.Warning"),
        program=RUN,
    ),
    "required-plugins": Case(ini("required_plugins = pytest-nonesuch>=3"), ("-n", "0")),
    "required-plugins-of-named": Case(
        {"tests/test_x.py": PLAIN} | ini("required_plugins = pytest-nonesuch"), ("tests",), 4, "pytest-nonesuch"
    ),
    "xfail-strict": Case(ini("xfail_strict = true", "log_cli = true", "junit_family = nonesuch", "norecursedirs = .")),
    "shadowing": Case({"src/packaging/__init__.py": MISSING, "src/uv.py": MISSING} | ini("pythonpath = src")),
    "typed-setting": Case(ini("console_output_style = classic"), ("-o", "console_output_style=count"), printed="[1/1]"),
    # where pytest itself stops
    "run-absent-plugin": Case(ini("addopts = -n auto -p nonesuch"), program=RUN),
    "run-minversion": Case(ini("minversion = 1000"), program=RUN),
    "run-everything": Case(
        {"conftest.py": MISSING, "tests/conftest.py": MISSING}
        | ini("addopts = -p nonesuch --cov", "required_plugins = nonesuch", "filterwarnings = error", "nonesuch = 1"),
        program=RUN,
    ),
    "run-with-workers": Case(ini("addopts = -p nonesuch"), ("-n", "1"), program=RUN),
    "run-our-keys": Case(
        ini("addopts = -p nonesuch", "spip_with = nonesuch"), (), 5, "nothing was tried: 1 no-solution", RUN
    ),
    # workers that are pytest sessions
    "workers": Case(
        {"conftest.py": MISSING} | ini("addopts = --cov", "filterwarnings = error::nonesuch.W"),
        ("-n", "1", "-k", "good"),
    ),
}


@pytest.fixture(scope="module")
def done(make_machine: MakeMachine) -> dict[str, Done]:
    """Run everything once."""
    machine = make_machine()
    wheel(machine.files, "good", "1", {"good.py": ""})
    for name, case in CASES.items():
        machine.project(name, case.files)
    return machine.run_all(
        {
            name: {"arguments": ("--spip-matrix=good", *("-n0",) * ("-n" not in case.arguments), *case.arguments)}
            | ({"program": case.program} if case.program else {})
            for name, case in CASES.items()
        }
    )


@pytest.mark.parametrize("name", CASES)
def test_configuration_is_left_to_the_suites(done: dict[str, Done], name: str) -> None:
    """A project's settings and conftests neither break nor change a matrix, unless its own tests run in the same session."""
    if name == "run-minversion" and pytest.version_tuple < (9,):
        pytest.skip("pytest 8 reads minversion from the file alone")
    case, ended = CASES[name], done[name]
    assert ended.status == case.status, ended.stdout + ended.stderr
    assert case.printed in ended.stdout + ended.stderr
    assert not case.program or "warnings summary" not in ended.stdout


def test_ordinary_sessions_keep_their_configuration(make_machine: MakeMachine) -> None:
    """Without a matrix nothing is set aside."""
    machine = make_machine()
    files = {"conftest.py": "def pytest_report_header(): return 'its own'\n", "tests/test_x.py": PLAIN}
    machine.project("project", files | ini("addopts = -v", "testpaths = tests", "markers = slow"))
    ended = machine.run("--strict-markers", bare=True)
    assert "its own" in ended.stdout
    assert "tests/test_x.py::test_one PASSED" in ended.stdout


def test_our_modules_are_imported_as_they_are(make_machine: MakeMachine) -> None:
    """pytest rewrites assertions of the session's own tests, and does not take the time to do so with all of ours."""
    machine = make_machine()
    wheel(machine.files, "good", "1", {"good.py": ""})
    conftest = """
import sys

def pytest_sessionfinish():
    names = ("pytest_spip.session.run", "pytest_spip.session.executor", "pytest_spip.report.terminal", "conftest")
    print(*(type(sys.modules[name].__spec__.loader).__name__ for name in names))
"""
    machine.project("project", {"conftest.py": conftest})
    done = machine.run("--spip-matrix=good", "-n0")
    assert " ".join([*["SourceFileLoader"] * 3, "AssertionRewritingHook"]) in done.stdout, done.stdout
