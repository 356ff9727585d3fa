"""Verdicts of a run that hosts share, from one session's books to another's."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_spip.model import Result, Summary
from pytest_spip.record.rundb import RunReader, RunWriter

if TYPE_CHECKING:
    from pytest_spip.session.shared_run import SharedRun

__all__ = ["digest_of", "earlier_verdicts", "take_in_others"]


def earlier_verdicts(database: Path, session: int) -> list[tuple[Result, bool]]:
    """Return what earlier sessions of a run have judged here, and whether it fails the run."""
    if session == 1:
        return []
    with contextlib.closing(RunReader(database)) as reader:
        return reader.judged_here()


def take_in_others(shared: SharedRun, writer: RunWriter) -> None:
    """Enter the verdicts of other hosts, which count where this one has judged the same in vain."""
    writer.take_in((one.result, one.failing) for one in shared.others())
    writer.note({"agents": shared.agents()})


def digest_of(summary: Summary) -> dict[str, Any]:
    """Return what other hosts are to know of a session's telemetry: seconds by phase, and what was done."""
    return {
        "seconds": round(summary.seconds, 3),
        "cpu": round(summary.cpu, 3),
        "iowait": round(summary.iowait, 3),
        "phases": {name: round(seconds, 3) for name, seconds in summary.phases.items()},
        "work": dict(summary.work),
    }
