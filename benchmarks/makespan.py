"""Measures how near 128 workers come to the ideal makespan of mixed combinations: ``python -m benchmarks.makespan``.

The releases of a generated package sleep at import, each its own time, so that many workers fit on few processors. A first
run teaches what they cost; the second one is measured. Beside it pytest-xdist distributes tests that sleep the same times
in the same order. The ideal is the longest item, or all seconds of all items shared out evenly, whichever is more.

Workers take time to start, and on few processors 128 of them come one after another. So there are two figures for each: the
makespan from the first start of an item, and that in which a worker counts from the start of its own first item. A combination's
seconds are those of its span ``run``, which composing its environment and reporting do not belong to; those that items asked to
sleep are told apart. The exit status is 1 when an item is missing or did not pass, 2 when there was nothing to measure.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks import matrix
from benchmarks.commands import environment
from benchmarks.copies import generated
from benchmarks.tables import say, table
from benchmarks.wheels import NEWEST

__all__ = ["Item", "Makespan", "main"]

PACKAGE = "sleeper"
WORKERS = 128
COMBINATIONS = 1300
MEDIAN, SIGMA = 5.0, 0.7
BOUNDS = (0.2, 20.0)
"""Seconds that items sleep: lognormal, cut off."""
AIM = 0.97

TESTS = """\
import time
import pytest

@pytest.mark.parametrize("seconds", {seconds})
def test_sleep(seconds):
    time.sleep(seconds)
"""
CONFTEST = """\
import os, time
import pytest

@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    start = time.time()
    try:
        return (yield)
    finally:
        worker = os.environ["PYTEST_XDIST_WORKER"]
        with open(f"told-{worker}.txt", "a") as told:
            print(worker, start, time.time() - start, file=told)
"""


@dataclasses.dataclass(frozen=True)
class Item:
    """What one item took: its worker, when it began (seconds since the epoch) and for how many seconds it ran."""

    worker: str
    at: float
    seconds: float


class Makespan:
    """What running items took, in seconds; of items there must be some, ``workers`` are those that were asked for."""

    def __init__(self, items: Sequence[Item], workers: int) -> None:
        self.total = sum(each.seconds for each in items)
        self.longest = max(each.seconds for each in items)
        self._workers = workers
        self._starts: dict[str, float] = {}
        for each in items:
            self._starts[each.worker] = min(each.at, self._starts.get(each.worker, each.at))
        self._end = max(each.at + each.seconds for each in items)

    @property
    def joined(self) -> int:
        """How many workers ran something."""
        return len(self._starts)

    @property
    def whole(self) -> float:
        """From the first start of an item to the last end."""
        return self._end - min(self._starts.values())

    @property
    def ideal(self) -> float:
        """The least that the whole could be, were all workers there at once."""
        return max(self.total / self._workers, self.longest)

    @property
    def after_start(self) -> float:
        """To the last end, on average over the workers' own first starts."""
        return sum(self._end - start for start in self._starts.values()) / self.joined

    @property
    def ideal_after_start(self) -> float:
        """The least that :attr:`after_start` could be with these workers, which came when they came."""
        earlier = self.after_start - self.whole  # the first worker, which could take the longest, was there before
        return max(self.total / self.joined, self.longest + earlier)

    @property
    def ramp(self) -> float:
        """Seconds between the first start of the first worker and that of the last one."""
        return max(self._starts.values()) - min(self._starts.values())


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table and return the exit status."""
    arguments = parsed(argv)
    seconds = drawn(arguments)
    measured: dict[str, list[Item]] = {}
    with matrix.workplace(arguments) as directory:
        try:
            measured["pytest-spip"], faults = ours(arguments, seconds, directory)
        except matrix.Unmeasurable as failure:
            say(str(failure))
            return 2
        for way in ("load", "worksteal"):
            say(f"pytest-xdist, {way}")
            measured[f"xdist {way}"] = theirs(seconds, directory / way, way, arguments.workers)
    faults += [f"{name}: {len(items)} items" for name, items in measured.items() if len(items) != len(seconds)]
    print("\n".join([*lines(measured, seconds, arguments.workers), *faults]))
    return int(bool(faults))


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = matrix.options("Measure the makespan of sleeping combinations.", [PACKAGE])
    parser.set_defaults(python=NEWEST.rpartition(",")[-1], workers=WORKERS)
    parser.add_argument("--combinations", type=int, default=COMBINATIONS, help=f"({COMBINATIONS})")
    parser.add_argument("--median", type=float, default=MEDIAN, help=f"seconds that items sleep ({MEDIAN:g})")
    parser.add_argument("--sigma", type=float, default=SIGMA, help=f"of their lognormal distribution ({SIGMA:g})")
    parser.add_argument("--bounds", type=float, nargs=2, default=BOUNDS, metavar="S", help="least and most seconds")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def drawn(arguments: argparse.Namespace) -> list[float]:
    """Return the seconds that items sleep; as many as divide evenly among the Pythons."""
    dice = random.Random(arguments.seed)
    least, most = arguments.bounds
    pythons = len(arguments.python.split(","))
    drawn = [
        arguments.median * dice.lognormvariate(0, arguments.sigma) for _ in range(arguments.combinations // pythons)
    ]
    return [round(min(max(each, least), most), 3) for each in drawn for _ in range(pythons)]


def ours(arguments: argparse.Namespace, seconds: Sequence[float], directory: Path) -> tuple[list[Item], list[str]]:
    """Run the matrix twice, warm, and return what the second run's combinations took, with those that did not pass."""
    asked = matrix.matrix_of(arguments).changed("--spip-runner=warm")
    releases = seconds[:: len(arguments.python.split(","))]
    files = {
        f"1.{number}": {f"{PACKAGE}/__init__.py": f"import time\ntime.sleep({each})\n"}
        for number, each in enumerate(releases)
    }
    with generated(asked, PACKAGE, files, directory) as many:
        say("a run that teaches what combinations cost")
        matrix.run(many, directory / "runs")
        say("the run that is measured")
        report = matrix.run(many, directory / "runs")
    say(f"{report.how}, {report.wall:.0f} s in all, CPU {report.cpu_utilisation:.0%} busy")
    rows = matrix.database(directory / "runs", "SELECT worker, at, seconds FROM phase WHERE phase = 'run'")
    items = [Item(row["worker"], row["at"], row["seconds"]) for row in rows]
    if not items:
        raise matrix.Unmeasurable("no combination ran")
    return items, [str(each) for each in report.combinations if each.outcome != "passed"]


def theirs(seconds: Sequence[float], directory: Path, way: str, workers: int) -> list[Item]:
    """Have pytest-xdist distribute tests that sleep, and return what they took; raises ``OSError`` where nothing can be written."""
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.glob("told-*.txt"):
        old.unlink()
    files = {"test_sleep.py": TESTS.format(seconds=list(seconds)), "conftest.py": CONFTEST, "pytest.ini": "[pytest]\n"}
    for name, text in files.items():
        (directory / name).write_text(text, encoding="utf-8")
    with (directory / "pytest.log").open("wb") as out:
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-pno:cacheprovider", f"-n{workers}", f"--dist={way}"],
            cwd=directory,
            env=environment(os.devnull),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            check=False,
        )
    words = [line.split() for path in directory.glob("told-*.txt") for line in path.read_text("utf-8").splitlines()]
    return [Item(worker, float(at), float(took)) for worker, at, took in words]


def lines(measured: Mapping[str, Sequence[Item]], seconds: Sequence[float], workers: int) -> Iterator[str]:
    """Yield the table."""
    ideal = max(sum(seconds) / workers, *seconds)
    yield f"{len(seconds)} items that sleep {min(seconds):g} to {max(seconds):g} s, {sum(seconds):.0f} s together"
    yield f"{workers} workers: the ideal is {ideal:.1f} s by what they sleep"
    rows = [["seconds", "workers", "ramp", "items", "ideal", "makespan", "near", "ideal, started", "makespan", "near"]]
    for name, items in measured.items():
        if not items:
            continue
        each = Makespan(items, workers)
        whole = [f"{each.ideal:.1f}", f"{each.whole:.1f}", f"{each.ideal / each.whole:.1%}"]
        started = [f"{each.ideal_after_start:.1f}", f"{each.after_start:.1f}"]
        near = f"{each.ideal_after_start / each.after_start:.1%}"
        rows.append([name, str(each.joined), f"{each.ramp:.1f}", f"{each.total:.1f}", *whole, *started, near])
    yield from table(rows)
    yield f"aim for pytest-spip: >= {AIM:.0%} of the ideal after start"


if __name__ == "__main__":
    sys.exit(main())
