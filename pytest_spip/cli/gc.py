"""``pytest-spip gc``: removes what is old, or more than a disk is to hold, of recorded runs and of the user's cache."""

from __future__ import annotations

import argparse
import math
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from pytest_spip.cli.runs import add_rootdir, chosen_root, command_parser, console
from pytest_spip.common.cache import Cache, cache_root
from pytest_spip.common.cache_folders import FOLDERS, CacheEntry
from pytest_spip.common.plural import plural
from pytest_spip.errors import UsageProblem
from pytest_spip.session.cache_collecting import OTHERS, collect_cache
from pytest_spip.session.collecting import KeptRun, doomed, measured, remove_run
from pytest_spip.session.loading import all_runs

__all__ = ["gc", "parser"]

UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE | re.ASCII)
RUNS, CACHE = "runs", "cache"


def gc(arguments: Sequence[str]) -> int:
    """Remove runs, and entries of the cache; return the exit status: 1 where something stays that was to go."""
    given = parser().parse_args(arguments)
    to = console()
    stays = [
        given.only != CACHE and _collect_runs(given, to),
        given.only != RUNS and _collect_cache(given, to),
    ]
    return int(any(stays))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    made = command_parser(
        "gc",
        "Remove what is old, and the oldest of the rest until it is small enough: of recorded runs, and of the cache.",
    )
    made.add_argument(
        "--older", type=_seconds, default=_seconds("30d"), metavar="TIME", help="such as 12h, 30d or never (30d)"
    )
    what = "of all runs that stay, and of the cache, such as 10GB"
    made.add_argument("--size", type=_bytes, default=math.inf, metavar="SIZE", help=what)
    made.add_argument("--only", choices=(RUNS, CACHE), help="leave the other alone")
    made.add_argument("--dry-run", action="store_true", help="say what would go")
    add_rootdir(made)
    made.add_argument("--spip-cache", default="", metavar="DIR", help="the cache (the user's cache directory)")
    return made


def _collect_runs(given: argparse.Namespace, to: Console) -> bool:
    """Remove runs; return True where one stays that was to go."""
    runs = measured(all_runs(chosen_root(given)), time.time())
    gone: list[KeptRun] = []
    kept: list[KeptRun] = []
    for run in doomed(runs, older=given.older, size=given.size):
        (gone if given.dry_run or remove_run(run.directory) else kept).append(run)
    for run in gone:
        to.print(f"{_removed(given)} {_text(run)}")
    for run in kept:
        to.print(f"kept {_text(run)}: a process works on it, or it cannot be removed")
    left = len(runs) - len(gone)
    to.print(f"{plural(len(gone), 'run')}, {_megabytes(gone)}; {plural(left, 'run')} {_stay(left)}")
    return bool(kept)


def _collect_cache(given: argparse.Namespace, to: Console) -> bool:
    """Remove entries of the cache; return True where more stays than it is to hold."""
    cache = Cache(cache_root(given.spip_cache, Path.cwd()))
    if not cache.root.is_dir():
        to.print(f"there is no cache at {cache.root}")
        return False
    if not cache.is_known:
        what = f"{cache.root} is no cache of pytest-spip's, and may hold anything"
        raise UsageProblem("--spip-cache", what, "name the directory that sessions were given")
    done = collect_cache(cache, older=given.older, size=given.size, dry_run=given.dry_run)
    gone, stay = _by_folder(done.gone), _by_folder(done.stay)
    for folder in (*FOLDERS, *OTHERS):
        if folder in gone or folder in stay:
            to.print(f"{folder}: {_line(given, gone[folder], stay[folder])}")
    to.print(f"cache: {_line(given, done.gone, done.stay)}")
    if done.over:
        to.print(
            f"{done.over / 1e6:.1f} MB more than it is to hold: running sessions use them, or they cannot be removed"
        )
    return bool(done.over)


def _line(given: argparse.Namespace, gone: Sequence[CacheEntry], stay: Sequence[CacheEntry]) -> str:
    removed = f"{_removed(given)} {len(gone)}, {_megabytes(gone)}; " if gone else ""
    return f"{removed}{len(stay)} {_stay(len(stay))}, {_megabytes(stay)}"


def _by_folder(entries: Sequence[CacheEntry]) -> dict[str, list[CacheEntry]]:
    found: dict[str, list[CacheEntry]] = defaultdict(list)
    for entry in entries:
        found[entry.folder].append(entry)
    return found


def _removed(given: argparse.Namespace) -> str:
    return "would remove" if given.dry_run else "removed"


def _stay(count: int) -> str:
    return "stays" if count == 1 else "stay"


def _megabytes(things: Iterable[KeptRun | CacheEntry]) -> str:
    return f"{sum(thing.size for thing in things) / 1e6:.1f} MB"


def _text(run: KeptRun) -> str:
    return f"{run.directory.path.name} ({run.age / 86400:.1f} days, {run.size / 1e6:.1f} MB)"


def _seconds(text: str) -> float:
    if text.strip() == "never":
        return math.inf
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", text.strip())
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write it like 12h, 30d or never")
    return float(found[1]) * UNITS[found[2]]


def _bytes(text: str) -> float:
    found = SIZE.fullmatch(text.strip())
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write it like 500MB or 10GB")
    scale: int = 1000 ** " KMGT".index(found[2].upper() or " ")
    return float(found[1]) * scale
