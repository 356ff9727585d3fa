"""Measures combinations per second against uv, tox and nox, and CPU against a bare fork: ``python -m benchmarks.throughput``.

All contenders take turns, round by round, so that what else the machine does hits all; only their ratios mean much.
The exit status is 1 when a contender failed on a combination, 2 when there was nothing to measure.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import accounts, matrix
from benchmarks.copies import copied
from benchmarks.floor import Floor, floors
from benchmarks.rivals import Lap, Nox, Rival, ToxUv, UvRun, UvVenv, importing, install_tools
from benchmarks.tables import SPREAD, say, spread, table
from benchmarks.wheels import NEWEST, Unpacked, with_wheels

__all__ = ["main"]


@dataclasses.dataclass(frozen=True)
class Race:
    """The contenders' laps, and the combinations that each ran; those of pytest-spip are told apart."""

    reports: tuple[matrix.Report, ...]
    laps: dict[str, list[Lap]]
    planned: int


@dataclasses.dataclass(frozen=True)
class Cost:
    """CPU seconds of whole commands over many combinations and over a few, in turn, and the floor beneath."""

    reports: tuple[matrix.Report, ...]
    full: tuple[float, ...]
    few: tuple[int, ...]
    small: tuple[float, ...]
    floor: dict[str, Floor]

    @property
    def each(self) -> list[float]:
        """CPU milliseconds a combination, by round: what more of them cost, without the start of everything."""
        rounds = zip(self.reports, self.full, self.few, self.small, strict=True)
        return [1000 * (full - small) / (len(report.combinations) - few) for report, full, few, small in rounds]


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare every contender, measure, print the tables and return the exit status."""
    arguments = parsed(argv)
    with matrix.workplace(arguments) as directory:
        try:
            asked, unpacked = with_wheels(matrix.matrix_of(arguments), directory)
            race = raced(asked, unpacked, arguments, directory)
            print("\n".join(race_lines(race)))
            if arguments.copies:
                print(
                    "\n".join(
                        cost_lines(measured(asked, unpacked, arguments, directory), directory / "copies" / "full")
                    )
                )
        except matrix.Unmeasurable as failure:
            say(str(failure))
            return 2
    return int(any(lap.failed for laps in race.laps.values() for lap in laps))


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options; one package only, because the rivals import one module."""
    parser = matrix.options("Measure throughput and CPU against uv, tox and nox.", ["colorama"])
    parser.set_defaults(python=NEWEST)
    parser.add_argument(
        "--sample", type=int, default=20, help="combinations to start tox and nox for; 0 for neither (20)"
    )
    parser.add_argument(
        "--copies", type=int, default=20, help="of each release, for CPU and phases; 0 leaves that out (20)"
    )
    return matrix.one_package(parser, argv)


def raced(asked: matrix.Matrix, unpacked: Sequence[Unpacked], arguments: argparse.Namespace, directory: Path) -> Race:
    """Fill all caches, then let the contenders run in turn."""
    combinations = [each.combination for each in unpacked]
    say(f"preparing {len(combinations)} combinations")
    matrix.run(asked, directory / "race")
    entries = [(rival, prepared(rival, share)) for rival, share in rivals(asked, combinations, arguments, directory)]
    reports: list[matrix.Report] = []
    laps: dict[str, list[Lap]] = {rival.title: [] for rival, _ in entries}
    for number in range(arguments.rounds):
        say(f"round {number + 1}")
        reports.append(matrix.run(asked, directory / "race"))
        for rival, share in entries:
            laps[rival.title].append(rival.lap(share))
    return Race(tuple(reports), laps, len(combinations))


def rivals(
    asked: matrix.Matrix, combinations: Sequence[matrix.Planned], arguments: argparse.Namespace, directory: Path
) -> Iterator[tuple[Rival, Sequence[matrix.Planned]]]:
    """Yield each rival with the combinations that it is to run."""
    common = (importing(arguments.module), asked.index_url)
    yield UvRun(*common, directory / "uv-run", asked.workers), combinations
    yield UvVenv(*common, directory / "uv-venv", asked.workers), combinations
    if arguments.sample:
        tools = install_tools(directory / "tools", asked.index_url)
        share = combinations[:: max(1, len(combinations) // arguments.sample)][: arguments.sample]
        for kind, name in ((ToxUv, "tox"), (Nox, "nox")):
            yield kind(*common, directory / name, asked.workers, tools), combinations
            yield kind(*common, directory / f"{name}-alone", asked.workers, tools, each_alone=True), share


def prepared(rival: Rival, combinations: Sequence[matrix.Planned]) -> Sequence[matrix.Planned]:
    """Prepare a rival; what does not work for it is left out, and said."""
    say(f"preparing {rival.title}")
    working = rival.prepare(combinations)
    if len(working) < len(combinations):
        say(f"{rival.title}: {len(combinations) - len(working)} of {len(combinations)} do not work, and are left out")
    if not working:
        raise matrix.Unmeasurable(f"{rival.title} works for no combination")
    return working


def measured(
    asked: matrix.Matrix, unpacked: Sequence[Unpacked], arguments: argparse.Namespace, directory: Path
) -> Cost:
    """Measure the CPU time of commands that run many combinations, of commands that run a few, and the floor."""
    with copied(asked, unpacked, arguments.copies, directory / "copies") as many:
        say(f"filling caches with {arguments.copies} copies of each release")
        matrix.run(many, directory / "copies" / "full")
        told = []
        for number in range(arguments.rounds):
            say(f"CPU, round {number + 1}")
            report, full = accounts.with_cpu(lambda: matrix.run(many, directory / "copies" / "full"))
            few, small = accounts.with_cpu(lambda: matrix.run(many.small(), directory / "copies" / "small"))
            told.append((report, full, len(few.combinations), small, floors(unpacked, arguments.module)))
    reports, fulls, fews, smalls, floor = zip(*told, strict=True)
    return Cost(reports, fulls, fews, smalls, {one: _median_floor([each[one] for each in floor]) for one in floor[0]})


def _median_floor(rounds: Sequence[Floor]) -> Floor:
    return Floor(*(statistics.median(values) for values in zip(*map(dataclasses.astuple, rounds), strict=True)))


def race_lines(race: Race) -> Iterator[str]:
    """Yield rates and ratios."""
    first = race.reports[0]
    ours = {
        "pytest-spip, its summary": [each.per_second for each in race.reports],
        "pytest-spip, the whole command": [len(each.combinations) / each.wall for each in race.reports],
    }
    theirs = {title: [lap.rate for lap in laps] for title, laps in race.laps.items()}
    yield f"{len(first.combinations)} combinations, {len(race.reports)} rounds, {first.how}; combinations per second"
    rows = [["", *SPREAD, "combinations", "failed", "summary / it", "command / it"]]
    counts = [str(len(first.combinations)), str(sum(map(_bad, race.reports)))]
    for title, rates in ours.items():
        rows.append([title, *spread(rates), *counts, "", ""])
    for title, rates in theirs.items():
        laps = race.laps[title]
        ratios = [f"{statistics.median(each) / statistics.median(rates):.2f}" for each in ours.values()]
        rows.append([title, *spread(rates), str(laps[0].count), str(sum(each.failed for each in laps)), *ratios])
    yield from table(rows)


def _bad(report: matrix.Report) -> int:
    return sum(each.outcome != "passed" for each in report.combinations)


def cost_lines(cost: Cost, directory: Path) -> Iterator[str]:
    """Yield CPU a combination against the floor, and the phases of the last run."""
    count = len(cost.reports[0].combinations)
    rates = " ".join(spread([each.per_second for each in cost.reports]))
    yield f"\n{count} combinations, copies of the same wheels, {cost.reports[0].how}; {rates} combinations/s"
    yield "CPU milliseconds a combination"
    rows = [["", "bare fork", "and import", "elapsed, fork", "and import"]]
    rows += [[one, *(f"{1000 * each:.2f}" for each in dataclasses.astuple(floor))] for one, floor in cost.floor.items()]
    yield from table(rows)
    floor = 1000 * statistics.mean(each.import_cpu for each in cost.floor.values())
    told = (
        1000 * statistics.mean(sum(each.cpu_seconds for each in report.combinations) for report in cost.reports) / count
    )
    yield from table(
        [
            ["", *SPREAD],
            ["pytest-spip, whole tree, less a run of a few", *spread(cost.each, ".2f")],
            ["over fork and import", *spread([each / floor for each in cost.each], ".2f")],
        ]
    )
    yield f"of it, as the report tells, in the children that import: {told:.2f}"
    last = cost.reports[-1]
    yield f"\nwhere every millisecond goes; machine busy {last.cpu_utilisation:.1%}, waiting for disks {last.iowait:.1%}"
    yield from table(accounts.phase_rows(directory, last))


if __name__ == "__main__":
    sys.exit(main())
