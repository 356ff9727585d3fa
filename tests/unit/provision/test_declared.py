"""What tests need, as projects declare it for tox, hatch, nox and others."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_spip.common.requirement_files import BadRequirements, read_requirements
from pytest_spip.provision.declared import declared, requirement_files
from pytest_spip.provision.needs import Needs, Offer
from pytest_spip.provision.wanted import Wanted
from tests.support.distributions import suite_metadata

TOX = """
[tox]
envlist = py{38,312}
[base]
deps =
    six  # for old Pythons
[testenv]
extras = cli, more
dependency_groups = checks
deps =
    pytest>=7
    {[base]deps}
    -r{toxinidir}/requirements/test.txt
    -e .[dev]
    django32: Django>=3.2,<4
commands = pytest {posargs}
"""
NOX = """
import nox
PYTHONS = ["3.12"]

@nox.session
def lint(session):
    session.install("ruff")

@nox.session(python=PYTHONS, name="tests")
def run_tests(session):
    session.install("-r", "requirements/test.txt", "pytest", ".[cli]", *PYTHONS)
    session.run("pytest", *session.posargs)
"""
CASES: dict[str, tuple[str, str, tuple[list[str], list[str], list[str]], str]] = {
    "tox": (
        "tox.ini",
        TOX,
        (["pytest>=7", "six", "mock", "attrs>=20"], ["dev", "cli", "more"], ["checks"]),
        "tox.ini deps (but for django32: Django>=3.2,<4)",
    ),
    "tox-environment": ("tox.ini", "[testenv:tests]\ndeps = six\n", (["six"], [], []), "tox.ini deps"),
    "setup.cfg": ("setup.cfg", "[testenv]\ndeps =\n  six\n", (["six"], [], []), "setup.cfg deps"),
    "tox.toml": (
        "tox.toml",
        '[env_run_base]\ndeps = ["six", "-r requirements/test.txt"]\ndependency_groups = ["test"]\n',
        (["six", "mock", "attrs>=20"], [], ["test"]),
        "tox.toml deps",
    ),
    "legacy": (
        "pyproject.toml",
        '[tool.tox]\nlegacy_tox_ini = """\n[testenv]\ndeps = six\n"""\n',
        (["six"], [], []),
        "tool.tox deps",
    ),
    "hatch": (
        "pyproject.toml",
        (
            '[tool.hatch.envs.default]\ndependencies = ["six"]\n[tool.hatch.envs.test]\nfeatures = ["cli"]\n'
            'extra-dependencies = ["mock"]\n'
        ),
        (["six", "mock"], ["cli"], []),
        "tool.hatch environment test",
    ),
    "hatch.toml": (
        "hatch.toml",
        '[envs.hatch-test]\nextra-dependencies = ["six"]\n',
        (["six"], [], []),
        "hatch.toml environment hatch-test",
    ),
    "nox": (
        "noxfile.py",
        NOX,
        (["mock", "attrs>=20", "pytest"], ["cli"], []),
        "noxfile.py session tests (but for what is computed)",
    ),
    "nothing": ("setup.py", "", ([], [], []), ""),
    "no-toml": ("pyproject.toml", "[", ([], [], []), ""),
    "elsewhere": ("tox.ini", "[testenv]\ndeps = -r requirements/own.txt\n", ([], [], []), ""),
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a directory with requirements files."""
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "test.txt").write_text("-r base.txt\nattrs>=20 --hash=sha256:00  # pinned\n")
    (tmp_path / "requirements" / "base.txt").write_text("mock\n")
    (tmp_path / "requirements" / "own.txt").write_text("--extra-index-url https://example.org/simple\nprivate\n")
    return tmp_path


@pytest.mark.parametrize("name", CASES)
def test_declared(project: Path, name: str) -> None:
    """What is plain data is found, with what it includes; what is not is named; what another index holds is left alone."""
    file, text, (requirements, extras, groups), where = CASES[name]
    (project / file).write_text(text)
    found = declared(project)
    assert (found.requirements, found.extras, found.groups) == (requirements, extras, groups)
    assert found.text == where


def test_files_to_choose_from(project: Path) -> None:
    """Requirements files that speak of tests are offered, and not taken unasked."""
    assert requirement_files(project) == ["requirements/test.txt"]
    assert not declared(project)


def test_narrowest(project: Path) -> None:
    """The first of test, tests and testing counts; dev only where its kind has none of them."""
    both = suite_metadata("demo", "1", extras=["dev", "test", "testing"])
    dev = suite_metadata("demo", "1", extras=["dev"])
    groups = '[dependency-groups]\ndev = ["ruff"]\n'
    assert Offer(both, groups).strictly(Wanted()) == Needs(("test",), ("ruff",))
    assert Offer(dev, groups).strictly(Wanted()) == Needs(("dev",), ("ruff",))
    (project / "tox.ini").write_text("[testenv]\ndeps = six\n")
    needs = Offer(both, groups).strictly(Wanted(), declared(project))
    assert (needs, needs.found) == (Needs(("test",), ("ruff", "six")), ("extra test", "group dev", "tox.ini deps"))
    named = Offer(dev, groups).strictly(Wanted(extras=("dev",), groups=()), declared(project))
    assert (named, named.found) == (Needs(("dev",)), ("extra dev",))


@pytest.mark.parametrize(
    ("table", "requirements"),
    [
        ("[tool.pdm.dev-dependencies]\ntest = ['six']\n", ("six",)),
        ("[tool.uv]\ndev-dependencies = ['six']\n", ("six",)),
        ("[dependency-groups]\ndev = ['mock']\n[tool.uv]\ndev-dependencies = ['six']\n", ("mock",)),
    ],
)
def test_groups_of_tools(table: str, requirements: tuple[str, ...]) -> None:
    """PDM's and uv's own groups are groups."""
    assert Offer("", table).strictly(Wanted()) == Needs((), requirements)


def test_requirements_file(project: Path) -> None:
    """Continuations, comments, variables and constraints are read; cycles and absent files are refused."""
    path = project / "all.txt"
    path.write_text("six \\\n  >=1.0\n# none\nmock; python_version > '3' # why\n-c limits.txt\n${THEIRS}\n./here\n")
    (project / "limits.txt").write_text("six<2\n")
    found = read_requirements(path, {"THEIRS": "attrs"})
    assert (found.requirements, found.constraints) == (
        ["six    >=1.0", "mock; python_version > '3'", "attrs"],
        ["six<2"],
    )
    assert found.other == ["./here"]
    (project / "limits.txt").write_text("-r all.txt\n")
    with pytest.raises(BadRequirements, match="includes itself"):
        read_requirements(path)
    with pytest.raises(BadRequirements, match="cannot read"):
        read_requirements(project / "none.txt")
