"""Hooks of pytest-spip, for conftest files and plugins. Records are those of ``pytest_spip.model``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_spip.model import Combo, Interpreter, Plan, Result, Summary


@pytest.hookspec
def pytest_spip_interpreters(config: pytest.Config) -> Sequence[str]:  # type: ignore[empty-body]
    """Offer interpreters: return paths of executables that the usual search does not find.

    What is returned is probed and deduplicated like everything else that is found.
    """


@pytest.hookspec
def pytest_spip_plan(config: pytest.Config, combos: list[Combo], interpreters: Sequence[Interpreter]) -> None:
    """Choose, drop or reorder combinations: change ``combos`` in place before the plan is frozen.

    Called once, in the controller, with every combination in the plan's order.
    """


@pytest.hookspec
def pytest_spip_verdict(config: pytest.Config, combo: Combo, result: Result) -> None:
    """See a verdict when it arrives in the controller; called once for every combination that was run."""


@pytest.hookspec(firstresult=True)
def pytest_spip_report(config: pytest.Config, kind: str, path: str, summary: Summary, plan: Plan) -> bool | None:
    """Write a report of a kind you know, as ``--spip-report=KIND[:PATH]`` asked for, and return True; else None."""
