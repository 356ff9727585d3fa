"""Closes a run's books: joins what was recorded with the reports, when all is over."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from pytest_spip.model import CONTROLLER, Plan
from pytest_spip.record.rundb import RunReader
from pytest_spip.record.timeline import Timeline
from pytest_spip.report import trace
from pytest_spip.report.analysis import Summary, summarise
from pytest_spip.report.limits import Course, Figures, limits, worker_times

__all__ = ["sum_up", "write_trace"]


def sum_up(
    database: Path,
    plan: Plan,
    selected: Iterable[int],
    *,
    began: float,
    seconds: float,
    cpu: float,
    iowait: float,
    on_disk: bool,
) -> Summary:
    """Return what a session came to, of which one knows when it ``began`` (since the epoch) and how long it ran."""
    reader, timeline = RunReader(database), Timeline(database)
    try:
        work = reader.work()
        course = Course(began, timeline.provisioned() or began, began + seconds)
        workers = worker_times(timeline.spans(), course)
        pressures = [sample.memory_pressure or 0.0 for sample in timeline.host()]
        figures = Figures(
            workers,
            seconds,
            os.cpu_count() or 1,
            cpu=cpu,
            iowait=iowait,
            memory=sum(pressures) / len(pressures) if pressures else 0.0,
            controller=timeline.processor_share(CONTROLLER),
            on_disk=on_disk,
            fetched=any(work.get(what) for what in ("resolved", "downloaded", "built")),
        )
        return summarise(
            facts=reader.facts(),
            combos=plan.combos,
            interpreters=plan.interpreters,
            results=reader.results(),
            selected=selected,
            phases=reader.phases(),
            work=work,
            seconds=seconds,
            cpu=cpu,
            iowait=iowait,
            disagreements=reader.disagreements(),
            workers=workers,
            limits=limits(figures),
            untold=timeline.untold(),
        )
    finally:
        timeline.close()
        reader.close()


def write_trace(database: Path, summary: Summary, path: Path) -> None:
    """Write a run's trace. Raises ``OSError``."""
    timeline = Timeline(database)
    try:
        trace.write(
            summary,
            path,
            began=timeline.began(),
            workers=timeline.spans(),
            provisioning=timeline.provisioning(),
            host=timeline.host(),
        )
    finally:
        timeline.close()
