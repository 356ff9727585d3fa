"""``--spip-fail-on``: what decides on the exit status, and what pipelines are shown of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_spip.model import Change, ChangeKind, Comparison
from pytest_spip.report.comparison import change_line

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
    """Yield a GitHub workflow command for each combination that regressed."""
    for change in comparison.of(ChangeKind.REGRESSED):
        yield f"::error title={_property(f'{change.id} regressed')}::{_message(change)}"


def _message(change: Change) -> str:
    return change_line(change).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    for letter, escape in (("%", "%25"), ("\r", "%0D"), ("\n", "%0A"), (":", "%3A"), (",", "%2C")):
        text = text.replace(letter, escape)
    return text
