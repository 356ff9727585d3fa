"""The layout's rules, read from the imports (DESIGN section 3)."""

from __future__ import annotations

import ast
import functools
import graphlib
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

import pytest_spip
from pytest_spip import model

ROOT = Path(pytest_spip.__file__).parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}

ROOMS = ("plan", "provision", "compose", "run", "dispatch", "record", "report", "hosts")
STOREYS = (
    ("names", "errors"),
    ("model",),
    ("common",),
    ("option_values",),
    ("options", "hookspecs"),
    ("settings",),
    ROOMS,
    ("session",),
    ("hooks", "cli"),
    ("plugin", "__init__"),
)
"""Folders and modules from the ground up. An import goes down, or stays within its folder."""
EDGE = ("plugin", "hooks", "cli", "hookspecs")
"""Who may import pytest, pluggy, xdist and execnet."""
MODEL = {
    "model.verdicts": (),
    "model.measures": (),
    "model.resolution": (),
    "model.plans": ("model.resolution", "model.trust", "model.verdicts"),
    "model.trust": (),
    "model.environments": ("model.verdicts", "model.measures"),
    "model.bisections": (),
    "model.comparisons": ("model.verdicts",),
    "model.run_facts": (),
    "model.summaries": (
        "model.bisections",
        "model.comparisons",
        "model.plans",
        "model.run_facts",
        "model.triage",
        "model.verdicts",
    ),
    "model.triage": (),
}
"""Which other records a record may hold."""
SUITE = "run.child.check_suite"
"""Runs suites by the pytest of their environment."""
FOREIGN = ("plan.probe", "run.child.")
"""Modules that run in foreign interpreters."""
CHILD = ROOT / "run" / "child"
PARTS: dict[str, tuple[str, ...]] = next(
    ast.literal_eval(node.value)
    for node in ast.parse((CHILD / "forkserver.py").read_text("utf-8")).body
    if isinstance(node, ast.AnnAssign) and node.value and ast.unparse(node.target) == "PARTS"
)
"""The modules that make a fork server, and those that each is given."""
OUTSIDE: dict[str, str | tuple[str, ...]] = {
    "git": "compose.base_environments",
    "gitdb": "compose.base_environments",
    "requests": ("common.transport", "common.tls"),
    "urllib3": ("common.transport", "common.tls"),
    "filelock": "common.owners",
    "installer": "provision.unpacking",
    "uv": "provision.uv",
    "poetry": "provision.poetry",
    "jinja2": "report.html",
    "rich": ("cli.",),
    "sqlite3": "record.",
    "sqlalchemy": "hosts.",
    "psycopg": "hosts.",
    "xdist": "hooks.xdist_plugin",
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


def folder(module: str) -> str:
    """Return the folder that a module lies in, or the module where it lies at the top."""
    return module.partition(".")[0]


def storey(module: str) -> int:
    """Return how high a module stands; one that has no place yet raises ``StopIteration``."""
    return next(height for height, names in enumerate(STOREYS) if folder(module) in names)


def forbidden(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the imports that go up, or from a folder into another of the same storey."""
    return [
        f"{module} imports {other}"
        for module, others in sorted(graph.items())
        for other in sorted(others)
        if folder(module) != folder(other) and storey(other) >= storey(module)
    ]


def circle(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the modules of a circle of imports, in order; none where there is no circle."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def imports() -> dict[str, set[str]]:
    """Return the whole graph, with imports inside functions and those for type checkers."""
    return {module: ours(module, typing=True) - {module} for module in MODULES}


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


def test_every_module_has_its_place() -> None:
    """Each folder and each module at the top stands on a storey, and each that has one exists."""
    assert {folder(module) for module in MODULES} == {name for names in STOREYS for name in names}
    assert set(MODEL) == {module for module in MODULES if module.startswith("model.")}
    assert any(imports().values())


def test_imports_go_down() -> None:
    """No import goes up or sideways, wherever it stands, and not for type checkers either."""
    assert forbidden(imports()) == []


def test_no_circle() -> None:
    """No modules import one another in a circle, wherever the imports stand."""
    assert circle(imports()) == []


@pytest.mark.parametrize(
    ("module", "other"),
    [
        ("model.plans", "common.http"),
        ("plan.index", "provision.uv"),
        ("session.run", "hooks.items"),
        ("errors", "plugin"),
    ],
)
def test_planted_import_is_found(module: str, other: str) -> None:
    """An import that is against the rules is found."""
    graph = imports()
    graph[module] = {*graph[module], other}
    assert forbidden(graph) == [f"{module} imports {other}"]


def test_planted_circle_is_found() -> None:
    """A circle within one folder is found."""
    graph = imports()
    graph["hooks.items"] = {*graph["hooks.items"], "hooks.controller"}
    assert {"hooks.items", "hooks.controller"} <= set(circle(graph))


@pytest.mark.parametrize(("module", "allowed"), MODEL.items())
def test_records(module: str, allowed: tuple[str, ...]) -> None:
    """A record holds only records that it may hold."""
    assert {name for name in ours(module, typing=True) if folder(name) == "model"} <= set(allowed)


def test_rooms_read_no_options() -> None:
    """A room is told what it needs, and does not ask the user's options."""
    assert [
        module
        for module in MODULES
        if folder(module) in ROOMS and {"options", "option_values", "settings"} & ours(module, typing=True)
    ] == []


def test_pytest_stays_at_the_edge() -> None:
    """Only the edge imports pytest and what belongs to it."""
    edgy = {module for module in MODULES if theirs(module) & {"pytest", "_pytest", "pluggy", "xdist", "execnet"}}
    assert {module for module in edgy - {SUITE} if folder(module) not in EDGE} == set()


@pytest.mark.parametrize(("world", "place"), OUTSIDE.items())
def test_one_outside_world_each(world: str, place: str | tuple[str, ...]) -> None:
    """An outside world is known to one module, or to one room."""
    assert {module for module in MODULES if world in theirs(module) and not module.startswith(place)} == set()


def test_modules_of_foreign_interpreters() -> None:
    """What runs in foreign interpreters imports the standard library alone, but for their own pytest; nobody imports it."""
    foreign = [module for module in MODULES if module.startswith(FOREIGN)]
    assert {name for module in foreign for name in theirs(module)} <= sys.stdlib_module_names | {"pytest"}
    assert [module for module in foreign if "pytest" in theirs(module)] == [SUITE]
    assert {name for module in foreign for name in ours(module)} == set()
    assert {name for module in foreign for name in ours(module, typing=True)} <= {*foreign, "run.protocol"}
    assert {name for module in set(MODULES).difference(foreign) for name in ours(module, typing=True)}.isdisjoint(
        foreign
    )
    assert not (ROOT / "run" / "child" / "__init__.py").exists()


def test_files_are_short() -> None:
    """No file of the package has more than 400 lines."""
    assert [module for module, path in MODULES.items() if len(path.read_text("utf-8").splitlines()) > 400] == []


def test_types_cost_foreign_interpreters_nothing() -> None:
    """What runs in foreign interpreters imports nothing for its annotations: a package would see it, or pay for it."""
    foreign = [MODULES[module].read_text("utf-8") for module in MODULES if module.startswith(FOREIGN)]
    tops = {name.partition(".")[0] for text in foreign for name in imported(text)}
    assert tops.isdisjoint({"typing", "__future__", "collections", "dataclasses"})


@pytest.mark.parametrize("name", PARTS)
def test_parts_of_a_server_are_given_what_they_use(name: str) -> None:
    """A part of a server is given the modules that its code names, and those are loaded before it."""
    tree = ast.parse((CHILD / f"{name}.py").read_text("utf-8"))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    used = {part for part in PARTS if part.upper() in names}
    assert set(PARTS[name]) == used
    assert used <= set(list(PARTS)[: list(PARTS).index(name)])


def test_idle_plugin_is_light() -> None:
    """The plugin alone loads no room, and no library that only a matrix needs."""
    code = "import sys; before = set(sys.modules); import pytest_spip.plugin; print(*(set(sys.modules) - before))"
    loaded = subprocess.check_output([sys.executable, "-c", f"import pytest; {code}"], text=True).split()
    assert "pytest_spip.plugin" in loaded
    assert "pytest_spip.model" not in loaded
    entered = {folder(name.removeprefix("pytest_spip.")) for name in loaded if name.startswith("pytest_spip.")}
    assert entered <= {"plugin", "options", "option_values", "names", "errors", "common"}
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
        "jinja2",
        "xdist",
        "execnet",
    }
    assert not {name.partition(".")[0] for name in loaded} & heavy


def test_records_are_loaded_when_they_are_asked_for() -> None:
    """The package of records offers what it says, to type checkers as to programs, and loads it name by name."""
    for_types = {name.rpartition(".")[2] for name in imported(MODULES["model"].read_text("utf-8"), typing=True)}
    assert set(model.__all__) == set(model._HOME) == for_types - {"annotations", "importlib", "TYPE_CHECKING"}
    assert all(getattr(model, name) is not None for name in model.__all__)
    code = "import sys, pytest_spip.model as it; it.Verdict; print('pytest_spip.model.summaries' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
    with pytest.raises(AttributeError, match="has no attribute 'nonesuch'"):
        _ = model.nonesuch


def test_what_users_import() -> None:
    """The package itself offers what users import, and loads it only when it is asked for."""
    code = "import sys, pytest_spip; print('pytest_spip.model' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
    assert all(getattr(pytest_spip, name).__name__ == name for name in pytest_spip.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nonesuch'"):
        _ = pytest_spip.nonesuch
