"""``pytest-spip completion SHELL``: what has a shell complete commands, options, names of runs, and ids."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import argcomplete
from argcomplete.shell_integration import shellcode

from pytest_spip.cli.runs import command_parser

__all__ = ["complete", "completion", "parser"]

SHELLS = ("bash", "zsh", "fish")


def completion(arguments: Sequence[str]) -> int:
    """Print the script of a shell; return the exit status."""
    given = parser().parse_args(arguments)
    sys.stdout.write(shellcode(["pytest-spip"], shell=given.shell).rstrip() + "\n")
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    made = command_parser("completion", "What has a shell complete commands, options, runs and ids.")
    made.add_argument("shell", choices=SHELLS, help="the shell that reads it")
    return made


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that asks what it could complete, and exit."""
    argcomplete.autocomplete(parser)
