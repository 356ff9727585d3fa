"""Dependencies that a project takes from this machine, and those that cannot be had: never a stranger's of the same name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import MakeMachine
from tests.support.distributions import PYTEST_WHEELS, installed, project, suite_metadata, wheel
from tests.support.machine import LABEL, Machine

SUITE = "import lib, dep\n\ndef test_it():\n    assert lib.WHOSE == 'mine'\n"


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:
    """List a stranger's ``lib``, of the version of our own and of a newer one."""
    machine = make_machine()
    for name in PYTEST_WHEELS:
        installed(machine.files, name)
    wheel(machine.files, "dep", "1.0", {"dep.py": ""})
    for version in ("1.0", "9.0"):
        wheel(machine.files, "lib", version, {"lib.py": "WHOSE = 'stranger'\n"})
    return machine


def write(machine: Machine, name: str, sources: str, *requires: str, root: str = "") -> Path:
    """Write a project that requires ``lib``, and ``lib`` beside it."""
    below = machine.root / "projects" / name
    metadata = suite_metadata("mine", "1.0", "dep", *(requires or ("lib",)))
    files = {"mine.py": "", "tests/test_it.py": SUITE, "pytest.ini": "[pytest]\n"}
    made = project(
        below / "mine", "mine", "1.0", files, installs=["mine.py"], metadata=metadata, groups=f"x = []\n{sources}"
    )
    lib = {"lib.py": "WHOSE = 'mine'\n"}
    project(below / "lib", "lib", "1.0", lib, installs=["lib.py"], metadata=suite_metadata("lib", "1.0"))
    for place in ("lib", "mine"):
        text = (below / place / "pyproject.toml").read_text("utf-8")
        table = f'[project]\nname = "{place}"\nversion = "1.0"\n'
        (below / place / "pyproject.toml").write_text(table + text, "utf-8")
    if root:
        (below / "pyproject.toml").write_text(root, "utf-8")
    return made


LOCAL = {
    "path": ('[tool.uv.sources]\nlib = { path = "../lib" }\n', ""),
    "editable": ('[tool.uv.sources]\nLib = { path = "../lib", editable = true }\n', ""),
    "workspace": (
        "[tool.uv.sources]\nlib = { workspace = true }\n",
        '[tool.uv.workspace]\nmembers = ["lib", "mine"]\n',
    ),
    "root": ("", '[tool.uv.workspace]\nmembers = ["*"]\n[tool.uv.sources]\nlib = { workspace = true }\n'),
    "marker": ("[tool.uv.sources]\nlib = [{ path = '../lib', marker = \"python_version > '3'\" }]\n", ""),
}


@pytest.mark.parametrize("name", LOCAL)
def test_local_dependencies(machine: Machine, name: str) -> None:
    """What a project takes from a path or a workspace is taken from there, whatever an index lists."""
    sources, root = LOCAL[name]
    write(machine, name, sources, root=root)
    env = {"UV_INDEX_STRATEGY": "unsafe-best-match"} if name == "path" else {}
    done = machine.run("--spip-matrix=dep", "--spip-project=.", project=f"{name}/mine", env=env)
    assert done.cells == {f"dep[1.0-{LABEL}]": ("passed", "test", None)}, done.stdout + done.stderr
    assert "spip: note: taken from this machine, as [tool.uv.sources] says: lib" in done.stdout
    assert not [path for _, path in machine.index.requests if path.startswith("/files/lib-")]


REFUSED = {
    "git": ('lib = { git = "https://user:secret@example.org/lib" }', (), "takes lib from git https://example.org/lib"),
    "url": ('lib = { url = "https://example.org/lib-1.0-py3-none-any.whl" }', (), "takes lib from url"),
    "index": ('lib = { index = "own" }', (), "takes lib from index own"),
    "gone": ('lib = { path = "../nowhere" }', (), "lib: there is no "),
    "member": ("lib = { workspace = true }", (), "lib: the workspace has no member of that name"),
    "file": ("", ("lib @ file:///opt/lib",), "mine requires lib from file:///opt/lib"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_dependencies(machine: Machine, name: str) -> None:
    """What cannot be had is refused by name, in one line, before anything is created."""
    source, requires, told = REFUSED[name]
    made = write(machine, f"refused-{name}", f"[tool.uv.sources]\n{source}\n", *requires)
    done = machine.run("--spip-matrix=dep", "--spip-project=.", project=f"refused-{name}/mine")
    assert (done.status, done.stdout) == (4, ""), done.stdout
    (line,) = [line for line in done.stderr.splitlines() if line.strip()]
    assert told in line
    assert "secret" not in line
    assert not (made / ".spip").exists()


def test_sources_that_do_not_count(machine: Machine) -> None:
    """UV_NO_SOURCES takes all from the index; what nobody requires is nobody's business; releases of the matrix are the index's."""
    git = '[tool.uv.sources]\nother = { git = "https://example.org/x" }\nlib = { git = "https://example.org/x" }\n'
    write(machine, "without", git)
    without = machine.run("--spip-matrix=dep", "--spip-project=.", project="without/mine", env={"UV_NO_SOURCES": "1"})
    varied = machine.run("--spip-matrix=lib", "--spip-project=.", project="without/mine")
    assert [*without.outcomes.values()] == ["failed"], without.stdout + without.stderr
    assert [*varied.outcomes.values()] == ["failed", "failed"], varied.stdout + varied.stderr
