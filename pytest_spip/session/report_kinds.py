"""The reports that we write ourselves, by kind: for ``--spip-report`` and for ``pytest-spip report``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from pytest_spip.model import Summary
from pytest_spip.record.rundir import RunDirectory
from pytest_spip.report import jsonfile
from pytest_spip.session.summary import write_trace

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


FILE_REPORTS: Mapping[str, FileReport] = {
    "json": FileReport("everything, schema 1", lambda run, path: jsonfile.write(run.summary, path)),
    "trace": FileReport(
        "a timeline for Perfetto", lambda run, path: write_trace(run.directory.database, run.summary, path)
    ),
}
"""By kind."""
