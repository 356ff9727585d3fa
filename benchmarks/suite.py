"""The suite of the example project beside all releases of what it needs: ``python -m benchmarks.suite``.

pytest-spip, tox-uv and nox with environments that exist, and a loop of ``uv run``, take turns on combinations that pass; those
that do not, which pytest-spip runs twice to be sure, are in a lap of its own. The exit status is 1 when a contender failed on
a combination, 2 when there was nothing to measure.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks import matrix
from benchmarks.commands import UV, run, uv_environment
from benchmarks.rivals import Lap, Nox, Rival, ToxUv, Tried, UvRun, install_tools
from benchmarks.tables import SPREAD, say, spread, table

__all__ = ["main"]

PROJECT = Path(__file__).parent.parent / "examples" / "tally"
PACKAGES = ("click>=7", "tabulate>=0.8")
PYTHONS = "3.11,3.12,3.13"
AIM = 5


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare every contender, measure, print the table and return the exit status."""
    arguments = parsed(argv)
    with matrix.workplace(arguments) as directory:
        try:
            whole, reports, laps = raced(arguments, directory)
        except matrix.Unmeasurable as failure:
            say(str(failure))
            return 2
    print("\n".join(lines(whole, reports, laps)))
    return int(any(lap.failed for told in laps.values() for lap in told))


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = matrix.options("Measure suites against uv, tox and nox.", PACKAGES)
    parser.set_defaults(python=PYTHONS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sample", type=int, default=24, help="combinations of each rival (24)")
    return parser.parse_args(argv)


def raced(
    arguments: argparse.Namespace, directory: Path
) -> tuple[matrix.Report, Sequence[matrix.Report], Mapping[str, Sequence[Lap]]]:
    """Fill all caches, run everything, then let the contenders run in turn."""
    project = directory / "project"
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    asked = matrix.matrix_of(arguments).changed(f"--spip-project={project}")
    say("filling caches")
    first = matrix.run(asked, directory / "ours")
    whole = matrix.run(asked, directory / "ours")
    passing = [each for each in first.combinations if each.outcome == "passed"]
    if not passing:
        raise matrix.Unmeasurable("no combination passes")
    failing = (each.id for each in first.combinations if each.outcome != "passed")
    same = asked.changed(*(f"--deselect=spip::{name}" for name in failing))
    share = passing[:: max(1, len(passing) // arguments.sample)][: arguments.sample]
    entries = [(rival, rival.prepare(share)) for rival in rivals(asked, built(project, asked, directory), directory)]
    reports: list[matrix.Report] = []
    laps: dict[str, list[Lap]] = {rival.title: [] for rival, _ in entries}
    for number in range(arguments.rounds):
        say(f"round {number + 1}")
        reports.append(matrix.run(same, directory / "ours"))
        for rival, working in entries:
            laps[rival.title].append(rival.lap(working))
    return whole, reports, laps


def built(project: Path, asked: matrix.Matrix, directory: Path) -> Tried:
    """Build the project's wheel, and return what rivals try: its tests, without its configuration."""
    env = uv_environment(asked.index_url, directory / "uv-cache")
    done = run((UV, "build", "-q", "--wheel", "-o", str(directory / "wheel"), str(project)), directory, env)
    if done.status != 0:
        raise matrix.Unmeasurable(done.output)
    (wheel,) = (directory / "wheel").glob("*.whl")
    tests = shutil.copytree(PROJECT / "tests", directory / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    words = ("pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tests), str(tests))
    return Tried(words, (str(wheel), "pytest>=7"))


def rivals(asked: matrix.Matrix, tried: Tried, directory: Path) -> Iterator[Rival]:
    """Yield those who run the same."""
    tools = install_tools(directory / "tools", asked.index_url)
    common = (tried, asked.index_url)
    yield UvRun(*common, directory / "uv-run", asked.workers)
    for kind, name in ((ToxUv, "tox"), (Nox, "nox")):
        yield kind(*common, directory / name, asked.workers, tools)


def lines(whole: matrix.Report, reports: Sequence[matrix.Report], laps: Mapping[str, Sequence[Lap]]) -> Iterator[str]:
    """Yield rates and ratios."""
    first, rates = reports[0], [each.per_second for each in reports]
    bad = sum(each.outcome != "passed" for each in whole.combinations)
    yield f"{first.how}; suites per second"
    rows = [["", *SPREAD, "combinations", "failed", "ours / it"]]
    rows.append(["pytest-spip, its summary", *spread(rates), str(len(first.combinations)), "0", ""])
    commands = [len(each.combinations) / each.wall for each in reports]
    rows.append(["pytest-spip, the whole command", *spread(commands), str(len(first.combinations)), "0", ""])
    rows.append(
        ["pytest-spip, with those that fail", *spread([whole.per_second]), str(len(whole.combinations)), str(bad), ""]
    )
    for title, told in laps.items():
        theirs = [lap.rate for lap in told]
        middle = statistics.median(theirs)
        ratio = f"{statistics.median(rates) / middle:.2f}" if middle else "none works"
        rows.append([title, *spread(theirs), str(told[0].count), str(sum(lap.failed for lap in told)), ratio])
    yield from table(rows)
    busy = ", ".join(f"{each.cpu_utilisation:.1%}" for each in reports)
    yield f"CPU while suites ran: {busy}; aim: {AIM}x the best of them, and 95 % in the bulk phase"


if __name__ == "__main__":
    sys.exit(main())
