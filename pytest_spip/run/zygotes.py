"""Which wheels a suite's zygote loads: pytest, and what it needs. The rest stands in child/zygote.py."""

from __future__ import annotations

import email.parser
import functools
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from pytest_spip.model import Composed, Environment, Limits, StoredWheel, digest
from pytest_spip.run.jobs import Zygote

__all__ = ["mentions", "zygotes_of"]

SETTINGS = ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")
"""Where a session looks for options."""
FRIENDS = (
    "attrs",
    "colorama",
    "exceptiongroup",
    "importlib-metadata",
    "py",
    "pygments",
    "tomli",
    "typing-extensions",
    "zipp",
)
"""What some pytest looks for without requiring it. A child that would find more than its zygote did runs cold."""

CONFTESTS, COLLECTION = "pytest_load_initial_conftests", "pytest_collection"
"""Hooks of pytest's to which a zygote's session may come."""
PYARGS = "pyargs"
"""An option with which a session looks into packages before it collects."""


def zygotes_of(
    packages: Collection[str],
    environment: Environment,
    composed: Composed,
    limits: Limits,
    program: Callable[[str], tuple[str, ...]],
    variables: Mapping[str, str],
    *,
    begun: bool,
) -> tuple[Zygote, ...]:
    """Return the zygotes that may be forked for a combination of packages, the best first; none when it must run cold.

    That is, too, where pytest is what is tried, or where variables change how an interpreter starts. ``program`` gives the
    program of a zygote for a hook to come to, or for none where its session is not to be begun. With ``begun`` one comes first
    whose session is, which pays for a tree that many combinations have; nobody's code may be part of it, so not with plugins.
    """
    tried = {canonicalize_name(package) for package in packages}
    wheels = _loaded(environment.wheels, tried)
    if not wheels or not composed.layer_of or any(wheel.name in tried for wheel in wheels):
        return ()
    if any(name.startswith("PYTHON") for name in variables):
        return ()
    names = {composed.layer_of[wheel.sha256] for wheel in wheels}
    hashes = sorted(wheel.sha256 for wheel in wheels)

    def zygote(hook: str, tree: tuple[str, ...]) -> Zygote:
        command, layers = program(hook), tuple(layer for layer in composed.layers if layer in names)
        key = digest(hashes, tree, command, dict(variables), limits.memory, limits.file_size, tree and composed.cwd)
        return Zygote(key, layers, tree, command, variables)

    plain = zygote("", ())
    if not begun or any(_is_plugin(wheel.root) for wheel in environment.wheels if wheel not in wheels):
        return (plain,)
    code = _has_conftests(environment.tree) or mentions(PYARGS, plain.command, environment)
    return zygote(CONFTESTS if code else COLLECTION, composed.trees[-1:]), plain


def mentions(option: str, words: Iterable[str], environment: Environment) -> bool:
    """Return True if the words for a suite's pytest have an option in them, or the settings in its tree."""
    return any(option in text for text in (*words, *_settings(environment.tree, environment.place)))


@functools.lru_cache(maxsize=64)  # a tree never changes
def _settings(tree: str, place: str) -> tuple[str, ...]:
    """Return the texts in which a session looks for options, where it is run and above."""
    own = PurePosixPath(*PurePosixPath(place).parts[1:])
    paths = (Path(tree, folder, name) for folder in (own, *own.parents) for name in SETTINGS if tree)
    return tuple(path.read_text("utf-8", "replace") for path in paths if path.is_file())


@functools.lru_cache(maxsize=64)
def _has_conftests(tree: str) -> bool:
    """Return True if a tree has any, at whatever place."""
    return any("conftest.py" in files for _, _, files in os.walk(tree))


def _loaded(wheels: Sequence[StoredWheel], tried: Collection[str]) -> tuple[StoredWheel, ...]:
    """Return those wheels that pytest's import may load, in their order; none where there is no pytest.

    What is ``tried`` is among them only if pytest cannot do without it.
    """
    known = {wheel.name: wheel for wheel in wheels}
    if "pytest" not in known:
        return ()
    found: set[str] = set()
    waiting = ["pytest", *(name for name in FRIENDS if name not in tried)]
    while waiting:
        name = waiting.pop()
        if name in known and name not in found:
            found.add(name)
            waiting += _required(known[name].root)
    return tuple(wheel for wheel in wheels if wheel.name in found)


@functools.lru_cache(maxsize=512)  # a filed wheel never changes
def _is_plugin(root: str) -> bool:
    """Return True if a wheel brings plugins of pytest's."""
    paths = Path(root).glob("*lib/*.dist-info/entry_points.txt")
    return any("pytest11" in path.read_text("utf-8", "replace") for path in paths)


@functools.lru_cache(maxsize=512)
def _required(root: str) -> tuple[str, ...]:
    """Return the names that a wheel requires without extras, by whatever markers."""
    names: list[str] = []
    for path in Path(root).glob("*lib/*.dist-info/METADATA"):
        headers = email.parser.HeaderParser().parsestr(path.read_text("utf-8", "replace"))
        names += [name for text in headers.get_all("Requires-Dist", []) if (name := _name(str(text)))]
    return tuple(names)


def _name(text: str) -> str:
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return ""
    return "" if "extra" in str(requirement.marker or "") else canonicalize_name(requirement.name)
