"""``pytest-spip report [RUN] --KIND PATH``: writes the reports of a run that was recorded."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pytest_spip.cli.runs import add_rootdir, add_run, chosen_run, command_parser, console
from pytest_spip.errors import UsageProblem
from pytest_spip.session.loading import load_run
from pytest_spip.session.report_kinds import FILE_REPORTS, Recorded

__all__ = ["parser", "report"]


def report(arguments: Sequence[str]) -> int:
    """Write reports; return the exit status."""
    given = parser().parse_args(arguments)
    wanted = {kind: path for kind in FILE_REPORTS if (path := getattr(given, kind)) is not None}
    if not wanted:
        names = ", ".join(f"--{kind}" for kind in FILE_REPORTS)
        raise UsageProblem("report", "no report is named", f"add one of {names}")
    directory = chosen_run(given)
    recorded = Recorded(load_run(directory), directory)
    for kind, path in wanted.items():
        try:
            FILE_REPORTS[kind].write(recorded, path)
        except OSError as error:
            raise UsageProblem(
                f"--{kind}", f"cannot write {path} ({error.strerror})", "name a file elsewhere"
            ) from error
        console(stderr=True).print(f"wrote {path}")
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    made = command_parser("report", "Write the reports of a run.")
    add_run(made, "run", nargs="?", default="", metavar="RUN", help="a run, or its directory (the newest)")
    for kind, one in FILE_REPORTS.items():
        made.add_argument(f"--{kind}", type=Path, metavar="PATH", help=one.purpose)
    add_rootdir(made)
    return made
