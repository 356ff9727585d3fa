"""Measures a first run, with empty caches, beside a parallel loop of uv with an empty cache: ``python -m benchmarks.coldstart``.

Both ask the real index for everything, build what has no wheel, and run every combination, those that fail too; they
take turns. The exit status is 2 when there was nothing to measure.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import shutil
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import matrix
from benchmarks.rivals import Lap, UvRun, importing
from benchmarks.tables import say, table
from benchmarks.wheels import NEWEST

__all__ = ["main"]

FIRST = ("cache", "uv", "uv-cache", "loop")
"""Directories, below that of the measurement, that a first run must not find."""


@dataclasses.dataclass(frozen=True)
class Round:
    """One run of ours, its seconds in all, and one of the loop."""

    ours: matrix.Report
    loop: Lap

    @property
    def ratio(self) -> float:
        """How many times as long the loop took."""
        return self.loop.seconds / self.ours.wall


def main(argv: Sequence[str] | None = None) -> int:
    """Plan, let both begin with nothing, in turn, print the table and return the exit status."""
    arguments = parsed(argv)
    with matrix.workplace(arguments) as directory:
        try:
            asked = matrix.matrix_of(arguments)
            combinations = [each for each in matrix.planned(asked, directory / "plan") if each.path]
            say(f"{len(combinations)} combinations")
            rounds = list(itertools.islice(raced(asked, combinations, arguments, directory), arguments.rounds))
        except matrix.Unmeasurable as failure:
            say(str(failure))
            return 2
    print("\n".join(lines(rounds)))
    return 0


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options; one package only, because the loop imports one module."""
    parser = matrix.options("Measure a first run beside a loop of uv.", ["colorama"])
    parser.set_defaults(python=NEWEST)
    return matrix.one_package(parser, argv)


def raced(
    asked: matrix.Matrix, combinations: Sequence[matrix.Planned], arguments: argparse.Namespace, directory: Path
) -> Iterator[Round]:
    """Yield rounds."""
    own = asked.changed(f"--spip-cache={directory / 'cache'}", UV_CACHE_DIR=str(directory / "uv"))
    for number in itertools.count(1):
        for name in FIRST:
            shutil.rmtree(directory / name, ignore_errors=True)
        say(f"round {number}: pytest-spip")
        ours = matrix.run(own, directory / "ours")
        say(f"round {number}: uv run, {asked.workers} at once")
        rival = UvRun(importing(arguments.module), asked.index_url, directory / "loop", asked.workers, quiet=True)
        yield Round(ours, rival.first_lap(combinations))


def lines(rounds: Sequence[Round]) -> Iterator[str]:
    """Yield the table: seconds of whole commands."""
    rows = [["", "pytest-spip, s", "uv run loop, s", "loop / ours", "passed, ours", "passed, loop"]]
    for number, each in enumerate(rounds, 1):
        passed = sum(one.outcome == "passed" for one in each.ours.combinations)
        worked = each.loop.count - each.loop.failed
        seconds = f"{each.ours.wall:.1f}", f"{each.loop.seconds:.1f}"
        rows.append([f"round {number}", *seconds, f"{each.ratio:.2f}", str(passed), str(worked)])
    yield f"{len(rounds[0].ours.combinations)} combinations, empty caches, {rounds[0].ours.how}"
    yield from table(rows)
    yield f"median: the loop took {statistics.median(each.ratio for each in rounds):.2f} times as long"


if __name__ == "__main__":
    sys.exit(main())
