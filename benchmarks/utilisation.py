"""How busy the machine is in the bulk phase of a warm run: ``python -m benchmarks.utilisation``.

As many workers as ``-n auto`` starts, round by round with environments in RAM and on disk, and one pinned to each core. The
bulk phase lasts from the first verdict to the 95th percentile. The exit status is 1 when a combination does not pass, 2 when
there was nothing to measure.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks import matrix
from benchmarks.copies import generated
from benchmarks.processes import ended
from benchmarks.tables import SPREAD, say, spread, table
from benchmarks.wheels import NEWEST
from pytest_spip.common.machine import Machine, worker_count

__all__ = ["main"]

PACKAGE = "utilised"
COMBINATIONS = 2000
CODE = "import argparse, decimal, json, tempfile, threading\nanswer = 42\n"
PERIOD = 0.05
BULK = 0.95
"""The share of the verdicts that the bulk phase brings."""
CPU_AIM = ">= 95"
IOWAIT_AIM = "< 1"
PLACES: Mapping[str, tuple[str, ...]] = {
    "RAM": (),
    "disk": ("--spip-ram=off",),
    "RAM, pinned": ("--spip-pin", f"-n{worker_count(Machine(), logical=True)}"),
}


@dataclasses.dataclass(frozen=True)
class Round:
    """One run: the machine's busy and waiting shares of its CPU time in the bulk phase, and the rate there."""

    cpu: float
    iowait: float
    per_second: float
    bad: int
    how: str


def main(argv: Sequence[str] | None = None) -> int:
    """Run the rounds, print the table and return the exit status."""
    arguments = parsed(argv)
    try:
        with matrix.workplace(arguments) as directory:
            rounds = measured(arguments, directory)
    except matrix.Unmeasurable as failure:
        say(str(failure))
        return 2
    print("\n".join(lines(rounds)))
    return int(any(each.bad for group in rounds.values() for each in group))


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = matrix.options("Measure how busy the machine is in the bulk phase.", [PACKAGE])
    parser.set_defaults(python=NEWEST, workers=worker_count(Machine(), spares=True))
    parser.add_argument("--combinations", type=int, default=COMBINATIONS, help=f"({COMBINATIONS})")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args(argv)


def measured(arguments: argparse.Namespace, directory: Path) -> Mapping[str, Sequence[Round]]:
    """Fill the caches, then run each way in turn."""
    asked = matrix.matrix_of(arguments)
    count = max(1, arguments.combinations // len(arguments.python.split(",")))
    releases = {f"1.{number}": {f"{PACKAGE}/__init__.py": CODE} for number in range(count)}
    rounds: dict[str, list[Round]] = {place: [] for place in PLACES}
    with generated(asked, PACKAGE, releases, directory) as many:
        say(f"{count} releases of {PACKAGE}; filling caches")
        matrix.run(many, directory / "run")
        for number in range(arguments.rounds):
            say(f"round {number + 1}")
            for place, more in PLACES.items():
                rounds[place].append(watched(many.changed(*more), directory / "run"))
    return rounds


def watched(many: matrix.Matrix, directory: Path) -> Round:
    """Run the matrix, sampling the machine meanwhile."""
    samples, machine = [], Machine()
    began = time.time()
    session = matrix.started(many, directory)
    while not ended(session, PERIOD):
        samples.append((time.time(), machine.times()))
    report = matrix.read(directory, time.time() - began)
    moments = [row["at"] for row in matrix.database(directory, "SELECT at FROM ledger ORDER BY at")]
    start, end = moments[0], moments[int(BULK * (len(moments) - 1))]
    within = [times for at, times in samples if start <= at <= end]
    if len(within) < 2:
        raise matrix.Unmeasurable("too short a run: no two samples in its bulk phase")
    busy, iowait, total = (last - first for first, last in zip(within[0], within[-1], strict=True))
    return Round(
        cpu=100 * busy / total,
        iowait=100 * iowait / total,
        per_second=BULK * len(moments) / (end - start),
        bad=sum(each.outcome != "passed" for each in report.combinations),
        how=report.how,
    )


def lines(rounds: Mapping[str, Sequence[Round]]) -> Iterator[str]:
    """Yield the table."""
    rows = [["bulk phase", *SPREAD, "aim"]]
    for place, group in rounds.items():
        yield f"{place}: {group[0].how}; {sum(each.bad for each in group)} combinations did not pass"
        rows.append([f"{place}: CPU, %", *spread([each.cpu for each in group]), CPU_AIM])
        rows.append([f"{place}: iowait, %", *spread([each.iowait for each in group], ".2f"), IOWAIT_AIM])
        rows.append([f"{place}: combinations/s", *spread([each.per_second for each in group]), ""])
    yield from table(rows)


if __name__ == "__main__":
    sys.exit(main())
