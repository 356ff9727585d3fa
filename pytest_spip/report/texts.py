"""The text of one combination's failure, for pytest's own report and for the command line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_spip.model import Outcome, Result, Test

__all__ = ["SHOWN", "TAIL", "failure_text", "one_line"]

TAIL = 12
"""Lines of output, or of a test's report, shown with a failure; ``-v`` shows all that were kept."""
SHOWN = 3
"""Failing tests whose reports are shown; ``-v`` shows all."""


def one_line(result: Result) -> str:
    """Return reason and detail."""
    reason = result.verdict.reason.value if result.verdict.reason else result.verdict.outcome.value
    return f"{reason}: {result.verdict.detail}" if result.verdict.detail else reason


def failure_text(result: Result, *, lines: int) -> str:
    """Return reason, phase, what was said, and how to see it again.

    What was said are the failing tests' reports, or the last lines of output where no test failed, or something else ended
    what tests were running. More than ``TAIL`` lines mean all tests.
    """
    verdict = result.verdict
    words = [f"{verdict.outcome.value} in phase {verdict.phase.value}: {one_line(result)}"]
    failing = [test for test in result.tests if test.is_bad]
    words += _test_lines(failing, lines)
    if not failing or verdict.outcome is not Outcome.FAILED:
        words += _indented(result.output, lines)
    words += [f"warning: {text}" for text in result.warnings]
    words += [f"reproduce: {result.reproduce}"] if result.reproduce else []
    return "\n".join(words)


def _test_lines(failing: Sequence[Test], lines: int) -> Iterator[str]:
    shown = failing if lines > TAIL else failing[:SHOWN]
    for test in shown:
        yield f"  {test.id}: {test.headline}"
        yield from _indented(test.detail.partition("\n")[2], lines)
    if len(failing) > len(shown):
        yield f"  … and {len(failing) - len(shown)} more; -v shows all"


def _indented(text: str, lines: int) -> list[str]:
    return [f"    {line}" for line in text.rstrip().splitlines()[-lines:]]
