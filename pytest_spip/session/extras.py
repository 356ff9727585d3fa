"""Modules that need what not every installation has."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import ModuleType

from pytest_spip.errors import UsageProblem

__all__ = ["shared_report", "shared_run"]


def shared_run() -> ModuleType:
    """Return the module that takes part in a run which hosts share. Raises ``UsageProblem`` where libraries are missing."""
    with _needed("--spip-queue"):
        from pytest_spip.session import shared_run as module
    return module


def shared_report(option: str) -> ModuleType:
    """Return the module that reads such runs. Raises ``UsageProblem`` of the option where libraries are missing."""
    with _needed(option):
        from pytest_spip.session import shared_report as module
    return module


@contextlib.contextmanager
def _needed(option: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        what = f"it needs {error.name}, which is not installed"
        raise UsageProblem(option, what, "pip install 'pytest-spip[postgres]'") from error
