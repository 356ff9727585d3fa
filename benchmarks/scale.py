"""A hundred thousand planned combinations: ``python -m benchmarks.scale``.

Once almost all of them are skipped by the plan, so that nothing runs and what is left is the controller's own cost; once
all of them would run, and the session is interrupted as soon as it is under way. The exit status is 1 when a verdict of
the first session is missing or was told twice, 2 when there was nothing to measure.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import math
import re
import signal
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from benchmarks import matrix
from benchmarks.processes import ended, look
from benchmarks.tables import say, table
from benchmarks.wheels import NEWEST
from tests.support.distributions import wheel
from tests.support.index import LocalIndex

__all__ = ["main"]

COMBINATIONS = 100_000
RELEASES = 200
ENOUGH = 200
"""Verdicts after which a session that would run everything is interrupted."""
LONG = 60.0
"""Seconds after which it is interrupted in any case."""
PERIOD = 0.05
STALE = 0.5
"""Seconds after which workers are looked for again, which costs more than to ask those that are known."""
COUNTED = re.compile(r"(\d+) (?:passed|skipped|failed|errors?)\b")
MIB = 1 << 20

DISPATCH_AIM = 5
CONTROLLER_AIM = 400
WORKER_AIM = 80
CPU_AIM = 0.2
RATE_AIM = 5000


@dataclasses.dataclass(frozen=True)
class Sample:
    """The processes of a session at one moment (``time.time``): CPU seconds of the controller, resident MiB of all."""

    at: float
    cpu: float
    controller: float
    workers: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Course:
    """How a session went: moments as ``time.time`` tells them, ``None`` for what did not come about.

    ``planned`` is when the plan was seen in the database, ``dispatched`` when a worker began its first combination,
    ``counted`` the verdicts that pytest was told of. ``stopped`` is when the session was interrupted.
    """

    began: float
    ended: float
    planned: float | None
    dispatched: float
    stopped: float | None
    first: float
    last: float
    combinations: int
    verdicts: int
    counted: int
    samples: tuple[Sample, ...]

    def cpu(self, moment: float) -> float:
        """Return the controller's CPU seconds at a moment, in a straight line between two samples."""
        later = next((each for each in self.samples if each.at >= moment), self.samples[-1])
        earlier = next((each for each in reversed(self.samples) if each.at <= moment), self.samples[0])
        if later.at <= earlier.at:
            return later.cpu
        return earlier.cpu + (later.cpu - earlier.cpu) * (moment - earlier.at) / (later.at - earlier.at)

    @property
    def end(self) -> Sample:
        """The last sample before the last verdict, or before the interrupt."""
        until = min(self.last, self.stopped or self.last)
        return next((each for each in reversed(self.samples) if each.at <= until and each.workers), self.samples[-1])

    @property
    def is_complete(self) -> bool:
        """Whether each combination has its verdict, and nobody was told of one twice."""
        return self.combinations == self.verdicts == self.counted


def main(argv: Sequence[str] | None = None) -> int:
    """Run both sessions, print their figures beside the aims, and return the exit status."""
    arguments = parsed(argv)
    try:
        with matrix.workplace(arguments) as directory:
            skipped, stopped = measured(arguments, directory)
    except matrix.Unmeasurable as failure:
        say(str(failure))
        return 2
    print("\n".join(lines(skipped, stopped)))
    return int(not skipped.is_complete)


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = matrix.options("Plan a hundred thousand combinations.", [])
    parser.set_defaults(python=NEWEST)
    parser.add_argument("--combinations", type=int, default=COMBINATIONS, help=f"({COMBINATIONS})")
    return parser.parse_args(argv)


def measured(arguments: argparse.Namespace, directory: Path) -> tuple[Course, Course]:
    """Make the wheels, and measure a session of skipped combinations and one that is interrupted."""
    count = max(1, arguments.combinations // len(arguments.python.split(",")) // RELEASES)
    packages = tuple(f"scaling{number}" for number in range(count))
    say(f"writing {RELEASES} wheels of each of {count} packages")
    wheels = written(directory / "served", packages)
    asked = dataclasses.replace(matrix.matrix_of(arguments), packages=packages, exclude_newer="")
    with LocalIndex(directory / "served", still=True) as index:
        for path in wheels[:-1]:
            index.add(path, requires_python="<3")
        say("a session of skipped combinations")
        skipped = warmed(asked, index, directory / "skipped")
    with LocalIndex(directory / "served", still=True) as index:
        say("a session that would run all of them")
        stopped = warmed(asked, index, directory / "stopped", enough=ENOUGH)
    return skipped, stopped


def written(directory: Path, packages: Sequence[str]) -> list[Path]:
    """Write the wheels, unless they are there, and return them: the newest of the last package is the last."""
    directory.mkdir(parents=True, exist_ok=True)
    return [
        wheel(directory, package, f"1.{number}", {f"{package}.py": f"answer = {number}\n"})
        for package in packages
        for number in range(RELEASES)
    ]


def warmed(asked: matrix.Matrix, index: LocalIndex, directory: Path, *, enough: float = math.inf) -> Course:
    """See that interpreters are known and listings read, and then run and watch."""
    index.answer("/simple/", "", "")  # reads all files, once
    local = dataclasses.replace(asked, index_url=index.url).changed(
        f"--spip-cache={directory.parent / 'cache'}", UV_CACHE_DIR=str(directory.parent / "uv"), NO_PROXY="127.0.0.1"
    )
    matrix.run(dataclasses.replace(local, packages=asked.packages[-1:]).small(), directory / "small")
    matrix.started(local.changed("--collect-only", "-q"), directory / "run").wait()
    return watched(local, directory / "run", enough)


def watched(many: matrix.Matrix, directory: Path, enough: float) -> Course:
    """Run the matrix until it ends or has brought enough verdicts; return how it went."""
    began = time.time()
    session = matrix.started(many, directory)
    watch = Watch(session.pid)
    planned = stopped = None
    while not ended(session, PERIOD):
        watch.sample()
        planned = planned or (time.time() if count(directory, "plan") else None)
        if not stopped and enough < math.inf and (count(directory, "ledger") >= enough or time.time() > began + LONG):
            stopped = time.time()
            session.send_signal(signal.SIGINT)
    return course(directory, (began, time.time()), planned, stopped, watch.samples)


class Watch:
    """Samples a session while it goes on."""

    def __init__(self, pid: int) -> None:
        self.samples: list[Sample] = []
        self._controller = psutil.Process(pid)
        self._workers: tuple[psutil.Process, ...] = ()
        self._looked = 0.0

    def sample(self) -> None:
        """Take a sample, unless the session has just ended."""
        now = time.time()
        if now > self._looked + STALE:
            self._looked = now
            tree = look(self._controller.pid)
            self._workers = tree.workers if tree else ()
        with contextlib.suppress(psutil.Error):
            times = self._controller.cpu_times()
            own = _mebibytes(self._controller)
            self.samples.append(Sample(now, times.user + times.system, own, tuple(map(_mebibytes, self._workers))))


def _mebibytes(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / MIB


def count(directory: Path, rows: str) -> int:
    """Return how many rows a table of the running session has; none before there is a database."""
    with contextlib.suppress(sqlite3.Error):
        return int(matrix.database(directory, f"SELECT count(*) FROM {rows}")[0][0])
    return 0


def course(
    directory: Path, lasting: tuple[float, float], planned: float | None, stopped: float | None, samples: list[Sample]
) -> Course:
    """Return how a session went that has ended; raises :class:`matrix.Unmeasurable` when it brought no verdict."""
    said = (directory / "pytest.log").read_text(encoding="utf-8", errors="replace")
    if not samples or not count(directory, "ledger"):
        raise matrix.Unmeasurable(said[-4000:])
    ((first, last),) = matrix.database(directory, "SELECT min(at), max(at) FROM ledger")
    ((ran,),) = matrix.database(
        directory, "SELECT min(at) FROM phase WHERE worker != 'controller' AND ordinal IS NOT NULL"
    )
    counted = next((line for line in reversed(said.splitlines()) if COUNTED.search(line) and " in " in line), "")
    return Course(
        began=lasting[0],
        ended=lasting[1],
        planned=planned,
        dispatched=min(first, ran or first),
        stopped=stopped,
        first=first,
        last=last,
        combinations=count(directory, "plan"),
        verdicts=count(directory, "ledger"),
        counted=sum(map(int, COUNTED.findall(counted))),
        samples=tuple(samples),
    )


def lines(skipped: Course, stopped: Course) -> Iterator[str]:
    """Yield a table for each session."""
    ratio = max(skipped.verdicts - 1, 1)
    milliseconds = 1000 * (skipped.cpu(skipped.last) - skipped.cpu(skipped.first)) / ratio
    yield f"{skipped.combinations} combinations planned, almost all of them skipped; then as many that would run"
    yield from table(
        [
            ["skipped", "", "aim"],
            ["verdicts in the ledger", str(skipped.verdicts), str(skipped.combinations)],
            ["verdicts that pytest was told of", str(skipped.counted), str(skipped.combinations)],
            ["controller's CPU a verdict, ms", f"{milliseconds:.3f}", f"{CPU_AIM:.1f}"],
            ["controller's CPU before the first, s", f"{skipped.cpu(skipped.first):.1f}", ""],
            ["verdicts a second", f"{ratio / max(skipped.last - skipped.first, PERIOD):.0f}", f"{RATE_AIM}"],
            *moments(skipped),
            ["whole command, s", f"{skipped.ended - skipped.began:.1f}", ""],
            *memory(skipped),
        ]
    )
    yield ""
    yield from table([["would run", "", "aim"], *moments(stopped), *ending(stopped), *memory(stopped)])


def moments(one: Course) -> Iterator[list[str]]:
    """Yield rows with the seconds from the start of the command to what counts."""
    planned = f"{one.planned - one.began:.1f}" if one.planned else "?"
    yield ["to the plan in the database, s", planned, ""]
    yield ["to the first dispatch, s", f"{one.dispatched - one.began:.1f}", f"< {DISPATCH_AIM}"]
    yield ["to the first verdict, s", f"{one.first - one.began:.1f}", ""]


def ending(one: Course) -> Iterator[list[str]]:
    """Yield rows with what an interrupted session came to."""
    yield ["verdicts in the ledger", str(one.verdicts), ""]
    yield ["from the interrupt to the end, s", f"{one.ended - (one.stopped or one.ended):.1f}", ""]


def memory(one: Course) -> Iterator[list[str]]:
    """Yield rows with resident memory at the last verdict or the interrupt, and the most that there was."""
    most = max(one.samples, key=lambda each: each.controller).controller
    workers = [max(each.workers) for each in one.samples if each.workers]
    yield ["controller's RSS, MiB", f"{one.end.controller:.0f}", f"< {CONTROLLER_AIM}"]
    yield ["at its peak", f"{most:.0f}", ""]
    yield ["greatest worker's RSS, MiB", f"{max(one.end.workers, default=0):.0f}", f"< {WORKER_AIM}"]
    yield ["at its peak", f"{max(workers, default=0):.0f}", ""]


if __name__ == "__main__":
    sys.exit(main())
