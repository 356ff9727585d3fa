"""Measures second runs against ``uv run`` on the same combinations: ``python -m benchmarks.warm``.

Both are measured in turn, round by round, so that what else the machine does hits both; only their ratio means much.
The exit status is 1 when a second run resolved, downloaded, built or filed anything.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import matrix
from benchmarks.rivals import UvRun
from benchmarks.tables import say

__all__ = ["main"]


@dataclasses.dataclass(frozen=True)
class Round:
    """One round: the report of a second run, and combinations per second of ``uv run``."""

    report: matrix.Report
    uv: float

    @property
    def session(self) -> float:
        """Combinations per second as the report's summary says, whatever their verdicts."""
        return self.report.per_second

    @property
    def command(self) -> float:
        """Passed combinations per second from starting pytest to its end."""
        return sum(each.outcome == "passed" for each in self.report.combinations) / self.report.wall

    @property
    def work(self) -> int:
        """How much was done that a second run should find done."""
        return sum(self.report.work.values())


def main(argv: Sequence[str] | None = None) -> int:
    """Fill the caches, measure the rounds, print them and return the exit status."""
    arguments = matrix.one_package(matrix.options("Measure second runs against uv run.", ["colorama"]), argv)
    asked = matrix.matrix_of(arguments)
    with matrix.workplace(arguments) as directory:
        rival = UvRun(arguments.module, asked.index_url, directory / "uv-run", asked.workers)
        say("filling run")
        try:
            filled = matrix.run(asked, directory)
            common = filling(rival, filled)
            rounds = [measured(number, asked, rival, common, directory) for number in range(arguments.rounds)]
        except matrix.Unmeasurable as failure:
            say(str(failure))
            return 2
    print("\n".join(lines(rounds, len(filled.combinations), len(common))))
    return int(any(each.work for each in rounds))


def filling(rival: UvRun, filled: matrix.Report) -> list[matrix.Planned]:
    """Return what passed and works by uv run too; raises :class:`matrix.Unmeasurable` when nothing does."""
    common = rival.prepare([each for each in filled.combinations if each.outcome == "passed"])
    if not common:
        raise matrix.Unmeasurable("no combination passed and works by uv run too")
    return common


def measured(
    number: int, asked: matrix.Matrix, rival: UvRun, common: Sequence[matrix.Planned], directory: Path
) -> Round:
    """Measure both once; raises :class:`matrix.Unmeasurable` when uv run fails."""
    say(f"round {number + 1}")
    report, lap = matrix.run(asked, directory), rival.lap(common)
    if lap.failed:
        raise matrix.Unmeasurable("uv run failed on a combination that had worked")
    return Round(report, lap.rate)


def lines(rounds: Sequence[Round], planned: int, common: int) -> Iterator[str]:
    """Yield the table, the work of the second runs, and the ratios."""
    session, command, rival = ([getattr(each, name) for each in rounds] for name in ("session", "command", "uv"))
    yield f"{planned} combinations, {common} of them by uv run; combinations per second"
    yield row("", [*(f"round {number + 1}" for number in range(len(rounds))), "median"])
    yield row("pytest-spip, all, its summary", rates(session))
    yield row("pytest-spip, passed, command", rates(command))
    yield row("uv run, passed", rates(rival))
    for number, each in enumerate(rounds):
        work = " ".join(f"{kind}={count}" for kind, count in each.report.work.items())
        yield f"work of round {number + 1}: {work or 'not reported'}"
    by_session, by_command = (statistics.median(values) / statistics.median(rival) for values in (session, command))
    yield f"ratio to uv run: {by_session:.2f} by the summary, {by_command:.2f} by the whole command"


def rates(values: Sequence[float]) -> list[str]:
    """Return the values and their median as text."""
    return [f"{value:.1f}" for value in [*values, statistics.median(values)]]


def row(title: str, cells: Sequence[str]) -> str:
    """Return a line of the table."""
    return f"{title:<32}" + "".join(f"{cell:>10}" for cell in cells)


if __name__ == "__main__":
    sys.exit(main())
