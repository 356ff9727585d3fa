"""The reports that we write ourselves, by kind: for ``--spip-report`` and for ``pytest-spip report``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from pytest_spip.model import Summary
from pytest_spip.record.rundir import RunDirectory
from pytest_spip.report import jsonfile
from pytest_spip.report.markdown import markdown
from pytest_spip.report.svg import badge, grid_svg
from pytest_spip.report.table import csv_text
from pytest_spip.session.summary import write_html, write_trace

__all__ = ["FILE_REPORTS", "FileReport", "Recorded"]


@dataclasses.dataclass(frozen=True, slots=True)
class Recorded:
    """A run that reports are written of: what it came to, and where its files are."""

    summary: Summary
    directory: RunDirectory


@dataclasses.dataclass(frozen=True, slots=True)
class FileReport:
    """A kind of report that is a file; ``write`` may raise ``OSError``."""

    purpose: str
    write: Callable[[Recorded, Path], None]


def _write(path: Path, text: str, newline: str | None = None) -> None:
    path.write_text(text.encode("utf-8", "replace").decode(), "utf-8", newline=newline)


FILE_REPORTS: Mapping[str, FileReport] = {
    "json": FileReport("everything, schema 1", lambda run, path: jsonfile.write(run.summary, path)),
    "markdown": FileReport(
        "tables for a README, an issue or a CI job", lambda run, path: _write(path, markdown(run.summary))
    ),
    "csv": FileReport("a line for each combination", lambda run, path: _write(path, csv_text(run.summary), newline="")),
    "svg": FileReport("a picture of the grid", lambda run, path: _write(path, grid_svg(run.summary))),
    "badge": FileReport("a badge as SVG", lambda run, path: _write(path, badge(run.summary))),
    "html": FileReport("a page to read and share", lambda run, path: write_html(run.directory, run.summary, path)),
    "trace": FileReport(
        "a timeline for Perfetto", lambda run, path: write_trace(run.directory.database, run.summary, path)
    ),
}
"""By kind."""
