"""End to end: suites of applications, and what else projects declare; each failure's line shows the failure again."""

from __future__ import annotations

import pytest

from tests.conftest import MakeMachine
from tests.support.distributions import PYTEST_WHEELS, installed, project, suite_metadata, wheel
from tests.support.machine import LABEL, Machine
from tests.support.reproducing import again, line_of

SUITE = "import app, dep, six\n\ndef test_it():\n    assert app.double(dep.ANSWER) == 84\n"
APP = "import dep\n\ndef double(x):\n    return 2 * x\n"


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:
    """List pytest, and a dependency whose second release breaks applications."""
    machine = make_machine()
    for name in PYTEST_WHEELS:
        installed(machine.files, name)
    for version in ("1.0", "2.0"):
        wheel(machine.files, "six", version, {"six.py": f"VERSION = '{version}'\n"})
        wheel(machine.files, "low", version, {"low.py": f"VERSION = '{version}'\n"})
    for version, answer in (("1.0", 42), ("2.0", 43)):
        wheel(machine.files, "dep", version, {"dep.py": f"ANSWER = {answer}\n"})
    return machine


FILES = {"app.py": APP, "other.py": "", "pkg/__init__.py": "", "more/__init__.py": "", "tests/test_app.py": SUITE}
APPLICATIONS: dict[str, dict[str, str]] = {
    "project": {"pyproject.toml": '[project]\nname = "app"\nversion = "1"\ndependencies = ["dep", "six"]\n'},
    "uv": {
        "pyproject.toml": '[project]\nname = "app"\nversion = "1"\ndependencies = ["dep"]\n'
        '[dependency-groups]\ntest = ["six"]\n[tool.uv]\npackage = false\n'
    },
    "requirements": {
        "requirements.txt": "dep>=1  # all\n-r more.txt\n",
        "more.txt": "six\n",
        "pytest.ini": "[pytest]\n",
    },
}


@pytest.mark.parametrize("name", APPLICATIONS)
def test_application(machine: Machine, name: str) -> None:
    """Its suite runs from its checkout, beside each release, with what it declares; nothing of it is installed."""
    machine.project(f"app-{name}", {**FILES, **APPLICATIONS[name]})
    done = machine.run("--spip-matrix=dep", "--spip-project=.", project=f"app-{name}")
    assert [*done.outcomes.values()] == ["passed", "failed"], done.stdout + done.stderr
    assert "app" not in done.combinations[f"dep[1.0-{LABEL}]"]["locked"]
    assert "1 of 1 tests failed: tests/test_app.py::test_it" in done.combinations[f"dep[2.0-{LABEL}]"]["detail"]
    assert "is an application" in done.stdout


def test_what_tests_need(machine: Machine) -> None:
    """lowest-direct lowers what the project requires alone; what is declared is told; what is missing is told with options."""
    files = {
        "mine.py": "",
        "tests/test_it.py": "import low, six, absent_module\ndef test_it(): pass\n",
        "tests/test_versions.py": "import low, six\ndef test_it(): assert (low.VERSION, six.VERSION) == ('1.0', '2.0')\n",
        "tox.ini": "[testenv]\ndeps =\n    six>=1\n",
        "more.txt": "six\n",
    }
    metadata = suite_metadata("mine", "1.0", "dep", "low>=1")
    project(machine.root / "projects" / "needs", "mine", "1.0", files, installs=["mine.py"], metadata=metadata)
    words = ["--spip-matrix=dep==1.0", "--spip-project=.", "--spip-with=@more.txt", "--spip-resolution=lowest-direct"]
    done = machine.run(*words, project="needs")
    (one,) = done.combinations.values()
    assert (one["locked"]["low"], one["locked"]["six"]) == ("1.0", "2.0"), done.stdout + done.stderr
    assert "pytest-spip-test-requirements" not in one["locked"]
    assert "spip: note: test requirements: tox.ini deps" in done.stdout
    assert "absent_module: --spip-with, --spip-extras or --spip-groups add it" in one["detail"]
    seen = again(machine, one["reproduce"], "needs", {})
    assert "absent_module: --spip-with" in seen.stdout, (one["reproduce"], seen.stdout, seen.stderr)


def test_file_that_the_sdist_lacks(machine: Machine) -> None:
    """A build that misses a file of the checkout says so, and its line shows the same."""
    made = project(
        machine.root / "projects" / "lacks",
        "mine",
        "1.0",
        {"mine.py": ""},
        installs=["mine.py"],
        metadata=suite_metadata("mine", "1.0", "dep"),
    )
    backend = made / "backend.py"
    text = backend.read_text("utf-8").replace(
        "def build_wheel(",
        "def build_wheel(*words):\n    open('requirements.txt').close()\n    return _build_wheel(*words)\n\n\ndef _build_wheel(",
    )
    backend.write_text(text, "utf-8")
    (made / "requirements.txt").write_text("", "utf-8")
    done = machine.run("--spip-matrix=dep==1.0", "--spip-project=.", project="lacks")
    (one,) = done.combinations.values()
    assert one["reason"] == "build-failed"
    assert "add 'include requirements.txt' to MANIFEST.in" in one["detail"], one["detail"]
    seen = again(machine, line_of(done, "dep[1.0"), "lacks", {})
    assert "add 'include requirements.txt' to MANIFEST.in" in seen.stdout, seen.stdout + seen.stderr
