"""Which modules a wheel offers for import, read from the paths of its RECORD. Pure."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from packaging.utils import canonicalize_name

__all__ = ["modules_to_import", "public_modules"]

NOT_FOR_IMPORT = frozenset({"test", "tests", "doc", "docs", "example", "examples", "benchmark", "benchmarks"})
"""Names that wheels install by accident, or not to be imported."""

STRAY = frozenset(
    {"conftest", "ez_setup", "fabfile", "noxfile", "samples", "scripts", "setup", "tools", "tutorials", "versioneer"}
)
"""Further names that wheels install by accident at their top, beside what they are about."""
# Suffixes that an import system on Linux or macOS looks for (``importlib.machinery.all_suffixes``).
_MODULE = re.compile(r"(\w+)(?:\.py|\.pyc|(?:\.abi3t?|\.(?:cpython|pypy|graalpy)[\w-]*)?\.so)")
_ABOUT_MODULES = re.compile(r".*\.pyi|py\.typed")

_Tree = Mapping[str, "_Tree"]
"""Names in a directory, each with its own tree; a file's is empty."""


def public_modules(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the public top-level modules among site-packages' paths, sorted.

    A namespace package (PEP 420) stands for its first real subpackages. One that holds modules and nothing else stands for
    these; modules beside other things are more likely scripts in a stray directory.
    """
    tree = _grown(paths)
    return tuple(sorted({*_modules(tree), *_packages(tree, "")}))


def modules_to_import(paths: Iterable[str], project: str) -> tuple[str, ...]:
    """Return the public modules without those that lie at the top by accident, unless a project offers nothing else.

    What bears the name of the ``project`` is no accident.
    """
    files = tuple(paths)
    tree = _grown(files)
    own = canonicalize_name(project).replace("-", "_")
    named = [name for name in _tops(tree) if name.lower() == own and name in NOT_FOR_IMPORT]
    public = tuple(sorted({*public_modules(files), *named}))
    kept = tuple(module for module in public if not _is_stray(module) or module.partition(".")[0].lower() == own)
    return kept or public or tuple(name for name in _tops(tree) if name in NOT_FOR_IMPORT)


def _is_stray(module: str) -> bool:
    top = module.partition(".")[0]
    return top in STRAY or (top == module and top.startswith("test_"))


def _tops(tree: _Tree) -> list[str]:
    """Return what is imported by one name: modules, and packages that are none of namespaces."""
    packages = [name for name, below in tree.items() if _package(name, below) == [name]]
    files = [match[1] for name, below in tree.items() if not below and (match := _MODULE.fullmatch(name))]
    return sorted({*packages, *files})


def _grown(paths: Iterable[str]) -> _Tree:
    tree: dict[str, dict[str, object]] = {}
    for path in paths:
        node = tree
        for part in PurePosixPath(path).parts:
            node = node.setdefault(part, {})  # type: ignore[assignment]  # a subtree is a tree
    return tree  # type: ignore[return-value]  # a subtree is a tree


def _modules(tree: _Tree) -> list[str]:
    """Return the public modules among a directory's files."""
    found = (_MODULE.fullmatch(name) for name, below in tree.items() if not below)
    return [match[1] for match in found if match and _is_public(match[1])]


def _packages(tree: _Tree, prefix: str) -> list[str]:
    """Return the public packages among a directory's directories."""
    return [
        name for child, below in tree.items() if below and _is_public(child) for name in _package(prefix + child, below)
    ]


def _package(name: str, tree: _Tree) -> list[str]:
    """Return a package's name, or what a namespace package stands for."""
    if any((match := _MODULE.fullmatch(child)) and match[1] == "__init__" for child in tree):
        return [name]
    if any(below or not (_MODULE.fullmatch(child) or _ABOUT_MODULES.fullmatch(child)) for child, below in tree.items()):
        return _packages(tree, f"{name}.")
    return [f"{name}.{module}" for module in _modules(tree)]


def _is_public(name: str) -> bool:
    importable = name.isidentifier() and not keyword.iskeyword(name)
    return importable and not name.startswith("_") and name not in NOT_FOR_IMPORT
