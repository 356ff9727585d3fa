"""What changed between two runs. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_spip.model import Change, ChangeKind, Comparison, Judged, Outcome, Phase, Reason, Summary, Verdict
from pytest_spip.report.triage import lock_changes

__all__ = ["compare", "judged", "judged_of_document"]

UNTRIED = (Outcome.ERROR, Outcome.SKIPPED)
"""Outcomes that say nothing about the package."""
FAILING = ("failed", "error")
"""Outcomes of tests that make a suite fail."""


def judged(summary: Summary) -> dict[str, Judged]:
    """Return what there is to compare of a run, by the ids of combinations, in the plan's order."""
    return {
        combo.id: Judged.from_result(summary.results[combo.ordinal])
        for combo in summary.combos
        if combo.ordinal in summary.results
    }


def judged_of_document(document: Mapping[str, object]) -> dict[str, Judged]:
    """Return what there is to compare of a JSON report. Raises ``KeyError``, ``TypeError`` or ``ValueError`` for anything else."""
    if document["schema"] != 1:
        raise ValueError(f"its schema is {document['schema']!r}, and this pytest-spip reads 1")
    combinations = document["combinations"]
    if not isinstance(combinations, list):
        raise TypeError("its combinations are no list")
    return {str(plain["id"]): _judged(plain) for plain in combinations}


def _judged(plain: Mapping[str, object]) -> Judged:
    reason = plain["reason"]
    verdict = Verdict(
        Outcome(str(plain["outcome"])),
        Phase(str(plain["phase"])),
        None if reason is None else Reason(str(reason)),
        str(plain["detail"]),
    )
    tests = plain.get("tests", [])
    if not isinstance(tests, list):
        raise TypeError("its tests are no list")
    locked = plain.get("locked", {})
    if not isinstance(locked, dict):
        raise TypeError("what it locked is no object")
    outcomes = {str(test["id"]): str(test["outcome"]) for test in tests}
    return Judged(verdict, outcomes, bool(plain.get("flaky")), {str(name): str(each) for name, each in locked.items()})


def compare(base: str, before: Mapping[str, Judged], after: Mapping[str, Judged]) -> Comparison:
    """Return what changed; ``base`` names the earlier run."""
    ids = [*after, *(name for name in before if name not in after)]
    return Comparison(base, tuple(_change(name, before.get(name), after.get(name)) for name in ids))


def _change(name: str, before: Judged | None, after: Judged | None) -> Change:
    failing: tuple[str, ...] = ()
    passing: tuple[str, ...] = ()
    if before and after and _ran_to_its_end(before) and _ran_to_its_end(after):
        failing, passing = _newly(before.tests, after.tests), _newly(after.tests, before.tests)
    kind = _kind(before, after, newly_failing=bool(failing))
    was, now = before.verdict if before else None, after.verdict if after else None
    locked = lock_changes(before.locked, after.locked) if before and after else ()
    return Change(name, kind, was, now, failing, passing, locked)


def _ran_to_its_end(one: Judged) -> bool:
    return one.verdict.outcome is Outcome.PASSED or one.verdict.reason is Reason.TEST_FAILED


def _newly(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    """Return the tests that fail after, and did not before; a test that was not there did not."""
    return tuple(sorted(name for name in after if after[name] in FAILING and before.get(name) not in FAILING))


def _kind(before: Judged | None, after: Judged | None, *, newly_failing: bool) -> ChangeKind:
    if before is None:
        return ChangeKind.NEW
    if after is None:
        return ChangeKind.REMOVED
    was, now = before.verdict.outcome, after.verdict.outcome
    if was in UNTRIED or now in UNTRIED:
        return ChangeKind.SAME if was is now else ChangeKind.ENVIRONMENT
    if after.is_flaky:
        return ChangeKind.FLAKY
    if not now.is_bad:
        return ChangeKind.FIXED if was.is_bad else ChangeKind.SAME
    crashes = now is Outcome.CRASHED and was is not Outcome.CRASHED
    return ChangeKind.REGRESSED if not was.is_bad or crashes or newly_failing else ChangeKind.SAME
