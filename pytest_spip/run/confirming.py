"""Warm runs confirmed by cold ones: which of the two counts, and what is said where they do not agree. Pure, but for the runs."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Sequence
from typing import Protocol

from packaging.version import Version

from pytest_spip.common.releases import version_order
from pytest_spip.model import Combo, Disagreement, Outcome, Reason, Result, Verdict

__all__ = ["Judge", "Run", "confirmed", "run_cold"]

TRIES = 8
"""How often a cold run is tried that SIGKILL ended."""
DIFFERING = 5
"""Tests that are named of those in which warm and cold disagree."""


Place = tuple[int, Version | str]
"""Where a release stands among others, as ``version_order`` has it."""


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


class Judge:
    """Judges one combination after another, warm where that pays.

    Whoever ``trusts`` has nothing confirmed. Whoever ``foresees`` has a combination run cold at once where a warm run would
    only show what is confirmed cold anyway.
    """

    def __init__(self, *, trusts: bool, foresees: bool) -> None:
        self._trusts = trusts
        self._foresees = foresees and not trusts
        self._lines: dict[object, _Line] = {}

    def result(self, run: Run, combo: Combo, *, doubts_passes: bool) -> tuple[Result, Disagreement | None]:
        """Return what counts of a combination that can run warm, and how warm and cold disagreed, if they did."""
        others = tuple(package for package, _ in combo.releases)
        line = self._lines.setdefault((combo.interpreter, combo.resolution, others), _Line())
        place = version_order(combo.version)
        if self._foresees and line.fails_at(place):
            found: tuple[Result, Disagreement | None] = run_cold(run), None
        else:
            found = confirmed(run, doubts_passes=doubts_passes, trusts=self._trusts)
        line.add(place, found[0].verdict)
        return found


class _Line:
    """What became of a package's releases on one interpreter, as far as they have been run, in the order of versions.

    Between two releases that fail in the same way another failure is expected, and beside the last one that is known as well.
    There a pass that was not expected has cost a cold run, so each doubles the failures in a row that it takes.
    """

    def __init__(self) -> None:
        self._places: list[Place] = []
        self._ways: list[tuple[Outcome, Reason | None] | None] = []
        self._wanted = 1

    def fails_at(self, place: Place) -> bool:
        """Return True if a release is expected to fail."""
        at = bisect.bisect(self._places, place)
        below, above = self._ways[:at][::-1], self._ways[at:]
        if below and above:
            return below[0] is not None and below[0] == above[0]
        return _in_a_row(below or above) >= self._wanted

    def add(self, place: Place, verdict: Verdict) -> None:
        """Take in what became of a release."""
        bad = verdict.outcome.is_bad
        if not bad and self.fails_at(place):
            self._wanted *= 2
        at = bisect.bisect(self._places, place)
        self._places.insert(at, place)
        self._ways.insert(at, (verdict.outcome, verdict.reason) if bad else None)


def _in_a_row(ways: Sequence[object]) -> int:
    """Return how many failures of one sort come first."""
    return sum(1 for _ in itertools.takewhile(lambda way: way is not None and way == ways[0], ways))


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
