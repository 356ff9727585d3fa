"""``pytest-spip merge OUT RUN...``: makes one run of those of all shards, and prints what it came to."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from pytest_spip.cli.runs import add_rootdir, add_run, chosen_root, command_parser, console, status_of, write_lines
from pytest_spip.cli.show import run_lines
from pytest_spip.option_values import name
from pytest_spip.session.loading import find_run, load_run
from pytest_spip.session.merging import merge_runs

__all__ = ["merge", "parser"]


def merge(arguments: Sequence[str]) -> int:
    """Merge runs; return the exit status that a run without shards would have had."""
    given = parser().parse_args(arguments)
    root = chosen_root(given)
    out = name("OUT", given.out)
    directory = merge_runs([find_run(run, root) for run in given.runs], root, out)
    summary = load_run(directory)
    write_lines(run_lines(summary), console())
    return status_of(summary, directory)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    made = command_parser(
        "merge", "One run of those that --spip-shard=1/N to N/N made; the exit status is that of the whole."
    )
    made.add_argument("out", metavar="OUT", help="name of the run that is made")
    add_run(made, "runs", nargs="+", metavar="RUN", help="the runs of all shards: names, or paths of their directories")
    add_rootdir(made)
    return made
