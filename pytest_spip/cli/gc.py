"""``pytest-spip gc``: removes recorded runs that are old, or more than a disk is to hold."""

from __future__ import annotations

import argparse
import math
import re
import time
from collections.abc import Sequence

from pytest_spip.cli.runs import add_rootdir, chosen_root, command_parser, console
from pytest_spip.common.plural import plural
from pytest_spip.session.collecting import KeptRun, doomed, measured, remove_run
from pytest_spip.session.loading import all_runs

__all__ = ["gc", "parser"]

UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE | re.ASCII)


def gc(arguments: Sequence[str]) -> int:
    """Remove runs; return the exit status: 1 where one could not be removed."""
    given = parser().parse_args(arguments)
    to = console()
    runs = measured(all_runs(chosen_root(given)), time.time())
    gone: list[KeptRun] = []
    kept: list[KeptRun] = []
    for run in doomed(runs, older=given.older, size=given.size):
        (gone if given.dry_run or remove_run(run.directory) else kept).append(run)
    for run in gone:
        to.print(f"{'would remove' if given.dry_run else 'removed'} {_text(run)}")
    for run in kept:
        to.print(f"kept {_text(run)}: a process works on it, or it cannot be removed")
    left = len(runs) - len(gone)
    freed = sum(run.size for run in gone)
    to.print(
        f"{plural(len(gone), 'run')}, {freed / 1e6:.1f} MB; {plural(left, 'run')} {'stays' if left == 1 else 'stay'}"
    )
    return int(bool(kept))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    made = command_parser("gc", "Remove recorded runs: the old ones, and the oldest until the others are small enough.")
    made.add_argument(
        "--older", type=_seconds, default=_seconds("30d"), metavar="TIME", help="such as 12h or 30d (30d)"
    )
    made.add_argument(
        "--size", type=_bytes, default=math.inf, metavar="SIZE", help="of all runs that stay, such as 10GB"
    )
    made.add_argument("--dry-run", action="store_true", help="say what would go")
    add_rootdir(made)
    return made


def _text(run: KeptRun) -> str:
    return f"{run.directory.path.name} ({run.age / 86400:.1f} days, {run.size / 1e6:.1f} MB)"


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", text.strip())
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write it like 12h or 30d")
    return float(found[1]) * UNITS[found[2]]


def _bytes(text: str) -> float:
    found = SIZE.fullmatch(text.strip())
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write it like 500MB or 10GB")
    scale: int = 1000 ** " KMGT".index(found[2].upper() or " ")
    return float(found[1]) * scale
