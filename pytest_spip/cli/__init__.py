"""The command ``pytest-spip``: a table of commands, a module for each."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence

__all__ = ["main"]

COMMANDS = {
    "run": "a matrix, apart from the pytest configuration of the project: pytest-spip run --spip-matrix=colorama -n 2",
    "doctor": "say what this machine offers, and the fix for what is missing",
}
"""By name, which is that of a module here and of a function in it: what it is for."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status."""
    given = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="pytest-spip", description="Every release of a package x every Python.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, purpose in COMMANDS.items():
        # Each command reads its own arguments, --help among them; those of ``run`` are pytest's.
        commands.add_parser(name, help=purpose, add_help=False, prefix_chars="\0")
    name, rest = parser.parse_args(given[:1]).command, given[1:]
    command: Callable[[Sequence[str]], int] = getattr(importlib.import_module(f"pytest_spip.cli.{name}"), name)
    return command(rest)
