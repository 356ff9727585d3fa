"""Each command of README and documentation is run, on an index that lists small releases of what the pages name."""

from __future__ import annotations

import itertools
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.conftest import MakeMachine
from tests.support.distributions import PYTEST_WHEELS, installed, project, sdist, suite_metadata, wheel
from tests.support.machine import LABEL, PYTEST, Machine
from tests.support.markdown import blocks
from tests.support.paths import ROOT

CLI = (sys.executable, "-m", "pytest_spip.cli")
RELEASES = {
    "colorama": ("0.3", "0.4.5", "0.4.6"),
    "click": ("7.0", "8.1"),
    "flask": ("2.0", "3.0"),
    "tabulate": ("0.9.0",),
    "jinja2": ("3.0", "3.1"),
    "markupsafe": ("2.0", "2.1"),
    "black": ("24.1",),
    "requests": ("2.31",),
    "torch": ("2.4",),
    "attrs": ("23.1",),
    "six": ("1.16",),
    "pytest-timeout": ("2.3",),
}
INI = f"[pytest]\nspip_matrix = colorama\nspip_python = {sys.executable}\n"
COMPAT = """\
import pytest

@pytest.mark.spip(versions=">=0.4")
def test_colours(spip_env):
    assert spip_env.python("import colorama").status == 0
"""
NAMES = {
    "0c9c1f5e": "base",
    "5b0c1f5e-7a51-4a0e-9a4c-2f3d0a7c9b11": "base",
    "nightly": "base",
}
"""Runs that the pages name, and what they are here."""
DATABASE = "postgresql://spip@db.example/spip"
"""A database that the pages name, for which a file stands here."""
MISSING = {"--spip-slots=gpu:auto", "--spip-sandbox=strict"}
"""Options for what a machine may not have: a clear line and status 4 are all right there."""


def documented() -> list[tuple[str, ...]]:
    """Return each command that our programs are given, once."""
    found: dict[tuple[str, ...], None] = {}
    for block in blocks("console", "bash"):
        for program, *arguments in block.commands:
            if Path(program).name in ("pytest", "pytest-spip"):
                found[Path(program).name, *itertools.takewhile(lambda word: word != ">", arguments)] = None
    del found["pytest", "-n", "2"]  # the project's own tests
    return sorted(found, key=_order)


def _order(words: tuple[str, ...]) -> tuple[bool, bool]:
    """First comes what makes one run of several, then what looks at a run that is there."""
    return words[0] == "pytest" or words[1] == "run", words[1] != "merge"


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:
    """Return a machine with the packages, a project of the user's, and a run of it."""
    machine = make_machine()
    for package, versions in RELEASES.items():
        for version in versions:
            folder = package.replace("-", "_")
            machine.index.add(
                wheel(machine.files, package, version, {f"{folder}/__init__.py": f"__version__ = {version!r}\n"}),
                upload_time="2024-01-01T00:00:00Z",
            )
    for name in PYTEST_WHEELS:
        installed(machine.files, name)
    script = "[console_scripts]\nblack = black:main\n"
    wheel(machine.files, "black", "25.1", {"black.py": "def main(): pass\n"}, entry_points=script)
    tested = {"PKG-INFO": suite_metadata("markupsafe", "2.1"), "test_it.py": "def test_it():\n    import markupsafe\n"}
    sdist(machine.files, "markupsafe", "2.1", tested)
    files = {"mine.py": "", "tests/test_mine.py": "import mine\n\ndef test_mine():\n    pass\n"}
    metadata = suite_metadata("mine", "1.0", "click>=7", "tabulate", extras=["test"])
    made = project(machine.root / "projects" / "project", "mine", "1.0", files, installs=["mine.py"], metadata=metadata)
    with (made / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write("\n[dependency-groups]\nci = []\n")
    machine.project("project", {"pytest.ini": INI, "tests/test_compat.py": COMPAT})
    shutil.copy(ROOT / "examples" / "cli" / "packages.txt", machine.project_path("project"))
    shared = f"--spip-queue=sqlite:///{machine.root}/queue.sqlite", "--spip-run=shared"
    for more in (("--spip-report=json:main.json", "--spip-run=base"), shared, *(_part(number) for number in (1, 2, 3))):
        assert run(machine, "pytest", "--spip-matrix=colorama", *more) == 0
    return machine


def _part(number: int) -> tuple[str, str]:
    return f"--spip-shard={number}/3", f"--spip-run=kept-{number}"


def run(machine: Machine, program: str, *arguments: str) -> int:
    """Run a command as a person would type it in the project, and return its exit status."""
    programs = {"pytest": PYTEST, "pytest-spip": CLI}
    env = {
        "PATH": "/usr/bin:/bin",
        "PYENV_ROOT": "/nowhere",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "XDG_CACHE_HOME": str(machine.root / "xdg"),
    }
    done = machine.run(*arguments, bare=True, program=programs[program], env=env)
    print(done.stdout, done.stderr)
    return done.status


def typed(machine: Machine, words: tuple[str, ...]) -> list[str]:
    """Return a command's words with what is there in place of what the pages name."""
    words = tuple(f"--spip-python={sys.executable}" if word.startswith("--spip-python=") else word for word in words)
    text = "\0".join(words).replace("py312", LABEL).replace("/var/cache", str(machine.root))
    text = text.replace(DATABASE, f"sqlite:///{machine.root}/queue.sqlite")
    names = {**NAMES, "part": "kept"} if words[0] == "pytest-spip" else NAMES
    for name, here in names.items():
        text = re.sub(rf"\b{name}\b", here, text)
    return text.split("\0")


@pytest.mark.parametrize("words", documented(), ids=" ".join)
def test_documented_command(machine: Machine, words: tuple[str, ...]) -> None:
    """It does what it is for, with a status that is no complaint about the command itself."""
    status = run(machine, *typed(machine, words))
    usage = {4} if MISSING.intersection(words) else set()
    assert status in {0, 1, *usage}, status
