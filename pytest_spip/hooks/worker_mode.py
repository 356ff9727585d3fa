"""Who looks at items and at what happens to them: only for these are workers pytest sessions, and reports complete."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pytest_spip.options import MARKS

__all__ = ["reason_for_phases", "reason_for_pytest"]

_IN_WORKERS = (
    "pytest_itemcollected",
    "pytest_collection_modifyitems",
    "pytest_collection_finish",
    "pytest_runtestloop",
    "pytest_runtest_protocol",
    "pytest_runtest_setup",
    "pytest_runtest_call",
    "pytest_runtest_teardown",
    "pytest_runtest_makereport",
    "pytest_report_to_serializable",
    "pytest_report_from_serializable",
    "pytest_xdist_getremotemodule",
)
"""Hooks that are called where items are."""
_IN_CONTROLLER = ("pytest_runtest_logstart", "pytest_runtest_logreport", "pytest_runtest_logfinish")
"""Hooks that tell the controller of what happens to items."""
_BYSTANDERS = ("_pytest", "xdist", "pytest_spip", "_hypothesis_pytestplugin", "anyio", "pytest_asyncio", "pytest_mock")
"""Top-level modules of plugins that have such hooks and nothing to say of our items: pytest's own, and those for test functions."""
_SELECTIONS = ("keyword", "markexpr", "deselect", "lf", "failedfirst", "newfirst", "stepwise")
"""Options, by their names in ``config.option``, that choose among items or put them in an order."""


def reason_for_pytest(config: pytest.Config) -> str:
    """Return why workers must be pytest sessions, as ``conftest.py has pytest_runtest_setup``; empty where they need not.

    Conftest files and plugins of workers are those of the controller, so looking here is enough.
    """
    marking = [name for name in MARKS if config.getini(name)]
    if marking:
        return f"items are marked by {marking[0]}"
    if config.args:
        return f"{config.args[0]} is tested as well"
    chosen = [name for name in _SELECTIONS if config.getoption(name, None)]
    if chosen:
        return f"items are chosen or ordered by {chosen[0]}"
    return next(_listeners(config, _IN_WORKERS), "")


def reason_for_phases(config: pytest.Config) -> str:
    """Return why a combination must be reported with set-up, call and end, as an item is; empty where one report will do."""
    return "--junitxml" if config.getoption("xmlpath", None) else next(_listeners(config, _IN_CONTROLLER), "")


def _listeners(config: pytest.Config, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        for implementation in getattr(config.hook, name).get_hookimpls() if hasattr(config.hook, name) else ():
            module = inspect.getmodule(implementation.function)
            if module is None or module.__name__.partition(".")[0] not in _BYSTANDERS:
                yield f"{_named(implementation, module)} has {name}"


def _named(implementation: Any, module: ModuleType | None) -> str:
    """Return the name by which a person knows a plugin: a conftest file's, a distribution's entry point, or a module's."""
    file = Path(getattr(module, "__file__", None) or "")
    if file.name == "conftest.py":
        return file.name
    name = str(implementation.plugin_name)
    return f"plugin {module.__name__ if module and (name.isdecimal() or os.sep in name) else name}"
