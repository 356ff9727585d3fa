"""Which recorded runs can go: the old ones, and the oldest until all together are small enough."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_spip.errors import UsageProblem
from pytest_spip.record.rundir import RunDirectory

__all__ = ["KeptRun", "doomed", "measured", "remove_run"]


@dataclasses.dataclass(frozen=True, slots=True)
class KeptRun:
    """A run below a root directory: bytes on the disk, and seconds since it last changed."""

    directory: RunDirectory
    size: int
    age: float


def measured(runs: Sequence[RunDirectory], now: float) -> list[KeptRun]:
    """Return runs with their sizes and ages, in the same order; what somebody removes meanwhile counts nothing."""
    return [KeptRun(run, sum(_sizes(run.path)), now - _changed(run.database)) for run in runs]


def doomed(runs: Sequence[KeptRun], *, older: float, size: float) -> list[KeptRun]:
    """Return those of runs, the newest first, that are older than so many seconds or beyond so many bytes; never the newest."""
    gone, total = [], runs[0].size if runs else 0
    for run in runs[1:]:
        if run.age > older or total + run.size > size:
            gone.append(run)
        else:
            total += run.size
    return gone


def remove_run(run: RunDirectory) -> bool:
    """Remove a run, unless a process works on it; return whether it is gone."""
    try:
        lock = run.hold()
    except UsageProblem:
        return False
    try:
        run.discard()
    finally:
        lock.release()
    return not run.path.exists()


def _sizes(path: Path) -> Iterator[int]:
    for directory, _, names in os.walk(path):
        for name in names:
            yield _blocks(os.path.join(directory, name))


def _blocks(path: str) -> int:
    try:
        return os.lstat(path).st_blocks * 512
    except OSError:
        return 0


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
