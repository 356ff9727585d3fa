"""Which modules a wheel offers for import, read from the paths of its RECORD. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

__all__ = ["public_modules"]

NOT_FOR_IMPORT = frozenset({"test", "tests", "doc", "docs", "example", "examples", "benchmark", "benchmarks"})
"""Top-level names that wheels install by accident."""


def public_modules(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the public top-level modules among site-packages' paths, sorted.

    A namespace package (PEP 420) stands for its first real subpackages, or its modules when it has none.
    """
    tree: dict[str, dict[str, object]] = {}
    for path in paths:
        node = tree
        for part in PurePosixPath(path).parts:
            node = node.setdefault(part, {})  # type: ignore[assignment]  # the tree's leaves are empty dicts
    return tuple(sorted(_modules(tree, "")))


def _modules(tree: dict[str, dict[str, object]], prefix: str) -> list[str]:
    found = []
    for name, children in tree.items():
        module = _module_name(name) if not children else name
        if not module.isidentifier() or module.startswith("_") or (not prefix and module in NOT_FOR_IMPORT):
            continue
        if not children or any(_module_name(child) == "__init__" for child in children):
            found.append(prefix + module)
        else:
            found += _namespace(children, f"{prefix}{module}.")
    return found


def _namespace(children: dict[str, object], prefix: str) -> list[str]:
    packages = {name: child for name, child in children.items() if child}
    return _modules(packages, prefix) or _modules(children, prefix)  # type: ignore[arg-type]  # a subtree is a tree


def _module_name(filename: str) -> str:
    """Return the module a file defines: ``a.py``, ``a.so``, ``a.abi3.so``, ``a.cpython-312-x86_64-linux-gnu.so``."""
    if filename.endswith((".py", ".so", ".pyd")):
        return filename.partition(".")[0]
    return ""
