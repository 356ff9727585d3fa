"""``pytest-spip report [RUN] --KIND PATH``: writes the reports of a run that was recorded."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_spip.cli.runs import add_rootdir, add_run, chosen_run, command_parser, console, status_of, write_lines
from pytest_spip.cli.show import run_lines
from pytest_spip.errors import UsageProblem
from pytest_spip.session.extras import shared_report
from pytest_spip.session.loading import load_run
from pytest_spip.session.report_kinds import FILE_REPORTS, Recorded

__all__ = ["parser", "report"]


def report(arguments: Sequence[str]) -> int:
    """Write reports; return the exit status."""
    given = parser().parse_args(arguments)
    wanted = {kind: path for kind in FILE_REPORTS if (path := getattr(given, kind)) is not None}
    if "://" in given.run:
        return _report_shared(given, wanted)
    if not wanted:
        names = ", ".join(f"--{kind}" for kind in FILE_REPORTS)
        raise UsageProblem("report", "no report is named", f"add one of {names}")
    directory = chosen_run(given)
    _write(Recorded(load_run(directory), directory), wanted)
    return 0


def _report_shared(given: argparse.Namespace, wanted: Mapping[str, Path]) -> int:
    """Report what all hosts have shared so far; return the exit status that a session on one host would have had."""
    with shared_report("RUN").shared_run_directory(given.run, given.name) as directory:
        summary = load_run(directory)
        write_lines(run_lines(summary), console())
        _write(Recorded(summary, directory), wanted)
        return status_of(summary, directory)


def _write(recorded: Recorded, wanted: Mapping[str, Path]) -> None:
    for kind, path in wanted.items():
        try:
            FILE_REPORTS[kind].write(recorded, path)
        except OSError as error:
            raise UsageProblem(
                f"--{kind}", f"cannot write {path} ({error.strerror})", "name a file elsewhere"
            ) from error
        console(stderr=True).print(f"wrote {path}")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    made = command_parser("report", "Write the reports of a run.")
    what = "a run, its directory, or the URL of a database that hosts share (the newest)"
    add_run(made, "run", nargs="?", default="", metavar="RUN", help=what)
    made.add_argument("--run", dest="name", default="", metavar="NAME", help="the run in that database (the newest)")
    for kind, one in FILE_REPORTS.items():
        made.add_argument(f"--{kind}", type=Path, metavar="PATH", help=one.purpose)
    add_rootdir(made)
    return made
