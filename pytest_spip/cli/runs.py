"""What commands about runs share: the arguments that name one, and lines for a person."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from pytest_spip.errors import UsageProblem
from pytest_spip.model import Summary
from pytest_spip.record.rundir import NEWEST, RunDirectory
from pytest_spip.report.terminal import Line
from pytest_spip.session.loading import all_runs, find_run, is_failing, open_run, root_of

__all__ = [
    "add_rootdir",
    "add_run",
    "add_shared_run",
    "add_what",
    "chosen_root",
    "chosen_run",
    "command_parser",
    "completed",
    "console",
    "ids",
    "status_of",
    "write_lines",
]

FAILED, UNDONE, NOTHING = 1, 2, 5
"""pytest's exit statuses of failures, of a session that was interrupted, and of one that tried nothing."""
Completer = Callable[..., Sequence[str]]
"""Returns what an argument may be; it is given what was typed before it, as keywords (see argcomplete)."""


def command_parser(name: str, purpose: str) -> argparse.ArgumentParser:
    """Return the parser of a command."""
    return argparse.ArgumentParser(prog=f"pytest-spip {name}", description=purpose)


def add_rootdir(parser: argparse.ArgumentParser) -> None:
    """Let the user say where runs are."""
    what = "the directory that has .spip (the nearest one upwards)"
    parser.add_argument("--rootdir", type=Path, metavar="DIR", help=what)


def add_run(parser: argparse.ArgumentParser, name: str, **details: Any) -> None:
    """Let the user name a run; ``details`` are those of ``add_argument``."""
    completed(parser.add_argument(name, **details), names)


def add_shared_run(parser: argparse.ArgumentParser) -> None:
    """Let the user name a database that hosts share, and a run there."""
    parser.add_argument("url", metavar="URL", help="the database that hosts share, as --spip-queue names it")
    parser.add_argument("--run", default="", metavar="NAME", help="the run there (the newest)")


def add_what(parser: argparse.ArgumentParser, purpose: str) -> None:
    """Let the user name a combination and its run, or a run."""
    what = parser.add_argument("what", nargs="?", default="", metavar="ID|RUN", help=purpose)
    completed(what, lambda **given: [*names(**given), *ids(**given)])
    add_run(parser, "--run", default="", help="the run of the combination (the newest)")


def completed(argument: argparse.Action, completer: Completer) -> None:
    """Have a shell complete an argument."""
    vars(argument)["completer"] = completer


def names(*, parsed_args: argparse.Namespace, **_: object) -> Sequence[str]:
    """Return the names of the runs that there are."""
    found = [run.path.name for run in all_runs(chosen_root(parsed_args))]
    return [*found, NEWEST] if found else []


def ids(*, parsed_args: argparse.Namespace, **_: object) -> Sequence[str]:
    """Return the ids of the combinations of the run that is named, or of the newest."""
    try:
        with open_run(find_run(getattr(parsed_args, "run", "") or NEWEST, chosen_root(parsed_args)), "", "", "") as run:
            return [combo.id for combo in run.combos()]
    except UsageProblem:
        return []


def chosen_root(arguments: argparse.Namespace) -> Path:
    """Return the directory whose runs are meant."""
    return arguments.rootdir or root_of()


def chosen_run(arguments: argparse.Namespace, name: str = "") -> RunDirectory:
    """Return the run that is named; the newest where none is. Raises ``UsageProblem``."""
    return find_run(name or arguments.run or NEWEST, chosen_root(arguments))


def console(*, stderr: bool = False) -> Console:
    """Return what writes to a terminal or a file: colours only on a terminal, and never with NO_COLOR."""
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)


def write_lines(lines: Iterable[Line], to: Console) -> None:
    """Write lines of the terminal's report."""
    for line in lines:
        to.print(Text.assemble(*((text, style) for text, style in line)))


def status_of(summary: Summary, directory: RunDirectory) -> int:
    """Return the exit status that a session had that ran all of a run."""
    if is_failing(directory):
        return FAILED
    if summary.missing:
        return UNDONE
    return 0 if summary.tried else NOTHING
