"""Warm runs confirmed by cold ones: which of the two counts, and what is said where they do not agree. Pure, but for the runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from pytest_spip.model import Disagreement, Outcome, Reason, Result

__all__ = ["Run", "confirmed", "run_cold"]

TRIES = 8
"""How often a cold run is tried that SIGKILL ended."""
DIFFERING = 5
"""Tests that are named of those in which warm and cold disagree."""


class Run(Protocol):
    """Runs one combination, warm or cold. A warm run may turn out to have been cold, when no fork could be had."""

    def __call__(self, *, warm: bool) -> Result:
        """Return the result."""


def confirmed(run: Run, *, doubts_passes: bool, trusts: bool) -> tuple[Result, Disagreement | None]:
    """Run warm and return what counts, and how warm and cold disagreed, if they did.

    What is not a pass is confirmed cold, with ``doubts_passes`` a pass too; whoever ``trusts`` has nothing confirmed.
    """
    warm = run(warm=True)
    if warm.runner == "cold":  # what it showed needs no confirmation
        return warm if warm.verdict.reason is not Reason.SIGKILL else run_cold(run), None
    passed = warm.verdict.outcome is Outcome.PASSED
    if trusts or (passed and not doubts_passes):
        return warm, None
    cold = run_cold(run)
    if _shown(warm) != _shown(cold):
        differing = dict(_shown(warm)[2].items() ^ _shown(cold)[2].items())
        return cold, Disagreement(warm.ordinal, _described(warm, differing), _described(cold, differing))
    return (warm if passed else cold), None


def run_cold(run: Run) -> Result:
    """Run cold. SIGKILL may have come from anybody on this machine, so it counts only when it comes each time."""
    for _ in range(TRIES):
        result = run(warm=False)
        if result.verdict.reason is not Reason.SIGKILL:
            break
    return result


def _shown(result: Result) -> tuple[Outcome, Reason | None, dict[str, str]]:
    """Return what warm and cold must agree on: the verdict, and what became of each test."""
    return result.verdict.outcome, result.verdict.reason, {test.id: test.outcome for test in result.tests}


def _described(result: Result, differing: Iterable[str]) -> str:
    """Return a result in words, and of the tests in which it differs from another the first few."""
    verdict = result.verdict
    reason = f" ({verdict.reason.value})" if verdict.reason else ""
    text = f"{verdict.outcome.value}{reason}" + (f": {verdict.detail}" if verdict.detail else "")
    outcomes = _shown(result)[2]
    tests = [f"{name} {outcomes.get(name, 'not run')}" for name in sorted(differing)[:DIFFERING]]
    return "; ".join([text, *tests])
