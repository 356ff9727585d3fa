"""The layout's rules, read from the imports (DESIGN section 3)."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import pytest_spip

ROOT = Path(pytest_spip.__file__).parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}

ROOMS = ("plan", "provision", "compose", "run", "dispatch", "record", "report")
JOINT_FOLDERS = ("session", "hooks", "cli")
"""Folders whose modules may join rooms."""
EDGE_FOLDERS = ("hooks", "cli")
"""Folders whose modules may import pytest."""
JOINTS = (
    "closing",
    "planner",
    "resume",
    "workbench",
    "items",
    "controller",
    "distribute",
    "scheduling",
    "ticker",
    "auto",
    "interrupts",
    "additions",
    "environments",
)
EDGE = (
    "plugin",
    "hookspecs",
    "items",
    "listeners",
    "reports",
    "controller",
    "distribute",
    "scheduling",
    "ticker",
    "auto",
    "interrupts",
    "functions",
)
MODEL = {
    "model.verdicts": (),
    "model.measures": (),
    "model.resolution": (),
    "model.plans": ("model.resolution", "model.trust", "model.verdicts", "names"),
    "model.trust": (),
    "model.environments": ("model.verdicts", "model.measures"),
}
LEAVES = {"model": tuple(MODEL), "names": (), "errors": (), **MODEL}
LEAVES |= dict.fromkeys(("disk", "compat", "options"), ("errors", "model"))
COMMON = tuple(module for module in MODULES if module.startswith("common."))
LEAVES |= dict.fromkeys(COMMON, ("errors", "model", *COMMON))
LEAVES |= dict.fromkeys(("disk", "options", "web"), ("errors", "model", *COMMON))
FOR_ROOMS = {*LEAVES} - {"options", *MODEL}
SUITE = "run.child.check_suite"
"""Runs suites by the pytest of their environment."""
FOREIGN = ("plan.probe", "run.child.")
"""Modules that run in foreign interpreters."""
OUTSIDE: dict[str, str | tuple[str, ...]] = {
    "git": "compose.base",
    "gitdb": "compose.base",
    "requests": ("web", "common.tls"),
    "urllib3": ("web", "common.tls"),
    "filelock": "disk",
    "installer": "provision.store",
    "uv": "provision.uv",
    "poetry": "provision.poetry",
    "sqlite3": "record.",
    "xdist": "distribute",
}
"""Outside worlds, and the one module, or room, that knows them; TLS has a module of its own."""


@functools.cache
def imported(text: str, *, typing: bool = False) -> frozenset[str]:
    """Return the names that a module's text imports, wherever in it; with ``typing``, those for type checkers as well."""
    return frozenset(_imported(ast.parse(text), typing))


def _imported(tree: ast.AST, typing: bool) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, so that they can be read"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            yield from _imported(node, typing) if typing else ()
        else:
            yield from _imported(node, typing)


def ours(module: str, *, typing: bool = False) -> set[str]:
    """Return which of our modules a module imports."""
    names = imported(MODULES[module].read_text("utf-8"), typing=typing)
    inner = {name.removeprefix("pytest_spip.") for name in names if name.startswith("pytest_spip.")}
    # A name is a module, or something that a module holds.
    return {name if name in MODULES else name.rpartition(".")[0] for name in inner}


def theirs(module: str) -> set[str]:
    """Return which top-level modules that are not ours a module imports."""
    tops = {name.partition(".")[0] for name in imported(MODULES[module].read_text("utf-8"), typing=True)}
    return tops - {"pytest_spip", "__future__"}


def room(module: str) -> str:
    """Return the room that a module lies in, or nothing."""
    return module.partition(".")[0] if module.partition(".")[0] in ROOMS else ""


def lies_in(module: str, folders: Iterable[str]) -> bool:
    """Return whether a module lies in one of these folders, or is one."""
    return module.partition(".")[0] in folders


def test_imports_are_read() -> None:
    """An import is found wherever it stands, and those for type checkers are told from the others."""
    text = """
import a.b, c
from d import e as f
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import g
def h():
    try:
        import i
    except ImportError:
        from j.k import l
"""
    assert imported(text) == {"a.b", "c", "d.e", "typing.TYPE_CHECKING", "i", "j.k.l"}
    assert imported(text, typing=True) - imported(text) == {"g"}


def test_every_module_is_read() -> None:
    """The rules are about something: each room has modules, and the modules that join them exist."""
    assert {room(module) for module in MODULES} == {"", *ROOMS}
    assert {folder for folder in JOINT_FOLDERS if any(lies_in(module, (folder,)) for module in MODULES)} == {
        *JOINT_FOLDERS
    }
    assert set(JOINTS) | set(EDGE) | set(LEAVES) <= set(MODULES)
    assert any(ours(module) for module in MODULES)


def test_rooms() -> None:
    """A room imports no other room, not even for type checkers; outside them only the joints import any."""
    entered = {
        module: {room(name) for name in ours(module, typing=bool(room(module)))} - {"", room(module)}
        for module in MODULES
        if module not in JOINTS and not lies_in(module, JOINT_FOLDERS)
    }
    assert {module: rooms for module, rooms in entered.items() if rooms} == {}


def test_rooms_know_no_edge() -> None:
    """A room imports, beside itself, only leaves."""
    outside = {
        module: {name for name in ours(module, typing=True) if room(name) != room(module)} - FOR_ROOMS
        for module in MODULES
        if room(module)
    }
    assert {module: names for module, names in outside.items() if names} == {}


@pytest.mark.parametrize(("module", "allowed"), LEAVES.items())
def test_leaves(module: str, allowed: tuple[str, ...]) -> None:
    """The leaves import the model and the errors at most, and these import nothing of ours."""
    assert ours(module, typing=True) <= set(allowed)


def test_pytest_stays_at_the_edge() -> None:
    """Only the edge imports pytest and what belongs to it."""
    edgy = {module for module in MODULES if theirs(module) & {"pytest", "_pytest", "pluggy", "xdist", "execnet"}}
    assert {module for module in edgy - {SUITE} if not lies_in(module, EDGE_FOLDERS)} <= set(EDGE)


@pytest.mark.parametrize(("world", "place"), OUTSIDE.items())
def test_one_outside_world_each(world: str, place: str | tuple[str, ...]) -> None:
    """An outside world is known to one module, or to one room."""
    assert {module for module in MODULES if world in theirs(module) and not module.startswith(place)} == set()


def test_modules_of_foreign_interpreters() -> None:
    """What runs in foreign interpreters imports the standard library alone, but for their own pytest; nobody imports it."""
    foreign = [module for module in MODULES if module.startswith(FOREIGN)]
    assert {name for module in foreign for name in theirs(module)} <= sys.stdlib_module_names | {"pytest"}
    assert [module for module in foreign if "pytest" in theirs(module)] == [SUITE]
    assert {name for module in foreign for name in ours(module, typing=True)} == set()
    assert {name for module in MODULES for name in ours(module, typing=True)}.isdisjoint(foreign)
    assert not (ROOT / "run" / "child" / "__init__.py").exists()


def test_idle_plugin_is_light() -> None:
    """The plugin alone loads no room, and no library that only a matrix needs."""
    code = "import sys; before = set(sys.modules); import pytest_spip.plugin; print(*(set(sys.modules) - before))"
    loaded = subprocess.check_output([sys.executable, "-c", f"import pytest; {code}"], text=True).split()
    assert "pytest_spip.plugin" in loaded
    assert "pytest_spip.model" not in loaded
    assert not {room(name.removeprefix("pytest_spip.") + ".") for name in loaded if name.startswith("pytest_spip.")} - {
        ""
    }
    heavy = {
        "requests",
        "urllib3",
        "git",
        "uv",
        "packaging",
        "installer",
        "filelock",
        "psutil",
        "sqlite3",
        "xdist",
        "execnet",
    }
    assert not {name.partition(".")[0] for name in loaded} & heavy
