"""Is one build of an sdist enough for all interpreters? Read from its files. Pure, but for the archive."""

from __future__ import annotations

import ast
import functools
import tomllib
from pathlib import Path
from typing import Any

from pytest_spip.provision.sdists import top_files

__all__ = ["is_plain"]

_PLAIN_IMPORTS = frozenset(
    {"setuptools", "distutils", "distutils.core", "os", "os.path", "io", "codecs", "glob", "pathlib", "__future__"}
)
_TELLTALES = frozenset(
    {"sys", "platform", "exec", "execfile", "eval", "compile", "__import__", "use_2to3", "ext_modules", "cmdclass"}
)
_TELLTALES |= {"version_info", "hexversion", "setup_requires"}
_TELLTALES_CFG = ("cmdclass", "setup_requires", "use_2to3")
_DECLARATIVE = frozenset({"flit_core.buildapi", "hatchling.build", "poetry.core.masonry.api", "setuptools.build_meta"})
_HOOKS = {"hatch": "hooks", "poetry": "build", "setuptools": "cmdclass"}
"""Keys below ``tool.NAME`` that make a declarative project run code of its own."""


@functools.lru_cache(maxsize=4096)  # an archive's path holds its hash: it never changes
def is_plain(archive: Path) -> bool:
    """Tell whether an sdist builds the same on every interpreter, so that one universal wheel may serve all.

    pip keeps built wheels per Python version because setup scripts decide by it (pip ``cache.py``, ``_cache_key_parts``).
    A declarative project, or a setup script that only reads files and calls ``setup`` with nothing that could ask which
    Python it is, cannot. Where in doubt: no.
    """
    try:
        files = top_files(archive, ("setup.py", "setup.cfg", "pyproject.toml"))
        project = tomllib.loads(files.get("pyproject.toml", ""))
        system = project.get("build-system", {})
        backend = system.get("build-backend", "setuptools.build_meta:__legacy__")
        if "backend-path" in system or any(word in files.get("setup.cfg", "") for word in _TELLTALES_CFG):
            return False
        if "setup.py" in files and backend.startswith("setuptools.build_meta"):
            return _is_plain_script(files["setup.py"])
        return backend in _DECLARATIVE and _is_plain_table(project)
    except Exception:  # an archive or a script that cannot be read: the build will say what is wrong with it
        return False


def _is_plain_table(project: dict[str, Any]) -> bool:
    hooked = any(word in _keys(project.get("tool", {}).get(name, {})) for name, word in _HOOKS.items())
    return not hooked and not set(project["project"].get("dynamic", ())) & {"dependencies", "optional-dependencies"}


def _keys(table: object) -> set[str]:
    return {*table, *(key for below in table.values() for key in _keys(below))} if isinstance(table, dict) else set()


def _is_plain_script(text: str) -> bool:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import) and not {alias.name for alias in node.names} <= _PLAIN_IMPORTS:
            return False
        if isinstance(node, ast.ImportFrom) and (node.level or node.module not in _PLAIN_IMPORTS):
            return False
        if isinstance(node, ast.Try):
            return False
        if {getattr(node, "id", None), getattr(node, "attr", None), getattr(node, "arg", None)} & _TELLTALES:
            return False
    return True
