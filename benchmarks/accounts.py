"""Where time went: CPU seconds of a whole process tree, and the seconds of each phase as the run database has them."""

from __future__ import annotations

import ctypes
import os
import resource
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from benchmarks.matrix import Report, Unmeasurable, database

__all__ = ["CONTROLLER", "combination_seconds", "phase_rows", "with_cpu"]

CONTROLLER = "controller"
T = TypeVar("T")
PR_SET_CHILD_SUBREAPER = 36
GRACE = 10.0


def with_cpu(work: Callable[[], T]) -> tuple[T, float]:
    """Do work that starts processes; return its result and the CPU seconds of all of them, also of those they left behind.

    Orphans become our children, for the kernel tells only of children that were waited for. Nothing else may have
    children meanwhile. Raises :class:`benchmarks.matrix.Unmeasurable` when some process does not end.
    """
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before = _waited_for()
    result = work()
    _reap(time.monotonic() + GRACE)
    return result, _waited_for() - before


def _waited_for() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _reap(until: float) -> None:
    while time.monotonic() < until:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            time.sleep(0.01)
    raise Unmeasurable("a process of the run does not end")


def combination_seconds(directory: Path, phases: Sequence[str] = ()) -> dict[str, float]:
    """Return the seconds that each combination of the newest run took in its worker, all phases or some, by id."""
    seconds: dict[str, float] = defaultdict(float)
    query = "SELECT plan.id AS id, phase, seconds FROM phase JOIN plan USING (ordinal) WHERE worker != 'controller'"
    for row in database(directory, query):
        if not phases or row["phase"] in phases:
            seconds[row["id"]] += row["seconds"]
    return dict(seconds)


def phase_rows(directory: Path, report: Report) -> Iterator[list[str]]:
    """Yield a table of the newest run's phases: milliseconds a combination in each worker, and shares of their time."""
    seconds: dict[tuple[str, str], float] = defaultdict(float)
    for row in database(directory, "SELECT worker, phase, sum(seconds) AS seconds FROM phase GROUP BY worker, phase"):
        seconds[row["worker"], row["phase"]] = row["seconds"]
    workers = sorted({worker for worker, _ in seconds} - {CONTROLLER})
    count = len(report.combinations)
    yield ["phase", *(f"{worker}, s" for worker in workers), "ms a combination", "of workers' time"]
    told = dict.fromkeys(phase for worker, phase in seconds if worker != CONTROLLER)
    for phase in sorted(told, key=lambda phase: -sum(seconds[worker, phase] for worker in workers)):
        yield _row(phase, [seconds[worker, phase] for worker in workers], count, report)
    untold = [report.seconds - sum(seconds[worker, phase] for phase in told) for worker in workers]
    yield _row("xdist, waiting", untold, count, report)
    yield _row("a worker's time", [report.seconds] * len(workers), count, report)
    for worker, phase in sorted(seconds):
        if worker == CONTROLLER:
            yield [f"controller: {phase}", *("" for _ in workers), f"{1000 * seconds[worker, phase] / count:.3f}", ""]


def _row(phase: str, seconds: Sequence[float], count: int, report: Report) -> list[str]:
    share = sum(seconds) / (report.seconds * len(seconds))
    return [phase, *(f"{each:.2f}" for each in seconds), f"{1000 * sum(seconds) / count:.3f}", f"{share:.1%}"]
