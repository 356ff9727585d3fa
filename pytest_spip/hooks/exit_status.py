"""The exit status of a session with a matrix, and what it leaves undone: named, and never green, for whatever reason it ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_spip.model import Summary

__all__ = ["NAMED", "SUMMARISED", "exit_status", "item_lines", "shared_status", "status_of_faults"]

NAMED = 50
"""Items that are named in the terminal at most."""
SUMMARISED = (
    pytest.ExitCode.OK,
    pytest.ExitCode.TESTS_FAILED,
    pytest.ExitCode.INTERRUPTED,
    pytest.ExitCode.USAGE_ERROR,
    pytest.ExitCode.NO_TESTS_COLLECTED,
)
"""The exit statuses with which pytest asks plugins for their summary."""
GREEN = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


def exit_status(status: int, summary: Summary) -> int:
    """Return the exit status of a session whose combinations are checked.

    Where nothing was tried, nothing that was skipped is green. One that leaves combinations without a verdict counts as
    interrupted at least.
    """
    if status == pytest.ExitCode.OK and not summary.tried:
        status = pytest.ExitCode.NO_TESTS_COLLECTED
    return pytest.ExitCode.INTERRUPTED if summary.missing and status in GREEN else status


def shared_status(status: int, *, others: int, failing: bool) -> int:
    """Return the exit status of a session that shares its run: all hosts' verdicts decide, and its ``others``, other tests.

    ``failing`` is whether a verdict of the run fails it.
    """
    if status in (*GREEN, pytest.ExitCode.TESTS_FAILED):
        return pytest.ExitCode.TESTS_FAILED if others or failing else pytest.ExitCode.OK
    return status


def status_of_faults(status: int, faults: Sequence[str]) -> int:
    """Return pytest's status of an internal error where a hook went wrong, or a report is missing."""
    return pytest.ExitCode.INTERNAL_ERROR if faults and status != pytest.ExitCode.INTERRUPTED else status


def item_lines(nodeids: Sequence[str]) -> Iterator[str]:
    """Yield lines that name items of workers, such as test functions, which nobody has run."""
    if nodeids:
        yield f"spip: {len(nodeids)} items were not run:"
        yield from (f"    {nodeid}" for nodeid in nodeids[:NAMED])
    if len(nodeids) > NAMED:
        yield f"    … and {len(nodeids) - NAMED} more"
