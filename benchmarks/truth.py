"""Compares every verdict of a matrix with the independent oracle's: ``python -m benchmarks.truth``.

The exit status is 0 when all agree, 1 when one does not or is an error, 2 when pytest-spip gave no report.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import matrix
from tests.support.oracle import OracleTrouble, judge

__all__ = ["main"]

PACKAGES = ("colorama", "markupsafe", "six")
THREADS = 2
ATTEMPTS = 3
REPORTED_EVERY = 20
MEANS_FAILED = {"killed": "failed", "crashed": "failed"}  # a person only sees that it did not work


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A combination and the oracle's verdict on it, ``error`` when it had none."""

    combination: matrix.Combination
    oracle: str
    trouble: str = ""

    @property
    def claimed(self) -> str:
        """The verdict of pytest-spip in the oracle's words."""
        return MEANS_FAILED.get(self.combination.outcome, self.combination.outcome)

    @property
    def error(self) -> bool:
        """Whether one of the two has no verdict."""
        return "error" in (self.claimed, self.oracle)

    @property
    def disagree(self) -> bool:
        """Whether both have a verdict, and not the same."""
        return not self.error and self.claimed != self.oracle


def main(argv: Sequence[str] | None = None) -> int:
    """Run the matrix, judge each combination, print the comparison and return the exit status."""
    parser = matrix.options("Compare verdicts with an independent oracle.", PACKAGES)
    parser.add_argument("--oracle-cache", type=Path, metavar="DIR", help="uv caches of the oracle (a temporary one)")
    arguments = parser.parse_args(argv)
    asked = matrix.matrix_of(arguments)
    with tempfile.TemporaryDirectory(prefix="truth-") as directory:
        cache = arguments.oracle_cache or Path(directory) / "oracle-cache"
        say(f"running pytest-spip: {' '.join(asked.packages)}")
        try:
            report = matrix.run(asked, Path(directory))
        except matrix.Unmeasurable as failure:
            say(str(failure))
            return 2
        comparisons = compare(report.combinations, asked, cache.absolute(), Path(directory))
    print("\n".join(lines(comparisons)))
    return int(any(each.disagree or each.error for each in comparisons))


def compare(
    combinations: Sequence[matrix.Combination], asked: matrix.Matrix, cache: Path, workdir: Path
) -> list[Comparison]:
    """Judge all combinations that have an interpreter, some at once, and tell how far it is."""
    present = [each for each in combinations if each.path is not None]
    say(f"judging {len(present)} combinations, {len(combinations) - len(present)} have no interpreter")
    ask = functools.partial(compared, asked=asked, cache=cache, workdir=workdir)
    comparisons = []
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        for comparison in pool.map(ask, present):
            comparisons.append(comparison)
            if comparison.disagree or len(comparisons) % REPORTED_EVERY == 0:
                say(f"{len(comparisons)}/{len(present)} {described(comparison)}")
    return comparisons


def compared(combination: matrix.Combination, *, asked: matrix.Matrix, cache: Path, workdir: Path) -> Comparison:
    """Ask the oracle about one combination, again when the network is in its way."""
    if combination.outcome == "error" or combination.path is None:
        return Comparison(combination, "not asked")
    trouble = ""
    for _ in range(ATTEMPTS):
        try:
            verdict = judge(
                combination.package,
                combination.version,
                combination.path,
                cache=cache,
                workdir=workdir,
                exclude_newer=asked.exclude_newer,
                index_url=asked.index_url,
            )
        except OracleTrouble as problem:
            trouble = str(problem)
        else:
            return Comparison(combination, verdict)
    return Comparison(combination, "error", trouble)


def lines(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """Yield the table, each disagreement and error, and the count last."""
    columns = "{:<24} {:>12} {:>7} {:>9} {:>7}".format
    yield columns("package", "combinations", "agree", "disagree", "errors")
    for package in dict.fromkeys(each.combination.package for each in comparisons):
        yield columns(package, *counts([each for each in comparisons if each.combination.package == package]))
    yield columns("all", *counts(comparisons))
    yield from (f"{word(each)}: {described(each)}" for each in comparisons if each.disagree or each.error)
    yield f"disagreements: {sum(each.disagree for each in comparisons)}"


def counts(comparisons: Sequence[Comparison]) -> tuple[int, int, int, int]:
    """Return the numbers of combinations, agreements, disagreements and errors."""
    disagree = sum(each.disagree for each in comparisons)
    errors = sum(each.error for each in comparisons)
    return len(comparisons), len(comparisons) - disagree - errors, disagree, errors


def word(comparison: Comparison) -> str:
    """Return what a line of the list is about."""
    return "disagreement" if comparison.disagree else "error"


def described(comparison: Comparison) -> str:
    """Return both verdicts in one line."""
    trouble = " ".join(comparison.trouble.split())[:200]
    return f"{comparison.combination} | oracle: {comparison.oracle} {trouble}".rstrip()


def say(text: str) -> None:
    """Print progress, apart from the result."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
