"""The command a person waits for, beside its rivals and its own past: ``python -m benchmarks.race --beside COMMIT``.

All take turns, round by round, in one session, so that what else the machine does hits all: only ratios mean much. Each
row is an aim. ``--only`` names the parts to run. The exit status is 2 when there was nothing to measure.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks import accounts, coldstart, matrix, scale, suite
from benchmarks.commands import environment
from benchmarks.copies import copied
from benchmarks.entrants import ALONE, Entrant, Spent, entrants, plain_pytest
from benchmarks.floor import floors
from benchmarks.rivals import Lap, UvRun, importing
from benchmarks.tables import say, table
from benchmarks.wheels import NEWEST, Unpacked, with_wheels

__all__ = ["main"]

SIXTY, SIX_HUNDRED = 60, 600
WARM = 3
"""Runs until the bytecode of all layers is there: the third has all that a later one has."""
IMPORTS = 12
"""Packages whose imports are listed."""


@dataclasses.dataclass(frozen=True)
class Place:
    """What all parts share: the options, the entrants, combinations that have wheels, and a directory."""

    arguments: argparse.Namespace
    directory: Path
    entrants: Sequence[Entrant]
    asked: matrix.Matrix
    unpacked: Sequence[Unpacked]

    @property
    def labels(self) -> list[str]:
        """The Pythons, as ``--spip-python`` names them, oldest first."""
        return list(dict.fromkeys(_label(each.combination) for each in self.unpacked))

    def rounds(self) -> Iterator[int]:
        """Yield the number of each round, and say it."""
        for number in range(self.arguments.rounds):
            say(f"  round {number + 1}")
            yield number

    def loop(self, asked: matrix.Matrix, purpose: str, combinations: Sequence[matrix.Planned]) -> UvRun:
        """Return a loop of ``uv run`` with its caches filled."""
        loop = UvRun(importing(self.arguments.module), asked.index_url, self.directory / "uv" / purpose, asked.workers)
        if len(loop.prepare(combinations)) < len(combinations):
            raise matrix.Unmeasurable(f"uv run fails for some of {purpose}")
        return loop


Row = list[str]
Part = Callable[[Place], Iterator[Row]]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts that were asked for; print a table as each ends, and return the exit status."""
    arguments = parsed(argv)
    with matrix.workplace(arguments) as directory:
        try:
            place = prepared(arguments, directory)
            for name in arguments.only:
                say(name)
                print("\n".join(table([["", *(one.name for one in place.entrants), "aim"], *PARTS[name](place)])))
                print(flush=True)
        except matrix.Unmeasurable as failure:
            say(str(failure))
            return 2
    return 0


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = matrix.options("Race against uv, nox and earlier commits.", ["colorama"])
    parser.set_defaults(python=NEWEST)
    parser.add_argument("--beside", action="append", default=[], metavar="COMMIT", help="a commit that runs as well")
    parser.add_argument("--meeting", type=int, default=4, metavar="N", help="workers that meet all Pythons (4)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    return matrix.one_package(parser, argv)


def prepared(arguments: argparse.Namespace, directory: Path) -> Place:
    """Return what all parts share."""
    asked, unpacked = with_wheels(matrix.matrix_of(arguments).changed(*ALONE), directory)
    return Place(arguments, directory, entrants(arguments.beside, directory), asked, unpacked)


def ratios(theirs: Sequence[float], ours: Sequence[Sequence[float]], *, inverse: bool = False) -> list[str]:
    """Return the medians' ratio for each entrant: theirs over ours, or the other way about."""
    middle = statistics.median(theirs)
    medians = [statistics.median(each) for each in ours]
    return [f"{each / middle if inverse else middle / each:.2f}x" for each in medians]


def seconds(values: Sequence[float]) -> str:
    """Return the median of seconds, and the least."""
    return f"{statistics.median(values):.2f} s (least {min(values):.2f})"


def start(place: Place) -> Iterator[Row]:
    """One warm combination, the whole command, over pytest and as many workers on an empty test."""
    newest = place.unpacked[-1].combination
    one = dataclasses.replace(place.asked, packages=(f"{newest.package}=={newest.version}",), python=_label(newest))
    plain: list[Spent] = []
    ours: list[list[Spent]] = [[] for _ in place.entrants]
    for each in place.entrants:
        for _ in range(WARM):
            each.run(one, "start")
    for _ in place.rounds():
        plain.append(plain_pytest(place.directory / "plain", one.workers))
        for each, laps in zip(place.entrants, ours, strict=True):
            laps.append(each.run(one, "start"))
    yield ["pytest on an empty test", *[seconds([lap.wall for lap in plain])] * len(ours), ""]
    yield ["one warm combination", *(seconds([lap.wall for lap in laps]) for laps in ours), ""]
    walls = [[lap.wall for lap in laps] for laps in ours]
    yield ["start, over pytest", *ratios([lap.wall for lap in plain], walls, inverse=True), "<= 1.3x"]
    cpus = [[lap.cpu for lap in laps] for laps in ours]
    yield ["its CPU, over pytest's", *ratios([lap.cpu for lap in plain], cpus, inverse=True), ""]
    yield from imports(place, one)


def _label(combination: matrix.Planned) -> str:
    """Return the Python of a combination as ``--spip-python`` names it."""
    digits = combination.id.rpartition("-py")[2].removesuffix("]")
    return f"{digits[0]}.{digits[1:]}"


def imports(place: Place, one: matrix.Matrix) -> Iterator[Row]:
    """Yield the milliseconds that the controller spends on the imports of each package, by ``-X importtime``."""
    times = []
    for each in place.entrants:
        entered = each.entered(one, "start")
        directory = each.directory / "start" / "runs"
        command = [sys.executable, "-X", "importtime", "-m", "pytest", f"--rootdir={directory}"]
        done = subprocess.run(
            [*command, *entered.arguments(directory / "report.json")],
            cwd=directory,
            env={**environment(one.index_url), **entered.variables},
            capture_output=True,
            text=True,
            check=False,
        )
        times.append(_by_package(done.stderr))
    packages = sorted(times[0], key=lambda name: -times[0][name])[:IMPORTS]
    yield ["imports, traced", *(f"{sum(each.values()):.0f} ms" for each in times), ""]
    for name in packages:
        yield [f"  {name}", *(f"{each.get(name, 0.0):.1f} ms" for each in times), ""]


def _by_package(said: str) -> dict[str, float]:
    times: dict[str, float] = defaultdict(float)
    for line in said.splitlines():
        fields = line.removeprefix("import time:").split("|")
        if len(fields) == 3 and fields[0].strip().isdigit():
            times[fields[2].strip().partition(".")[0]] += int(fields[0]) / 1000
    return times


def sixty(place: Place) -> Iterator[Row]:
    """About sixty warm combinations, the whole command, over a parallel loop of ``uv run``."""
    labels = place.labels
    count = max(1, round(SIXTY * len(labels) / len(place.unpacked)))
    asked = dataclasses.replace(place.asked, python=",".join(labels[-count:]))
    yield from raced(place, asked, matrix.planned(asked, place.directory / "plan"), "sixty", ">= 2x")


def raced(
    place: Place, asked: matrix.Matrix, combinations: Sequence[matrix.Planned], purpose: str, aim: str
) -> Iterator[Row]:
    """Let the entrants and the loop run warm, in turn."""
    loop = place.loop(asked, purpose, combinations)
    for each in place.entrants:
        for _ in range(WARM):
            each.run(asked, purpose)
    theirs: list[Lap] = []
    ours: list[list[Spent]] = [[] for _ in place.entrants]
    for _ in place.rounds():
        theirs.append(loop.lap(combinations))
        for each, laps in zip(place.entrants, ours, strict=True):
            laps.append(each.run(asked, purpose))
    yield from raced_rows(theirs, ours, aim)


def raced_rows(theirs: Sequence[Lap], ours: Sequence[Sequence[Spent]], aim: str) -> Iterator[Row]:
    """Yield the seconds of both, and their ratio."""
    walls = [[lap.wall for lap in laps] for laps in ours]
    count = theirs[0].count
    yield [f"{count} combinations, uv run", *[seconds([lap.seconds for lap in theirs])] * len(ours), ""]
    yield [f"{count} combinations", *(seconds(each) for each in walls), ""]
    yield ["whole command, uv over it", *ratios([lap.seconds for lap in theirs], walls), aim]


def steady(place: Place) -> Iterator[Row]:
    """Six hundred combinations of copies: second run, whole command, summary, CPU, and a second worker."""
    two = place.labels[-2:]
    unpacked = [each for each in place.unpacked if _label(each.combination) in two]
    asked = dataclasses.replace(place.asked, python=",".join(two))
    copies = max(1, SIX_HUNDRED // len(unpacked))
    with copied(asked, unpacked, copies, place.directory / "copies") as many:
        combinations = matrix.planned(many, place.directory / "copies" / "plan")
        loop = place.loop(many, "copies", combinations)
        yield from second_runs(place, many)
        theirs: list[Lap] = []
        ours: list[list[Spent]] = [[] for _ in place.entrants]
        alone: list[list[Spent]] = [[] for _ in place.entrants]
        few: list[list[Spent]] = [[] for _ in place.entrants]
        for _ in place.rounds():
            theirs.append(loop.lap(combinations))
            for number, each in enumerate(place.entrants):
                few[number].append(each.run(many.small(), "copies"))
                alone[number].append(each.run(dataclasses.replace(many, workers=1), "copies"))
                ours[number].append(each.run(many, "copies"))  # last: the phases below are the newest run's
        yield from raced_rows(theirs, ours, ">= 6x")
        rates = [[_report(lap).per_second for lap in laps] for laps in ours]
        yield ["steady state, per second", *(f"{statistics.median(each):.0f}" for each in rates), ""]
        yield ["steady state, over uv run", *ratios([lap.rate for lap in theirs], rates, inverse=True), ">= 8x"]
        singles = [[_report(lap).per_second for lap in laps] for laps in alone]
        gains = [statistics.median(two) / statistics.median(one) for two, one in zip(rates, singles, strict=True)]
        yield ["a second worker", *(f"{each:.2f}x" for each in gains), ">= 1.95x"]
        yield from costs(place, ours, few)


def second_runs(place: Place, many: matrix.Matrix) -> Iterator[Row]:
    """Yield the rates of the first runs of each entrant, with caches that are empty at first."""
    rates = [[_report(each.run(many, "copies")).per_second for _ in range(WARM + 1)] for each in place.entrants]
    for number in range(WARM + 1):
        yield [f"run {number + 1}, per second", *(f"{each[number]:.0f}" for each in rates), ""]
    yield ["second run, over the fourth", *(f"{each[1] / each[-1]:.2f}x" for each in rates), "as the third"]


def costs(place: Place, ours: Sequence[Sequence[Spent]], few: Sequence[Sequence[Spent]]) -> Iterator[Row]:
    """Yield CPU of a combination over fork and import, the controller's of a verdict, and each phase of the last run."""
    two = place.labels[-2:]
    sample = [each for each in place.unpacked if _label(each.combination) in two][-8:]
    found = floors(sample, place.arguments.module)
    floor = 1000 * statistics.mean(one.import_cpu for one in found.values())
    each = [
        statistics.median(_marginal(full, small) for full, small in zip(full_laps, small_laps, strict=True))
        for full_laps, small_laps in zip(ours, few, strict=True)
    ]
    yield ["fork and import, CPU", *[f"{floor:.2f} ms"] * len(each), ""]
    yield ["a combination, CPU", *(f"{one:.2f} ms" for one in each), ""]
    yield ["a combination, over fork and import", *(f"{one / floor:.2f}x" for one in each), "<= 1.4x"]
    verdicts = [statistics.median(_verdict(lap) for lap in laps) for laps in ours]
    yield ["controller, CPU a verdict", *(f"{1000 * one:.3f} ms" for one in verdicts), "<= 0.05 ms"]
    ways = [
        {row[0]: row[-2] for row in list(accounts.phase_rows(one.directory / "copies" / "runs", _report(laps[-1])))[1:]}
        for one, laps in zip(place.entrants, ours, strict=True)
    ]
    for name in ways[0]:
        yield [f"  {name}", *(f"{one.get(name, '')} ms" for one in ways), ""]


def _marginal(full: Spent, small: Spent) -> float:
    more = len(_report(full).combinations) - len(_report(small).combinations)
    return 1000 * (full.cpu - small.cpu) / more


def _verdict(lap: Spent) -> float:
    return float(_report(lap).controller.get("cpu_seconds_per_verdict") or 0.0)


def _report(lap: Spent) -> matrix.Report:
    assert lap.report is not None
    return lap.report


def meeting(place: Place) -> Iterator[Row]:
    """What a worker that meets one more interpreter costs: CPU of sessions with equally many combinations, on all and on one."""
    labels, workers = place.labels, place.arguments.meeting
    found: list[list[float]] = [[] for _ in place.entrants]
    with copied(place.asked, place.unpacked[-1:], 2 * workers * len(labels), place.directory / "meeting") as many:
        wide = dataclasses.replace(many, workers=workers, versions=str(2 * workers))
        narrow = dataclasses.replace(many, workers=workers, python=labels[-1])
        for each in place.entrants:
            for asked in (wide, narrow) * WARM:
                each.run(asked, "meeting")
        for _ in place.rounds():
            for each, laps in zip(place.entrants, found, strict=True):
                more, meetings = _met(each, wide)
                less, fewer = _met(each, narrow)
                laps.append(1000 * (more - less) / max(meetings - fewer, 1))
    title = f"of {workers} workers and {len(labels)} Pythons, one meets one, CPU"
    yield [title, *(f"{statistics.median(each):.0f} ms" for each in found), "<= 20 ms"]


def _met(entrant: Entrant, asked: matrix.Matrix) -> tuple[float, int]:
    """Run, and return CPU seconds and how often a worker met an interpreter."""
    spent = entrant.run(asked, "meeting")
    query = "SELECT count(*) FROM (SELECT DISTINCT worker, interpreter FROM ledger JOIN plan USING (ordinal))"
    ((meetings,),) = matrix.database(entrant.directory / "meeting" / "runs", query)
    return spent.cpu, meetings


def suites(place: Place) -> Iterator[Row]:
    """Suites of this tree over nox, as ``benchmarks.suite`` measures them."""
    asked = suite.parsed(["--rounds", str(place.arguments.rounds)])
    whole, reports, laps = suite.raced(asked, place.directory / "suites")
    nothing = [""] * (len(place.entrants) - 1)
    rates = [each.per_second for each in reports]
    for title, theirs in laps.items():
        (ratio,) = ratios([lap.rate for lap in theirs], [rates], inverse=True)
        (with_failing,) = ratios([lap.rate for lap in theirs], [[whole.per_second]], inverse=True)
        yield [f"suites that pass, over {title}", ratio, *nothing, ">= 4x over nox"]
        yield ["  with those that fail", with_failing, *nothing, ">= 2x over nox"]


def first(place: Place) -> Iterator[Row]:
    """A first run of this tree with empty caches, over a loop of ``uv run``, as ``benchmarks.coldstart`` measures it."""
    asked = coldstart.parsed(["--rounds", "1"])
    directory = place.directory / "first"
    whole = matrix.matrix_of(asked)
    combinations = [each for each in matrix.planned(whole, directory / "plan") if each.path]
    found = next(coldstart.raced(whole, combinations, asked, directory))
    ((waited,),) = matrix.database(directory / "ours", "SELECT min(at) - (SELECT min(began) FROM session) FROM ledger")
    nothing = [""] * (len(place.entrants) - 1)
    yield ["first run", f"{found.ours.wall:.1f} s", *nothing, ""]
    yield ["uv run", f"{found.loop.seconds:.1f} s", *nothing, ""]
    yield ["first run, uv over it", f"{found.ratio:.2f}x", *nothing, ">= 8x"]
    yield ["first verdict after the session began", f"{waited:.1f} s", *nothing, "< 3 s"]


def many(place: Place) -> Iterator[Row]:
    """A hundred thousand combinations in this tree, as ``benchmarks.scale`` measures them."""
    _, stopped = scale.measured(scale.parsed([]), place.directory / "many")
    nothing = [""] * (len(place.entrants) - 1)
    for title, figure, aim in (*scale.moments(stopped), *scale.memory(stopped)):
        yield [title, figure, *nothing, aim]


PARTS: dict[str, Part] = {
    "start": start,
    "sixty": sixty,
    "steady": steady,
    "meeting": meeting,
    "suites": suites,
    "first": first,
    "many": many,
}


if __name__ == "__main__":
    sys.exit(main())
