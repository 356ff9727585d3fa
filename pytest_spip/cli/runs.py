"""What commands about runs share: the arguments that name one, and lines for a person."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.text import Text

from pytest_spip.record.rundir import NEWEST, RunDirectory
from pytest_spip.report.terminal import Line
from pytest_spip.session.loading import find_run, root_of

__all__ = ["add_rootdir", "chosen_root", "chosen_run", "command_parser", "console", "write_lines"]


def command_parser(name: str, purpose: str) -> argparse.ArgumentParser:
    """Return the parser of a command."""
    return argparse.ArgumentParser(prog=f"pytest-spip {name}", description=purpose)


def add_rootdir(parser: argparse.ArgumentParser) -> None:
    """Let the user say where runs are."""
    what = "the directory that has .spip (the nearest one upwards)"
    parser.add_argument("--rootdir", type=Path, metavar="DIR", help=what)


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
