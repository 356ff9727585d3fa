"""What pytest is told of a result: reports, and the words in them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Literal

import pytest

from pytest_spip.model import MODULE_PREFIX, Combo, Outcome, Result

__all__ = ["TAIL", "brother", "make_report", "one_line", "properties", "skip_place", "slim", "story"]

TAIL = 12
"""Lines of output shown with a failure; ``-v`` shows all that were kept."""


def one_line(result: Result) -> str:
    """Return reason and detail."""
    reason = result.verdict.reason.value if result.verdict.reason else result.verdict.outcome.value
    return f"{reason}: {result.verdict.detail}" if result.verdict.detail else reason


def story(result: Result, *, lines: int) -> str:
    """Return reason, phase, the last lines of output, and how to see it again."""
    verdict = result.verdict
    words = [f"{verdict.outcome.value} in phase {verdict.phase.value}: {one_line(result)}"]
    words += [f"    {line}" for line in result.output.rstrip().splitlines()[-lines:]]
    words += [f"see it again: {result.reproduce}"] if result.reproduce else []
    return "\n".join(words)


def properties(result: Result) -> list[tuple[str, object]]:
    """Return the pairs that reports such as JUnit's carry beside an item."""
    verdict = result.verdict
    pairs: dict[str, object] = {"spip_outcome": verdict.outcome.value, "spip_phase": verdict.phase.value}
    pairs |= {"spip_reason": verdict.reason.value} if verdict.reason else {}
    pairs |= {"spip_reproduce": result.reproduce} if result.reproduce else {}
    return list(pairs.items())


def skip_place(result: Result) -> tuple[str, Any, str]:
    """Return what pytest expects of a skip: file, line and why. There is no file."""
    return MODULE_PREFIX, None, f"Skipped: {one_line(result)}"


def make_report(combo: Combo, plain: Mapping[str, Any], seconds: float) -> pytest.TestReport:
    """Return the report of a combination that ran without an item. ``plain`` is its result as :meth:`Result.to_plain` says it.

    An item would have had three, for its set-up, its call and its end; this one stands for them all.
    """
    result, now = Result.from_plain(plain), time.time()
    outcome, longrepr = _told(result)
    report = pytest.TestReport(
        nodeid=combo.nodeid,
        location=(MODULE_PREFIX, 0, combo.id),
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


def brother(report: pytest.TestReport, when: Literal["setup", "teardown"]) -> pytest.TestReport:
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


def slim(report: pytest.TestReport) -> None:
    """Let go of what nobody reads any more: pytest keeps all reports of a session."""
    vars(report)["spip"] = {"verdict": vars(report)["spip"]["verdict"]}
    report.user_properties = []


def _told(result: Result) -> tuple[Literal["passed", "failed", "skipped"], Any]:
    match result.verdict.outcome:
        case Outcome.PASSED:
            return "passed", None
        case Outcome.SKIPPED:
            return "skipped", skip_place(result)
        case _:
            return "failed", story(result, lines=TAIL)
