"""What hosts that share a run must have in common."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_spip.errors import QueueProblem, UsageProblem
from pytest_spip.model import RunFacts

__all__ = ["OPTION", "check_conditions", "check_selection", "conditions_of", "refused_as"]

OPTION = "--spip-queue"


@contextlib.contextmanager
def refused_as(option: str) -> Iterator[None]:
    """Say what the database refuses as a problem of the option that named it. Raises ``UsageProblem``."""
    try:
        yield
    except QueueProblem as error:
        raise UsageProblem(option, str(error)) from None


def conditions_of(facts: RunFacts) -> dict[str, Any]:
    """Return what all hosts must have in common, and who says so."""
    return {
        "plan": facts.plan_hash,
        "check": facts.check,
        "experiment": facts.experiment,
        "date": facts.started if facts.dated else "",
        "host": socket.gethostname(),
    }


def check_conditions(theirs: Mapping[str, Any], own: Mapping[str, Any], run: str) -> None:
    """Refuse another plan, or other conditions, than those that a host has published. Raises ``UsageProblem``."""
    if theirs["plan"] != own["plan"] or theirs["check"] != own["check"]:
        what = f"run {run} has another plan, which {theirs['host']} has published"
        raise UsageProblem(OPTION, what, "give all hosts the same options and Pythons, or another --spip-run")
    if theirs["experiment"] != own["experiment"]:
        what = f"run {run} has other limits, or another sandbox or system: those of {theirs['host']}"
        raise UsageProblem(OPTION, what, "give all hosts the same options and like systems, or another --spip-run")


def check_selection(theirs: Mapping[str, Any], own: Mapping[str, Any], run: str) -> None:
    """Refuse another selection of the plan's combinations. Raises ``UsageProblem``."""
    if theirs["chosen"] != own["chosen"]:
        what = f"run {run} has other combinations selected"
        raise UsageProblem(OPTION, what, "give all hosts the same -k, marks and node ids")
