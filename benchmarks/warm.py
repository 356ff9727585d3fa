"""Measures second runs against ``uv run`` on the same combinations: ``python -m benchmarks.warm``.

Both are measured in turn, round by round, so that what else the machine does hits both; only their ratio means much.
The exit status is 1 when a second run resolved, downloaded, built or filed anything.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import functools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import uv

from benchmarks import matrix

__all__ = ["main"]


@dataclasses.dataclass(frozen=True)
class Rival:
    """``uv run`` of combinations: the module to import, its own uv cache, a working directory without a project."""

    module: str
    index_url: str
    directory: Path
    workers: int

    def fill(self, combinations: Sequence[matrix.Combination]) -> list[matrix.Combination]:
        """Run all with the network, and return those that work; raises :class:`matrix.Unmeasurable` when none does."""
        working = [each for each, worked in zip(combinations, self._run(combinations, ()), strict=True) if worked]
        if not working:
            raise matrix.Unmeasurable("no combination passed and works by uv run too")
        return working

    def rate(self, combinations: Sequence[matrix.Combination]) -> float:
        """Return combinations per second without the network; raises :class:`matrix.Unmeasurable` when one fails."""
        started = time.perf_counter()
        if not all(self._run(combinations, ("--offline",))):
            raise matrix.Unmeasurable("uv run failed on a combination that had worked")
        return len(combinations) / (time.perf_counter() - started)

    def _run(self, combinations: Sequence[matrix.Combination], options: Sequence[str]) -> list[bool]:
        """Run all, and tell of each whether it worked."""
        with concurrent.futures.ThreadPoolExecutor(self.workers) as pool:
            return list(pool.map(functools.partial(self._works, options=options), combinations))

    def _works(self, combination: matrix.Combination, options: Sequence[str]) -> bool:
        """Tell whether uv can run one combination."""
        where = ["--isolated", "--no-project", *options, "--python", str(combination.path)]
        what = ["--with", f"{combination.package}=={combination.version}", "python", "-c", f"import {self.module}"]
        cache = {"UV_CACHE_DIR": str(self.directory / "uv-cache"), "UV_PYTHON_DOWNLOADS": "never"}
        done = subprocess.run(
            [uv.find_uv_bin(), "run", *where, *what],
            cwd=self.directory,
            env=matrix.environment(self.index_url) | cache,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        return done.returncode == 0


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
    arguments = parsed(argv)
    asked = matrix.matrix_of(arguments)
    with tempfile.TemporaryDirectory(prefix="warm-") as name:
        module = arguments.module or asked.packages[0].replace("-", "_")
        rival = Rival(module, asked.index_url, Path(name), asked.workers)
        say("filling run")
        try:
            filled = matrix.run(asked, Path(name))
            common = rival.fill([each for each in filled.combinations if each.outcome == "passed"])
            rounds = [measured(number, asked, rival, common) for number in range(arguments.rounds)]
        except matrix.Unmeasurable as failure:
            say(str(failure))
            return 2
    print("\n".join(lines(rounds, len(filled.combinations), len(common))))
    return int(any(each.work for each in rounds))


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options; one package only, because the rival imports one module."""
    parser = matrix.options("Measure second runs against uv run.", ["colorama"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--module", help="what to import (the package's name)")
    arguments = parser.parse_args(argv)
    if len(arguments.packages) != 1:
        parser.error("--package: one package only")
    return arguments


def measured(number: int, asked: matrix.Matrix, rival: Rival, common: Sequence[matrix.Combination]) -> Round:
    """Measure both once."""
    say(f"round {number + 1}")
    return Round(matrix.run(asked, rival.directory), rival.rate(common))


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


def say(text: str) -> None:
    """Print progress, apart from the result."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
