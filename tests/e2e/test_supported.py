"""Interpreters that are said to be supported beside CPython 3.8 and newer: each runs a session, where it is here."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.conftest import MakeMachine
from tests.support.distributions import simple_sdist, wheel
from tests.support.hidden import moved_library
from tests.support.interpreters import pythons
from tests.support.machine import LABEL, Machine
from tests.support.rooms import every_python


def pypy(_: Path) -> str:
    """Return PyPy, as Debian has it."""
    return shutil.which("pypy3") or ""


def oldest(_: Path) -> str:
    """Return CPython 3.7."""
    return str(every_python().get("3.7", ""))


def system(_: Path) -> str:
    """Return the system's own interpreter."""
    return "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else ""


def of_a_virtual_environment(root: Path) -> str:
    """Return an interpreter that is a virtual environment's."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(root / "venv")], check=True)
    return str(root / "venv" / "bin" / "python")


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:
    """Serve a release that works, one that does not, and one that is to be built."""
    machine = make_machine()
    text = "import json, logging, os, sys\nassert sys.prefix != sys.base_prefix\nassert sys.argv == ['-c']\n"
    wheel(machine.files, "demo", "1.0", {"demo.py": text})
    wheel(machine.files, "demo", "2.0", {"demo.py": "import nowhere\n"})
    simple_sdist(machine.files, "demo", "3.0", {"demo.py": text})
    return machine


@pytest.mark.parametrize("runner", ["auto", "cold"])
@pytest.mark.parametrize("find", [pypy, oldest, system, of_a_virtual_environment], ids=lambda find: find.__name__)
def test_supported(machine: Machine, tmp_path: Path, find: Callable[[Path], str], runner: str) -> None:
    """Imports pass and fail as they should, and an sdist is built."""
    python = find(tmp_path)
    if not python:
        missing = f"there is no {find.__name__} here"
        (pytest.fail if os.environ.get("SPIP_MUST_WORK") == "1" else pytest.skip)(missing)
    done = machine.run("--spip-matrix=demo", f"--spip-runner={runner}", python=python)
    cells = {name.partition("-")[0]: cell for name, cell in done.cells.items()}
    assert cells == {
        "demo[3.0": ("passed", "import", None),
        "demo[2.0": ("failed", "import", "import-error"),
        "demo[1.0": ("passed", "import", None),
    }, done.stdout


def test_nothing_but_pre_releases(machine: Machine) -> None:
    """A project whose releases are all pre-releases is tried with them, as pip and uv install one, and that is said."""
    for version in ("1.0a1", "1.0rc1"):
        wheel(machine.files, "early", version, {"early.py": ""})
    done = machine.run("--spip-matrix=early")
    assert [cell[0] for cell in done.cells.values()] == ["passed", "passed"], done.stdout + done.stderr
    assert "all releases of early are pre-releases: tried, as pip and uv install one" in done.stdout


def test_two_of_one_version(machine: Machine, tmp_path: Path) -> None:
    """Two interpreters of one version, named by path, have columns, verdicts, builds and lines of their own."""
    first = os.path.realpath(sys.executable)
    second = str(tmp_path / "own" / "python")
    Path(second).parent.mkdir()
    shutil.copy(first, second)
    (tmp_path / "link").symlink_to(second)
    text = f"import os, sys\nassert os.path.realpath(sys.executable) != {second!r}, 'the second'\n"
    wheel(machine.files, "where", "1.0", {"where.py": text})
    simple_sdist(machine.files, "where", "2.0", {"where.py": text})
    named = f"{first},{second},{tmp_path / 'link'}"
    test = "def test_it(spip_env):\n    spip_env.run('python', '-c', 'import where')\n"
    machine.project("project", {"test_where.py": test})
    done = machine.run("--spip-matrix=where", "-n2", "test_where.py", "spip::where", python=named)
    assert done.outcomes == {
        f"where[{version}-{LABEL}{nth}]": outcome
        for version in ("2.0", "1.0")
        for nth, outcome in (("", "passed"), ("_2", "failed"))
    }, done.stdout
    assert f"{LABEL}_2 is {second}" in done.stdout
    paths = {one["label"]: one["path"] for one in done.report["interpreters"]}
    assert paths == {LABEL: first, f"{LABEL}_2": second}
    assert len({one["id"] for one in done.report["interpreters"]}) == 2
    assert f"--python {second} " in done.combinations[f"where[1.0-{LABEL}_2]"]["reproduce"]
    lines = set(re.findall(r"^reproduce: pytest (.*where-1.0.*)$", done.stdout, re.MULTILINE))
    assert len(lines) == 1, done.stdout
    (line,) = lines
    again = machine.run(*shlex.split(line), "-rA", python="")
    assert "1 failed" in again.stdout, again.stdout
    pasted = machine.run(f"spip::where[1.0-{LABEL}_2]", python=named)
    assert list(pasted.outcomes.values()) == ["failed"], pasted.stdout
    refused = machine.run(f"spip::where[1.0-{LABEL}_2]", python="")
    assert refused.status == 4
    assert f"{LABEL}_2 is not the only {LABEL} of its run, and only paths tell them apart" in refused.stderr
    alone = machine.run("--spip-matrix=where", python=second)
    assert alone.outcomes == {f"where[{version}-{LABEL}]": "failed" for version in ("2.0", "1.0")}, alone.stdout


def moved(version: str, path: Path, target: Path) -> AbstractContextManager[str]:
    """Move the library of an interpreter, unless the system has the same in its own places."""
    name = f"libpython{version}.so*"
    if any(
        list(Path(top).glob(f"{below}{name}")) for top in ("/lib", "/usr/lib", "/usr/local/lib") for below in ("", "*/")
    ):
        return contextlib.nullcontext("")
    return moved_library(os.path.realpath(path), target / f"python{version}")


def test_hidden_library(machine: Machine, tmp_path: Path) -> None:
    """What does not start inside of the sandbox has the reason for all its combinations, without a crash; others run."""
    (tmp_path / "moved").mkdir()
    for version, path in reversed(pythons().items()):
        with moved(version, path, tmp_path / "moved") as program:
            if program:
                assert_hidden(machine, os.path.realpath(path), program)
                return
    pytest.skip("no interpreter has its library beside it")


def assert_hidden(machine: Machine, first: str, moved: str) -> None:
    """Run an interpreter that starts outside alone beside one of the same version that works."""
    done = machine.run("--spip-matrix=demo", python=f"{first},{moved}")
    if "sandbox level 1" in done.stdout:
        pytest.skip("nothing hides it here")
    refused = {name: cell for name, cell in done.cells.items() if "_2" in name}
    assert set(refused.values()) == {("error", "plan", "sandbox")}, done.stdout
    told = f"{moved} does not start inside of the sandbox (level "
    assert f"note: {told}" in done.stdout
    assert {one["outcome"] for name, one in done.combinations.items() if name not in refused} == {"passed", "failed"}
    for name in refused:
        detail = done.combinations[name]["detail"]
        assert told in detail
        assert "error while loading shared libraries" in detail
        assert "--spip-sandbox=off" in detail
    off = machine.run("--spip-matrix=demo==1.0", "--spip-sandbox=off", "--spip-runner=cold", python=moved)
    assert list(off.outcomes.values()) == ["passed"], off.stdout
    path = f"{Path(moved).parent}:{os.environ['PATH']}"
    doctor = machine.run("doctor", bare=True, env={"PATH": path}, program=(sys.executable, "-m", "pytest_spip.cli"))
    assert doctor.status == 1
    assert told in doctor.stdout, doctor.stdout
