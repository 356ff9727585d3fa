"""Measures what more workers gain: ``python -m benchmarks.linearity``; ``--simulate-only`` leaves real runs out.

One and two workers are measured in turn, round by round. More are simulated with the real scheduler, from the seconds that a
combination takes in a worker (``--cost``) and a verdict in the controller (``--controller``), as they were measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import matrix
from benchmarks.copies import copied
from benchmarks.simulation import Machine, Simulated, drawn, equal, guessed, simulate
from benchmarks.tables import SPREAD, say, spread, table
from benchmarks.wheels import NEWEST, with_wheels

__all__ = ["main"]

WORKERS = (1, 2, 64, 128, 256, 512)
MIXED = 128
MIXES = ((20_000, 0.1, 1.0), (20_000, 0.5, 1.0), (5_000, 5.0, 1.0), (5_000, 5.0, 1.5))
"""Combinations, the median of their seconds, and sigma of the lognormal distribution that they are drawn from."""
ERRORS = (("exact", 0.0), ("off by a factor of 1.6", 0.5), ("off by a factor of 7", 2.0))
"""Estimates, and sigma of the lognormal factor by which they are off."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, simulate, print the tables and return the exit status."""
    arguments = parsed(argv)
    try:
        if not arguments.simulate_only:
            with matrix.workplace(arguments) as directory:
                print("\n".join(measured_lines(measured(arguments, directory))), end="\n\n")
    except matrix.Unmeasurable as failure:
        say(str(failure))
        return 2
    print("\n".join(equal_lines(arguments)))
    print("\n".join(mixed_lines(arguments)))
    return 0


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = matrix.options("Measure one and two workers, and simulate more.", ["colorama"])
    parser.set_defaults(python=NEWEST)
    parser.add_argument("--copies", type=int, default=20, help="of each release, for the runs that are measured (20)")
    parser.add_argument("--simulate-only", action="store_true", help="no real runs")
    parser.add_argument("--cost", type=float, default=0.016, help="seconds of a combination in a worker (0.016)")
    parser.add_argument("--controller", type=float, default=0.0003, help="seconds of a verdict there (0.0003)")
    parser.add_argument("--latency", type=float, default=0.005, help="seconds of a message, one way (0.005)")
    parser.add_argument("--meeting", type=float, default=0.1, help="seconds to begin with an interpreter (0.1)")
    parser.add_argument("--interpreters", type=int, default=5)
    parser.add_argument("--combinations", type=int, default=100_000)
    return matrix.one_package(parser, argv)


def measured(arguments: argparse.Namespace, directory: Path) -> dict[int, list[matrix.Report]]:
    """Run the same combinations with one worker and with two, in turn."""
    asked, unpacked = with_wheels(matrix.matrix_of(arguments), directory)
    reports: dict[int, list[matrix.Report]] = {1: [], 2: []}
    with copied(asked, unpacked, arguments.copies, directory / "copies") as many:
        say("filling caches")
        matrix.run(many, directory / "runs")
        for number in range(arguments.rounds):
            say(f"round {number + 1}")
            for workers, told in reports.items():
                told.append(matrix.run(dataclasses.replace(many, workers=workers), directory / "runs"))
    return reports


def measured_lines(reports: dict[int, list[matrix.Report]]) -> Iterator[str]:
    """Yield rates, and the gain of the second worker."""
    first = reports[1][0]
    yield f"{len(first.combinations)} combinations, measured, {first.how}; combinations per second"
    rates = {workers: [each.per_second for each in told] for workers, told in reports.items()}
    yield from table([["workers", *SPREAD], *([str(workers), *spread(each)] for workers, each in rates.items())])
    gain = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
    yield f"two workers over one: {statistics.median(gain):.2f}x"


def equal_lines(arguments: argparse.Namespace) -> Iterator[str]:
    """Yield what more workers gain on combinations that take equally long."""
    units = equal(arguments.combinations, arguments.cost, arguments.interpreters)
    costs = {"latency": arguments.latency, "controller": arguments.controller, "meeting": arguments.meeting}
    yield (
        f"{arguments.combinations} combinations of {1000 * arguments.cost:g} ms, {arguments.interpreters} interpreters, "
        f"simulated; {', '.join(f'{name} {1000 * each:g} ms' for name, each in costs.items())}"
    )
    outcomes = []
    for workers in WORKERS:
        say(f"simulating {workers} workers")
        outcomes.append(simulate(Machine(workers, **costs), units))
    lost = ["", *(f"{doubling(*pair):.1%}" for pair in itertools.pairwise(outcomes))]
    rows = [["workers", "seconds", "per second", "lost per doubling", "utilisation", "meeting", "controller busy"]]
    for each, loss in zip(outcomes, lost, strict=True):
        meeting = f"{each.met / (each.makespan * each.workers):.1%}"
        figures = [f"{each.makespan:.2f}", f"{each.rate:.0f}", loss, f"{each.utilisation:.1%}", meeting]
        rows.append([str(each.workers), *figures, f"{each.controller_busy:.1%}"])
    yield from table(rows)
    yield ceiling(arguments.cost, arguments.controller)


def doubling(fewer: Simulated, more: Simulated) -> float:
    """Return the part of its gain that each doubling of the workers loses."""
    doublings = math.log2(more.workers / fewer.workers)
    gain: float = (more.rate / fewer.rate) ** (1 / doublings)
    return 1 - gain / 2


def ceiling(cost: float, controller: float) -> str:
    """Return from how many cores on the controller decides."""
    if controller <= 0:
        return "the controller costs nothing and is no ceiling"
    return f"the controller's ceiling: {1 / controller:.0f} combinations per second, reached by {cost / controller:.0f} cores"


def mixed_lines(arguments: argparse.Namespace) -> Iterator[str]:
    """Yield how near the makespan of mixed combinations comes to the ideal, and how far estimates matter."""
    yield f"\nmixed combinations (lognormal), {MIXED} workers; the ideal makespan / the one simulated"
    machine = Machine(MIXED, arguments.latency, arguments.controller, arguments.meeting)
    rows = [["", *(f"estimates {title}" for title, _ in ERRORS), "ideal, seconds", "stolen"]]
    for count, median, sigma in MIXES:
        say(f"simulating {count} mixed combinations")
        units = drawn(count, median, sigma, arguments.interpreters)
        outcomes = [simulate(machine, units, guessed(units, error)) for _, error in ERRORS]
        near = [f"{each.ideal / each.makespan:.1%}" for each in outcomes]
        title = f"{count} of median {median:g} s, sigma {sigma:g}"
        rows.append([title, *near, f"{outcomes[0].ideal:.1f}", "/".join(str(each.stolen) for each in outcomes)])
    yield from table(rows)


if __name__ == "__main__":
    sys.exit(main())
