"""The command ``pytest-spip``: a table of commands, a module for each."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

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
    "merge": "one run of those of all shards: pytest-spip merge nightly shard-1 shard-2",
    "status": "how a run stands that several hosts share: pytest-spip status postgresql://10.0.0.7/spip",
    "coord": "records that agents of several hosts exchange: pytest-spip coord pull URL --json",
    "serve": "a private PostgreSQL for the sessions of several hosts, with a password: pytest-spip serve --address 10.0.0.7",
    "gc": "remove what is old, or more than a disk is to hold, of recorded runs and of the cache",
    "completion": "print what has a shell complete commands, options, runs and ids: pytest-spip completion bash",
    "doctor": "say what this machine offers, and the fix for what is missing",
}
"""By name, which is that of a module here and of a function in it: what it is for."""
MODULES = {"list": "list_runs"}
"""Those of commands that Python has another use for."""
COMPLETING = "_ARGCOMPLETE"
"""Variable that is set when a shell asks what it could complete."""
USAGE = 4
"""pytest's exit status of a usage error."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status."""
    given = list(sys.argv[1:] if argv is None else argv)
    if COMPLETING in os.environ:
        module_of("completion").complete(complete_parser(os.environ.get("COMP_LINE", "")))
    parser, commands = _parser()
    for name, purpose in COMMANDS.items():
        # Each command reads its own arguments, --help among them; those of ``run`` are pytest's.
        commands.add_parser(name, help=purpose, add_help=False, prefix_chars="\0")
    name, rest = parser.parse_args(given[:1]).command, given[1:]
    command: Callable[[Sequence[str]], int] = getattr(module_of(name), MODULES.get(name, name))
    try:
        return command(rest)
    except SpipError as error:
        print(f"pytest-spip {name}: {error}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:  # who reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def complete_parser(line: str) -> argparse.ArgumentParser:
    """Return the parser of a line that is being typed: it knows the arguments of the command that is named there."""
    parser, commands = _parser()
    typed = line.split()
    for name, purpose in COMMANDS.items():
        parents = [module_of(name).parser()] if name in typed[1:2] else []
        commands.add_parser(name, help=purpose, parents=parents, add_help=False)
    return parser


def module_of(name: str) -> Any:
    """Return the module of a command: with a function of its name, and its ``parser``."""
    return importlib.import_module(f"pytest_spip.cli.{MODULES.get(name, name)}")


def _parser() -> tuple[argparse.ArgumentParser, Any]:
    parser = argparse.ArgumentParser(prog="pytest-spip", description="Every release of a package x every Python.")
    return parser, parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
