"""Which conftests a session with a matrix loads: where it runs no ordinary tests, theirs are not asked, and need not import."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_spip.model import NO_CHECK

__all__ = ["spare_conftests"]

TELLTALES = ("pytest_addoption", "pytest_plugins", "pytest_spip_")
"""Words of conftests that a session is not the same without: it may be told options that these define, or have our hooks."""


def spare_conftests(config: pytest.Config) -> None:
    """Have pytest load the conftests of the directory where it is called, and above, and not those of its tests.

    pytest has not looked for any yet. It takes named paths instead of its ini file's, and looks for conftests where they are.
    """
    if (config.known_args_namespace.spip_check or config.getini("spip_check")) == NO_CHECK:  # ordinary tests run
        return
    here = config.invocation_params.dir
    if any(telltale in text for text in map(_text, _of_tests(config, here)) for telltale in TELLTALES):
        return
    above = [place / "conftest.py" for place in (here, *here.parents) if place.is_relative_to(config.rootpath)]
    own = next((path for path in above if path.is_file()), os.devnull)
    vars(config.known_args_namespace)["file_or_dir"] = [str(own)]


def _of_tests(config: pytest.Config, here: Path) -> Iterator[Path]:
    """Yield the conftests that pytest would load besides: of the ini file's paths for tests, and of directories like tests."""
    yield from here.glob("test*/conftest.py")
    for pattern in config.getini("testpaths"):
        for path in config.rootpath.glob(pattern.rstrip("/")) if not os.path.isabs(pattern) else ():
            yield from (
                place / "conftest.py" for place in (path, *path.parents) if place.is_relative_to(config.rootpath)
            )
            yield from path.glob("test*/conftest.py")


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
