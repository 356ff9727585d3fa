"""``pytest-spip compare BASE HEAD``: what changed between two runs, or two JSON reports."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from pytest_spip.cli.runs import add_rootdir, add_run, chosen_root, command_parser, console, write_lines
from pytest_spip.model import ChangeKind, Comparison
from pytest_spip.report.change_lines import comparison_lines
from pytest_spip.report.comparison import compare as compared
from pytest_spip.report.jsonfile import comparison_document
from pytest_spip.session.reference import read_judged

__all__ = ["compare", "parser"]


def compare(arguments: Sequence[str]) -> int:
    """Print what changed; return the exit status: 1 for what ``--fail-on`` names, 0 otherwise."""
    given = parser().parse_args(arguments)
    root, here = chosen_root(given), Path()
    before, after = (
        read_judged(name, root, here, option) for name, option in ((given.base, "BASE"), (given.head, "HEAD"))
    )
    comparison = compared(given.base, before, after)
    to = console()
    if given.json:
        to.print(json.dumps(comparison_document(comparison), indent=1))
    else:
        write_lines(comparison_lines(comparison), to)
    return int(_fails(comparison, given.fail_on))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    made = command_parser("compare", "What changed between two runs: names, paths, latest, or JSON reports.")
    add_run(made, "base", metavar="BASE", help="the earlier run")
    add_run(made, "head", metavar="HEAD", help="the later run")
    made.add_argument("--json", action="store_true", help="all changes, for programs")
    made.add_argument(
        "--fail-on",
        choices=("any", "regressed", "never"),
        default="regressed",
        help="exit with status 1 for any failure in HEAD, for what regressed, or never (default: regressed)",
    )
    add_rootdir(made)
    return made


def _fails(comparison: Comparison, fail_on: str) -> bool:
    if fail_on == "any":
        return any(change.after and change.after.outcome.is_bad for change in comparison.changes)
    return fail_on == "regressed" and bool(comparison.of(ChangeKind.REGRESSED))
