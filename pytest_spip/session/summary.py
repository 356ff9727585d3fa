"""Closes a run's books: joins what was recorded with the reports, when all is over."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_spip.common.machine import Machine
from pytest_spip.common.trees import rewriting
from pytest_spip.model import CONTROLLER, Combo, Plan, Reason, Result, RunFacts, Summary, Support
from pytest_spip.record.run_reader import RunReader
from pytest_spip.record.rundir import RunDirectory
from pytest_spip.record.timeline import Timeline
from pytest_spip.report.analysis import groups
from pytest_spip.report.limits import Course, Figures, limits, worker_times
from pytest_spip.report.ranges import Cells
from pytest_spip.report.support import support
from pytest_spip.report.triage import triaged
from pytest_spip.session.declared_metadata import declared_metadata

if TYPE_CHECKING:
    from pytest_spip.model import BisectLine

__all__ = ["sum_up", "write_html", "write_trace"]


def sum_up(database: Path, plan: Plan, *, on_disk: bool = False) -> Summary:
    """Return what a run came to, all its sessions together; what limited it is about the last one."""
    reader, timeline = RunReader(database), Timeline(database)
    try:
        work = reader.work()
        seconds, cpu, iowait = reader.pace()
        began, lasted, judged = reader.last_session()
        course = Course(began, timeline.provisioned() or began, began + lasted)
        controller = timeline.processor_share(CONTROLLER)
        workers = worker_times(timeline.spans(), course)
        results = reader.results()
        pressures = [sample.memory_pressure or 0.0 for sample in timeline.host()]
        figures = Figures(
            workers,
            lasted,
            Machine().processors,
            cpu=cpu,
            iowait=iowait,
            memory=sum(pressures) / len(pressures) if pressures else 0.0,
            controller=controller,
            on_disk=on_disk,
            fetched=any(work.get(what) for what in ("resolved", "downloaded", "built")),
            timed_out=any(result.verdict.reason is Reason.TIMEOUT for result in results.values()),
        )
        facts = reader.facts()
        cells = Cells(plan.combos, plan.interpreters, results)
        return Summary(
            facts=facts,
            combos=plan.combos,
            interpreters=plan.interpreters,
            results=results,
            selected=frozenset({combo.ordinal for combo in plan.combos} - reader.deselected()),
            groups=triaged(groups(plan.combos, results), cells),
            phases=reader.phases(),
            work=work,
            seconds=seconds,
            cpu=cpu,
            iowait=iowait,
            disagreements=tuple(reader.disagreements()),
            workers=workers,
            controller=controller * lasted / judged if judged else 0.0,
            limits=tuple(limits(figures)),
            untold=timeline.untold(),
            support=_supported(plan, cells, reader, facts),
            bisect=_bisected(plan, results, reader) if facts.settings.get("bisect") else (),
        )
    finally:
        timeline.close()
        reader.close()


def _bisected(plan: Plan, results: Mapping[int, Result], reader: RunReader) -> tuple[BisectLine, ...]:
    from pytest_spip.session.bisect_report import bisect_report  # few runs need it

    return bisect_report(plan, results, reader)


def _supported(plan: Plan, cells: Cells, reader: RunReader, facts: RunFacts) -> tuple[Support, ...]:
    project = str(facts.project["name"]) if facts.project else ""
    metadata = declared_metadata(plan.combos, reader, project)
    return support(cells, reader.releases(), metadata, metadata.get(project))


def write_trace(database: Path, summary: Summary, path: Path) -> None:
    """Write a run's trace. Raises ``OSError``."""
    from pytest_spip.report import trace  # few sessions write one

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


def write_html(directory: RunDirectory, summary: Summary, path: Path) -> None:
    """Write a run's page. Raises ``OSError``."""
    from pytest_spip.report import html  # few sessions write one

    def lock(combo: Combo) -> str:
        with contextlib.suppress(OSError):  # what was never provisioned has none
            return (directory.locks / combo.lock_name).read_text("utf-8", "replace")
        return ""

    with contextlib.closing(Timeline(directory.database)) as timeline:
        page = html.render(
            summary,
            lock=lock,
            spans=timeline.spans(),
            provisioning=timeline.provisioning(),
            host=timeline.host(),
        )
    with rewriting(path) as stream:
        stream.write(page)
