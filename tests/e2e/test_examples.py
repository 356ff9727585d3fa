"""The examples and the documentation do what they say, against an index of the tests' own."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys

import pytest

from tests.support.distributions import wheel
from tests.support.machine import Machine
from tests.support.paths import ROOT

COLORS = 'class Fore:\n    GREEN = "\\x1b[32m"\n    RESET = "\\x1b[39m"\n'
VERSIONS = ("0.4.0", "0.4.1", "0.5.0")


@pytest.fixture
def colorful(machine: Machine) -> Machine:
    """Have a machine whose index lists a small colorama."""
    for version in VERSIONS:
        wheel(machine.files, "colorama", version, {"colorama/__init__.py": COLORS})
    return machine


def copy_example(machine: Machine, name: str) -> None:
    """Put an example where the machine keeps its projects."""
    shutil.copytree(ROOT / "examples" / name, machine.project_path(name))


def test_a_list_of_packages_runs_without_a_project(colorful: Machine) -> None:
    """The command in the list's first line runs what the list names."""
    copy_example(colorful, "cli")
    command = (ROOT / "examples" / "cli" / "packages.txt").read_text().splitlines()[0].removeprefix("# pytest ")
    done = colorful.run(*command.split(), project="cli")
    assert done.status == 0, done.stdout
    assert {name.partition("[")[2].rpartition("-")[0] for name in done.outcomes} == set(VERSIONS)


def test_an_existing_project_keeps_its_tests(colorful: Machine) -> None:
    """Without a matrix the project's own tests run, and nothing else."""
    copy_example(colorful, "project")
    greeting = colorful.project_path("project") / "colorama.py"
    greeting.write_text(COLORS)
    done = colorful.run(project="project", bare=True)
    assert (done.status, "1 passed" in done.stdout) == (0, True), done.stdout


def test_an_existing_project_runs_the_matrix_of_its_ini_file(colorful: Machine) -> None:
    """``--spip`` runs the newest release of every minor version, and not the project's own tests."""
    copy_example(colorful, "project")
    done = colorful.run("--spip", project="project")
    assert done.status == 0, done.stdout
    assert {name.partition("[")[2].rpartition("-")[0] for name in done.outcomes} == {"0.4.1", "0.5.0"}


@pytest.mark.skipif(importlib.util.find_spec("tox") is None, reason="tox is not installed")
@pytest.mark.network
def test_a_tox_environment_runs_the_matrix(colorful: Machine) -> None:
    """``tox -e compat`` installs this pytest-spip and runs the matrix with the arguments behind ``--``."""
    copy_example(colorful, "tox")
    where = {"SPIP_REQUIREMENT": str(ROOT), "UV_DEFAULT_INDEX": colorful.index.url, "PYTEST_ADDOPTS": ""}
    arguments = ("-qq", "-e", "compat", "--", *colorful.options())
    done = colorful.run(*arguments, project="tox", bare=True, program=(sys.executable, "-m", "tox"), env=where)
    assert done.status == 0, done.stdout + done.stderr
    assert set(done.outcomes.values()) == {"passed"}


@pytest.mark.skipif(importlib.util.find_spec("nox") is None, reason="nox is not installed")
@pytest.mark.network
def test_a_nox_session_runs_the_matrix(colorful: Machine) -> None:
    """``nox -s compat`` does the same."""
    copy_example(colorful, "nox")
    where = {"SPIP_REQUIREMENT": str(ROOT), "UV_DEFAULT_INDEX": colorful.index.url, "PYTEST_ADDOPTS": ""}
    arguments = ("-s", "compat", "--", *colorful.options())
    done = colorful.run(*arguments, project="nox", bare=True, program=(sys.executable, "-m", "nox"), env=where)
    assert done.status == 0, done.stdout + done.stderr
    assert set(done.outcomes.values()) == {"passed"}


def test_the_hooks_of_the_documentation_work(colorful: Machine) -> None:
    """The conftest of docs/reference/hooks.md drops old releases and writes a report of its own."""
    conftest = "\n".join(
        re.findall(
            r"^```python\n(.+?)^```", (ROOT / "docs" / "reference" / "hooks.md").read_text(), re.MULTILINE | re.DOTALL
        )
    )
    assert conftest.count("def pytest_spip_") == 4
    colorful.project("documented", {"conftest.py": conftest.replace('startswith("0.")', 'startswith("0.4")')})
    done = colorful.run("--spip-matrix=colorama", "--spip-report=count:count.txt", project="documented")
    assert done.status == 0, done.stdout
    assert (done.project / "count.txt").read_text() == "1\n"
