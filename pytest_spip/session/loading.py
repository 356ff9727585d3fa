"""Runs that were recorded, read again: for the command line, for comparisons, and for notebooks."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_spip.errors import UsageProblem
from pytest_spip.model import Combo, Plan, Summary
from pytest_spip.names import MODULE_PREFIX
from pytest_spip.record.run_reader import RunReader
from pytest_spip.record.rundb import VERSION, DatabaseError
from pytest_spip.record.rundir import HOME, NEWEST, RunDirectory
from pytest_spip.session.summary import sum_up

__all__ = [
    "all_runs",
    "find_run",
    "is_failing",
    "load",
    "load_run",
    "named_combination",
    "open_run",
    "root_of",
    "runs_in",
]


def load(run: str | os.PathLike[str] = NEWEST, rootdir: str | os.PathLike[str] = "") -> Summary:
    """Return the records of a run: facts, combinations, results by ordinal, groups of failures, where the time went.

    ``run`` is a run's name, ``latest``, or the path of its directory or database; names are looked up below ``rootdir``, the
    nearest directory upwards with runs. Raises ``UsageProblem`` where there is none, or it cannot be read.
    """
    return load_run(find_run(os.fspath(run), root_of(Path(rootdir))))


def root_of(start: Path = Path()) -> Path:
    """Return the nearest directory upwards that has runs; ``start`` where none has."""
    start = start.absolute()
    return next((place for place in (start, *start.parents) if (place / HOME / "runs").is_dir()), start)


def find_run(run: str, rootdir: Path, option: str = "RUN") -> RunDirectory:
    """Return the directory of a run that is named, or whose path is given. Raises ``UsageProblem``."""
    path = Path(run)
    if path.name == "run.sqlite" and path.is_file():
        return RunDirectory(path.parent)
    if os.sep in run and (path / "run.sqlite").is_file():
        return RunDirectory(path)
    return RunDirectory.find(rootdir, run, option)


def all_runs(rootdir: Path) -> list[RunDirectory]:
    """Return the runs below a root directory, the one first that was written to last."""
    return runs_in(rootdir / HOME / "runs")


def runs_in(directory: Path) -> list[RunDirectory]:
    """Return the runs in a directory, the one first that was written to last."""
    dated = []
    for path in directory.glob("*/run.sqlite"):
        with contextlib.suppress(OSError):  # somebody is clearing up
            dated.append((path.stat().st_mtime_ns, path.parent))
    return [RunDirectory(path) for _, path in sorted(dated, reverse=True)]


def named_combination(combos: Sequence[Combo], name: str, run: str) -> Combo:
    """Return the combination that an id, or a node id, names. Raises ``UsageProblem``, with ids that are like it."""
    plain = name.removeprefix(f"{MODULE_PREFIX}::")
    known = {combo.id: combo for combo in combos}
    if plain in known:
        return known[plain]
    near = difflib.get_close_matches(plain, known, n=3, cutoff=0.5)
    fix = f"did you mean {' or '.join(near)}?" if near else "see 'pytest-spip show --json' for those it has"
    raise UsageProblem(name, f"run {run} has no such combination", fix)


def load_run(directory: RunDirectory, option: str = "RUN") -> Summary:
    """Return the records of a run. Raises ``UsageProblem`` where it cannot be read."""
    with open_run(directory, option, "reads", "run it again") as reader:
        plan = Plan(reader.combos(), reader.interpreters(), ())
        return sum_up(directory.database, plan)


def is_failing(directory: RunDirectory) -> bool:
    """Return True if a verdict fails the run. Raises ``UsageProblem`` where it cannot be read."""
    with open_run(directory, "RUN", "reads", "run it again") as reader:
        return reader.failing()


@contextlib.contextmanager
def open_run(directory: RunDirectory, option: str, does: str, fix: str) -> Iterator[RunReader]:
    """Open a run's database; raises ``UsageProblem`` of the option where it is not one of ours, or of another version.

    ``does`` says what is done with schemas that are known, ``fix`` what the user can do.
    """
    name = directory.path.name
    try:
        with contextlib.closing(RunReader(directory.database)) as reader:
            version = reader.version()
            if version is None:
                raise UsageProblem(option, f"run {name} ended before it was planned", fix)
            if version != VERSION:
                what = f"run {name} has schema {version}, and this pytest-spip {does} schema {VERSION}"
                raise UsageProblem(option, what, fix)
            yield reader
    except (DatabaseError, json.JSONDecodeError, KeyError) as error:
        raise UsageProblem(option, f"run {name} cannot be read ({error})", fix) from error
