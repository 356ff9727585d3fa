"""``pytest-spip list``: the runs below a directory, the newest first."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from pytest_spip.cli.runs import add_rootdir, chosen_root, command_parser, console
from pytest_spip.errors import UsageProblem
from pytest_spip.model import Outcome
from pytest_spip.record.rundir import RunDirectory
from pytest_spip.session.loading import all_runs, open_run

__all__ = ["list_runs", "parser"]


def list_runs(arguments: Sequence[str]) -> int:
    """Print a line for each run; return the exit status."""
    given = parser().parse_args(arguments)
    root = chosen_root(given)
    rows = [_row(run) for run in all_runs(root)]
    to = console()
    if given.json:
        to.print(json.dumps(rows, indent=1))
        return 0
    if not rows:
        to.print(f"no runs below {root}")
        return 0
    for row in rows:
        to.print("  ".join([row["run"], row["started"], _text(row), row["command"]]))
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    made = command_parser("list", "The runs below a directory, the newest first.")
    add_rootdir(made)
    made.add_argument("--json", action="store_true", help="an array of objects, for programs")
    return made


def _row(run: RunDirectory) -> dict[str, Any]:
    row: dict[str, Any] = {"run": run.path.name, "started": "", "command": "", "problem": "", "path": str(run.path)}
    try:
        with open_run(run, "RUN", "reads", "run it again") as reader:
            facts, counts, (planned, missing) = reader.facts(), reader.counts(), reader.selected()
    except UsageProblem as error:  # an old schema, or nothing planned yet: the others are listed all the same
        return {**row, "problem": error.what}
    return {
        **row,
        "started": facts.started,
        "command": facts.command,
        "finished": facts.finished,
        "planned": planned,
        "not_run": missing,
        "outcomes": {outcome.value: counts[outcome] for outcome in Outcome if outcome in counts},
    }


def _text(row: dict[str, Any]) -> str:
    if row["problem"]:
        return f"({row['problem']})"
    counts = ", ".join(f"{count} {name}" for name, count in row["outcomes"].items()) or "no verdicts"
    missing = f", {row['not_run']} not run" if row["not_run"] else ""
    return f"{row['planned']}: {counts}{missing}"
