"""Reports of results for pytest, and the texts in them."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Mapping
from typing import Any, Literal

import pytest

from pytest_spip.model import Combo, Outcome, Result
from pytest_spip.names import MODULE_PREFIX
from pytest_spip.report.properties import properties
from pytest_spip.report.texts import TAIL, failure_text, one_line

__all__ = [
    "PROPERTY",
    "location_file",
    "make_report",
    "phase_report",
    "skip_place",
    "trim",
]

KINDS = 1024
"""Different verdicts that are remembered: as a rule a run has many of a few."""
PROPERTY = "spip_"
"""Begins the names of our properties of items."""


def skip_place(result: Result) -> tuple[str, Any, str]:
    """Return what pytest expects of a skip: file, line and why. There is no file."""
    return _skip(f"Skipped: {one_line(result)}")


@functools.lru_cache(KINDS)
def _skip(why: str) -> tuple[str, Any, str]:
    return MODULE_PREFIX, None, why


def location_file(config: pytest.Config) -> str:
    """Return the file that stands for combinations in reports, relative to the root.

    Where a pipeline annotates files, it is one that exists: pytest's configuration, else the root. Elsewhere it is none, for with
    ``-v`` pytest would name it behind each node id.
    """
    if not os.environ.get("GITHUB_ACTIONS"):
        return MODULE_PREFIX
    inside = config.inipath is not None and config.inipath.is_relative_to(config.rootpath)
    return str(config.inipath.relative_to(config.rootpath)) if inside and config.inipath else "."


def make_report(combo: Combo, plain: Mapping[str, Any], seconds: float, file: str) -> pytest.TestReport:
    """Return the report of a combination that ran without an item. ``plain`` is its result as :meth:`Result.to_plain` says it.

    ``file`` is that of :func:`location_file`.

    An item would have had three, for its set-up, its call and its end; this one stands for them all.
    """
    result, now = Result.from_plain(plain), time.time()
    outcome, longrepr = _outcome_and_text(result)
    report = pytest.TestReport(
        nodeid=combo.nodeid,
        location=(file, 0, combo.id),
        keywords={},
        outcome=outcome,
        longrepr=longrepr,
        when="setup" if result.verdict.outcome is Outcome.ERROR else "call",
        duration=seconds,
        start=now - seconds,
        stop=now,
        user_properties=properties(result),
    )
    vars(report).update(spip=plain, worker_id=result.worker)
    return report


def phase_report(report: pytest.TestReport, when: Literal["setup", "teardown"]) -> pytest.TestReport:
    """Return the report that an item would have had before or after this one."""
    made = pytest.TestReport(
        nodeid=report.nodeid,
        location=report.location,
        keywords={},
        outcome="passed",
        longrepr=None,
        when=when,
        user_properties=report.user_properties,
    )
    # What xdist adds to reports; JUnit's report takes two for one case by it.
    vars(made).update({name: value for name, value in vars(report).items() if name in ("node", "worker_id")})
    return made


def trim(report: pytest.TestReport) -> None:
    """Let go of what nobody reads any more: pytest keeps all reports of a session. Those of one kind share the rest."""
    vars(report)["spip"] = _verdict_alone(*vars(report)["spip"]["verdict"])
    report.user_properties = []


@functools.lru_cache(KINDS)
def _verdict_alone(*verdict: str | None) -> dict[str, Any]:
    return {"verdict": verdict}


def _outcome_and_text(result: Result) -> tuple[Literal["passed", "failed", "skipped"], Any]:
    match result.verdict.outcome:
        case Outcome.PASSED:
            return "passed", None
        case Outcome.SKIPPED:
            return "skipped", skip_place(result)
        case _:
            return "failed", failure_text(result, lines=TAIL)
