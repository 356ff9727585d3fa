"""The command ``pytest-spip``: a table of commands, a module for each."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence

from pytest_spip.errors import SpipError

__all__ = ["main"]

COMMANDS = {
    "run": "a matrix, apart from the pytest configuration of the project: pytest-spip run --spip-matrix=colorama -n 2",
    "list": "the runs below this directory, the newest first",
    "show": "one combination of a run, or the summary of a run",
    "report": "write the reports of a run: pytest-spip report latest --json out.json",
    "export": "an environment, or what failed, for other tools: pytest-spip export latest --as=tox",
    "shell": "a shell, or a command, in a combination's environment: pytest-spip shell 'demo[1.0-py312]' -- python",
    "compare": "what changed between two runs: pytest-spip compare BASE HEAD",
    "gc": "remove recorded runs that are old, or more than a disk is to hold",
    "doctor": "say what this machine offers, and the fix for what is missing",
}
"""By name, which is that of a module here and of a function in it: what it is for."""
MODULES = {"list": "list_runs"}
"""Those of commands that Python has another use for."""
USAGE = 4
"""pytest's exit status of a usage error."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status."""
    given = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="pytest-spip", description="Every release of a package x every Python.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, purpose in COMMANDS.items():
        # Each command reads its own arguments, --help among them; those of ``run`` are pytest's.
        commands.add_parser(name, help=purpose, add_help=False, prefix_chars="\0")
    name, rest = parser.parse_args(given[:1]).command, given[1:]
    module = importlib.import_module(f"pytest_spip.cli.{MODULES.get(name, name)}")
    command: Callable[[Sequence[str]], int] = getattr(module, MODULES.get(name, name))
    try:
        return command(rest)
    except SpipError as error:
        print(f"pytest-spip {name}: {error}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:  # who reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
