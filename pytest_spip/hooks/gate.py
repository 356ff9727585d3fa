"""``--spip-fail-on``: what decides on the exit status, and what pipelines are shown of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from pytest_spip.model import ChangeKind, Comparison
from pytest_spip.report.change_lines import causes

__all__ = ["annotation_lines", "gated_status"]


def gated_status(status: int, fail_on: str, comparison: Comparison | None, *, others: int) -> int:
    """Return the exit status of a session; ``others`` counts failures that are no combinations'.

    With ``regressed`` a combination that an error kept from its verdict, where there was one before, leaves the session
    interrupted: undone work is not green.
    """
    if status != pytest.ExitCode.TESTS_FAILED or others or fail_on == "any":
        return status
    if fail_on == "never" or comparison is None:
        return pytest.ExitCode.OK
    if comparison.of(ChangeKind.REGRESSED):
        return pytest.ExitCode.TESTS_FAILED
    return pytest.ExitCode.INTERRUPTED if comparison.unjudged else pytest.ExitCode.OK


def annotation_lines(comparison: Comparison) -> Iterator[str]:
    """Yield a GitHub workflow command for each cause of regressions: a job shows ten of them at most."""
    for cause in causes(comparison, ChangeKind.REGRESSED):
        yield f"::error title={_property(f'{cause.where} regressed')}::{_message(cause.lines)}"


def _message(lines: Sequence[str]) -> str:
    return "%0A".join(line.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A") for line in lines)


def _property(text: str) -> str:
    for letter, escape in (("%", "%25"), ("\r", "%0D"), ("\n", "%0A"), (":", "%3A"), (",", "%2C")):
        text = text.replace(letter, escape)
    return text
