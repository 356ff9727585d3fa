"""Measures what each level of the sandbox adds to a combination: ``python -m benchmarks.sandbox``.

The levels take turns, round by round, over the same combinations with warm caches; the first is what the others are
compared with. Levels are forced by ``SPIP_SANDBOX_LEVEL``, which is there for measurements and tests only.
The exit status is 2 when there was nothing to measure.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks import accounts, ingredients, matrix
from benchmarks.tables import say, table
from benchmarks.wheels import NEWEST, with_wheels

__all__ = ["main"]

LEVELS = ("off", "1", "2", "3")
IMPORTED = ("run",)
"""The worker's phase in which the child works; the others prepare it and clear away after it."""


@dataclasses.dataclass
class Level:
    """Milliseconds of every passed combination of every round at one level, and what the report called the level."""

    called: str = ""
    run: list[float] = dataclasses.field(default_factory=list)
    whole: list[float] = dataclasses.field(default_factory=list)
    child: list[float] = dataclasses.field(default_factory=list)
    cpu: list[float] = dataclasses.field(default_factory=list)

    def add(self, report: matrix.Report, directory: Path) -> None:
        """Take the newest run below the directory in."""
        self.called = str(report.facts.get("sandbox", ""))
        run, whole = accounts.combination_seconds(directory, IMPORTED), accounts.combination_seconds(directory)
        for each in report.combinations:
            if each.outcome == "passed":
                self.run.append(1000 * run.get(each.id, 0.0))
                self.whole.append(1000 * whole.get(each.id, 0.0))
                self.child.append(1000 * each.seconds)
                self.cpu.append(1000 * each.cpu_seconds)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the levels in turn, print the tables and return the exit status."""
    arguments = parsed(argv)
    with matrix.workplace(arguments) as directory:
        try:
            asked, _ = with_wheels(matrix.matrix_of(arguments), directory)
            levels = measured(asked, arguments, directory)
        except matrix.Unmeasurable as failure:
            say(str(failure))
            return 2
    print("\n".join(lines(levels)))
    if arguments.forks:
        print("\n".join(ingredient_lines(ingredients.measured(arguments.forks))))
    return 0


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options; one worker by default, for two hinder each other on few cores."""
    parser = matrix.options("Measure what each level of the sandbox adds.", ["colorama"])
    parser.set_defaults(python=NEWEST, workers=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--levels", nargs="+", default=LEVELS, choices=LEVELS, help="(all)")
    parser.add_argument("--forks", type=int, default=200, help="to measure each ingredient alone; 0 leaves that out")
    return parser.parse_args(argv)


def measured(asked: matrix.Matrix, arguments: argparse.Namespace, directory: Path) -> Mapping[str, Level]:
    """Run the matrix at each level, in turn; the first run of a level fills caches and does not count."""
    levels = {name: Level() for name in arguments.levels}
    for number in range(arguments.rounds + 1):
        for name, level in levels.items():
            say(f"round {number}, level {name}")
            report = matrix.run(_at(asked, name), directory / "levels")
            if number:
                level.add(report, directory / "levels")
    if not all(level.run for level in levels.values()):
        raise matrix.Unmeasurable("no combination passed at some level")
    return levels


def _at(asked: matrix.Matrix, level: str) -> matrix.Matrix:
    """Return the matrix at a level."""
    if level == "off":
        return asked.changed("--spip-sandbox=off")
    return asked.changed(SPIP_SANDBOX_LEVEL=level)


def lines(levels: Mapping[str, Level]) -> Iterator[str]:
    """Yield the table: medians, 95th percentiles, and how much they are above the first level's."""
    first = next(iter(levels.values()))
    yield f"milliseconds a combination, {len(first.run)} of each level; * also with composing and clearing away"
    rows = [["level", "was", "run", "p95", "added", "p95", "all *", "p95", "added", "p95", "child", "CPU"]]
    for name, level in levels.items():
        cells = [*_pair(level.run), *_pair(level.run, first.run), *_pair(level.whole), *_pair(level.whole, first.whole)]
        others = [f"{statistics.median(each):.2f}" for each in (level.child, level.cpu)]
        rows.append([name, level.called, *cells, *others])
    yield from table(rows)


def ingredient_lines(told: Mapping[str, Sequence[float]]) -> Iterator[str]:
    """Yield what each ingredient costs by itself, each on top of those above it."""
    first = next(iter(told.values()))
    yield "\nmilliseconds of a bare fork with the kernel's own ingredients, each on top of those above"
    rows = [["", "median", "p95", "added", "p95"]]
    rows += [[name, *_pair(values), *_pair(values, first)] for name, values in told.items()]
    yield from table(rows)


def _pair(values: Sequence[float], less: Sequence[float] = ()) -> list[str]:
    """Return median and 95th percentile, or how far they lie above those of others."""
    median, high = statistics.median(values), statistics.quantiles(values, n=20)[-1]
    if not less:
        return [f"{median:.2f}", f"{high:.2f}"]
    return [f"{median - statistics.median(less):+.2f}", f"{high - statistics.quantiles(less, n=20)[-1]:+.2f}"]


if __name__ == "__main__":
    sys.exit(main())
