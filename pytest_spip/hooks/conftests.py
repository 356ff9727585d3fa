"""Which conftests a session with a matrix loads: those that are written for us; the others belong to the project's suites."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

__all__ = ["spare_conftests"]

OURS = "spip"
"""A conftest that has to do with us has this in its text: our hooks, our markers and our modules all do."""
OPTION_HOOK = "pytest_addoption"


def spare_conftests(config: pytest.Config, parser: pytest.Parser, args: Sequence[str]) -> list[str]:
    """Have pytest load no conftests but ours; return the names of those that it would have loaded, relative to the root.

    pytest has not looked for any yet. It takes named paths instead of its configuration's, and loads the conftests that lie
    there and above. A conftest that defines options is loaded when the user typed one that nobody knows.
    """
    here = config.invocation_params.dir
    found = [path for path in dict.fromkeys((*_above(config, here), *_of_tests(config, here))) if path.is_file()]
    unknown = [word for word in parser.parse_known_and_unknown_args([*args])[1] if word.startswith("-")]
    telltales = (OURS, OPTION_HOOK) if unknown else (OURS,)
    ours = [path for path in found if _mentions(path, telltales)]
    vars(config.known_args_namespace)["file_or_dir"] = [str(path) for path in ours] or [os.devnull]
    loaded = {path for one in ours for path in found if one.is_relative_to(path.parent)}
    return list(_names(config, found, loaded))


def _above(config: pytest.Config, place: Path) -> Iterator[Path]:
    return (one / "conftest.py" for one in (place, *place.parents) if one.is_relative_to(config.rootpath))


def _of_tests(config: pytest.Config, here: Path) -> Iterator[Path]:
    """Yield the conftests of the paths that the project's configuration names, and of directories like tests."""
    yield from here.glob("test*/conftest.py")
    for pattern in config.getini("testpaths"):
        for path in config.rootpath.glob(pattern.rstrip("/")) if not os.path.isabs(pattern) else ():
            yield from _above(config, path)
            yield from path.glob("test*/conftest.py")


def _names(config: pytest.Config, found: Sequence[Path], loaded: set[Path]) -> Iterator[str]:
    for path in found:
        if path not in loaded:
            yield str(path.relative_to(config.rootpath)) if path.is_relative_to(config.rootpath) else str(path)


def _mentions(path: Path, telltales: Sequence[str]) -> bool:
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return False
    return any(telltale in text for telltale in telltales)
