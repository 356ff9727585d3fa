"""The facts of a combination that reports such as JUnit's carry beside it. Pure."""

from __future__ import annotations

from pytest_spip.model import Result, counted

__all__ = ["NAMED", "TEST_FAILED", "properties"]

TEST_FAILED = "spip_test_failed"

NAMED = 50
"""Failing tests that are named at most."""


def properties(result: Result) -> list[tuple[str, object]]:
    """Return the pairs that reports such as JUnit's carry beside an item; ``spip_test_failed`` once for each failing test.

    So does ``spip_warning`` for each warning.
    """
    verdict = result.verdict
    pairs: dict[str, object] = {"spip_outcome": verdict.outcome.value, "spip_phase": verdict.phase.value}
    pairs |= {"spip_reason": verdict.reason.value} if verdict.reason else {}
    pairs |= {"spip_reproduce": result.reproduce} if result.reproduce else {}
    pairs |= {"spip_tests": counted(result.tests)} if result.tests else {}
    pairs |= {"spip_reruns": result.reruns} if result.reruns else {}
    pairs |= {"spip_flaky": True} if result.is_flaky else {}
    failing = [f"{test.id}: {test.headline}" for test in result.tests if test.is_bad]
    many = [(TEST_FAILED, failing[:NAMED]), ("spip_warning", result.warnings)]
    return [*pairs.items(), *((name, text) for name, texts in many for text in texts)]
