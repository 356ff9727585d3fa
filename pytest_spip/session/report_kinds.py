"""The reports that we write ourselves, by kind: for ``--spip-report`` and for ``pytest-spip report``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from pytest_spip.model import Summary
from pytest_spip.record.rundir import RunDirectory
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


# Each loads its module when it writes: a session that asks for none of them need not wait for the imports.


def _json(run: Recorded, path: Path) -> None:
    from pytest_spip.report import jsonfile

    jsonfile.write(run.summary, path)


def _markdown(run: Recorded, path: Path) -> None:
    from pytest_spip.report.markdown import markdown

    _write(path, markdown(run.summary))


def _csv(run: Recorded, path: Path) -> None:
    from pytest_spip.report.table import csv_text

    _write(path, csv_text(run.summary), newline="")


def _junit(run: Recorded, path: Path) -> None:
    from pytest_spip.report.junit import junit

    _write(path, junit(run.summary))


def _svg(run: Recorded, path: Path) -> None:
    from pytest_spip.report.svg import grid_svg

    _write(path, grid_svg(run.summary))


def _badge(run: Recorded, path: Path) -> None:
    from pytest_spip.report.svg import badge

    _write(path, badge(run.summary))


FILE_REPORTS: Mapping[str, FileReport] = {
    "json": FileReport("everything, schema 1", _json),
    "markdown": FileReport("tables for a README, an issue or a CI job", _markdown),
    "csv": FileReport("a line for each combination", _csv),
    "junit": FileReport("JUnit's XML, with the tests of each suite", _junit),
    "svg": FileReport("a picture of the grid", _svg),
    "badge": FileReport("a badge as SVG", _badge),
    "html": FileReport("a page to read and share", lambda run, path: write_html(run.directory, run.summary, path)),
    "trace": FileReport(
        "a timeline for Perfetto", lambda run, path: write_trace(run.directory.database, run.summary, path)
    ),
}
"""By kind."""
