"""Watches what a long session holds on to: ``python -m benchmarks.soak``.

Many releases of a generated package, some of which leave files, threads, descriptors and processes behind, or die. The
exit status is 1 when the last tenth holds more than the first, 2 when there was nothing to measure.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from benchmarks import matrix
from benchmarks.copies import generated
from benchmarks.processes import Tree, ended, entries, look, mounts
from benchmarks.tables import say, table
from benchmarks.wheels import NEWEST

__all__ = ["main"]

PACKAGE = "soakling"
COMBINATIONS = 5000
ODD = 25
"""One release in so many misbehaves."""
SETTLED = 2.0
"""Seconds after which a process that a worker started is a fork server rather than a combination."""
TENTHS = 10
GROWTH = 1.05
SLACK = 2.0
"""What counts is a median of samples that fall at any moment of a combination."""
FREE = ("controller: descriptors", "controller: RSS, MiB", "worktrees", "fork servers")

PLAIN = "import json, decimal, threading, tempfile\nanswer = 42\n"
MISCHIEF = (
    "raise ImportError('not today')\n",
    "import os, tempfile\nfor n in range(200): open(os.path.join(tempfile.gettempdir(), f'left-{n}'), 'w').write('x' * 999)\n",
    "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n",
    "import subprocess\nsubprocess.Popen(['sleep', '600'])\n",
    "import os\nleft = [os.dup(1) for _ in range(50)]\n",
    "big = bytearray(30 << 20)\nbig[::4096] = b'x' * len(big[::4096])\n",
    "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n",
    "import os\nfor n in range(3):\n    if not os.fork(): os._exit(0)\n",
)


@dataclasses.dataclass(frozen=True)
class Sample:
    """What was held when so many combinations were done: by the whole session, and by each process of a kind."""

    done: int
    session: Mapping[str, float]
    processes: Mapping[tuple[str, int], Mapping[str, float]]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the session, watch it, print the first tenth against the last and return the exit status."""
    arguments = parsed(argv)
    with matrix.workplace(arguments) as directory, tempfile.TemporaryDirectory(dir=arguments.ram) as ram:
        asked = matrix.matrix_of(arguments).changed(f"--spip-ram={ram}")
        releases = arguments.combinations // len(arguments.python.split(","))
        with generated(asked, PACKAGE, dict(contents(releases)), directory) as many:
            say(f"{releases} releases of {PACKAGE}; filling caches while at it")
            samples, report = watched(many, directory / "run", Path(ram), arguments.period)
    try:
        rows = list(compared(samples, len(report.combinations)))
    except matrix.Unmeasurable as failure:
        say(str(failure))
        return 2
    print("\n".join(lines(rows, samples, report)))
    return int(not all(row.flat for row in rows))


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = matrix.options("Watch what a long session holds on to.", [PACKAGE])
    parser.set_defaults(python=NEWEST)
    parser.add_argument("--combinations", type=int, default=COMBINATIONS, help=f"({COMBINATIONS})")
    parser.add_argument("--period", type=float, default=0.25, help="seconds between two samples (0.25)")
    parser.add_argument("--ram", default="/dev/shm", metavar="DIR", help="a tmpfs, for a directory whose entries count")
    return parser.parse_args(argv)


def contents(releases: int) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the releases by version; every so many of them one of those that misbehave."""
    for number in range(releases):
        code = MISCHIEF[number // ODD % len(MISCHIEF)] if number % ODD == ODD - 1 else PLAIN
        yield f"1.{number}", {f"{PACKAGE}/__init__.py": code}


def watched(many: matrix.Matrix, directory: Path, ram: Path, period: float) -> tuple[list[Sample], matrix.Report]:
    """Run the matrix to its end and return what was seen meanwhile, and its report."""
    samples = []
    began = time.perf_counter()
    session = matrix.started(many, directory)
    while not ended(session, period):
        tree, done = look(session.pid), finished(directory)
        if tree and tree.workers and done:
            samples.append(Sample(done, held(tree, ram), dict(each_holds(tree))))
            if len(samples) % 40 == 0:
                say(f"{done} done")
    return samples, matrix.read(directory, time.perf_counter() - began)


def finished(directory: Path) -> int:
    """Return how many verdicts the ledger of the running session holds."""
    with contextlib.suppress(sqlite3.Error):
        return int(matrix.database(directory, "SELECT count(*) FROM ledger")[0][0])
    return 0


def held(tree: Tree, ram: Path) -> dict[str, float]:
    """Return what the session holds. A worktree is made when its interpreter is first met, so each of them may stay."""
    count, environments = entries(ram)
    return {
        "zombies": tree.zombies,
        "controller: mounts": mounts(tree.controller.pid),
        "tmpfs entries for each worktree": count / max(environments, 1),
        "worktrees": environments,
        "fork servers": len(tree.lasting(SETTLED)),
    }


def each_holds(tree: Tree) -> Iterator[tuple[tuple[str, int], dict[str, float]]]:
    """Yield what each process holds that lasts, with its kind; a worker has two descriptors for each of its servers besides."""
    kinds = {"worker": tree.workers, "fork server": tree.lasting(SETTLED), "controller": (tree.controller,)}
    for kind, processes in kinds.items():
        for process in processes:
            with contextlib.suppress(psutil.Error):
                rss = process.memory_info().rss / (1 << 20)
                theirs = 2 * len(process.children()) if kind == "worker" else 0
                yield (kind, process.pid), {"descriptors": process.num_fds() - theirs, "RSS, MiB": rss}


@dataclasses.dataclass(frozen=True)
class Row:
    """Medians of each tenth of a figure, of processes the means of their lives."""

    name: str
    tenths: Sequence[float]

    @property
    def first(self) -> float:
        """The first tenth."""
        return self.tenths[0]

    @property
    def last(self) -> float:
        """The last tenth."""
        return self.tenths[-1]

    @property
    def judged(self) -> bool:
        """The controller keeps every verdict, so it may grow; worktrees and servers are as many as there are Pythons."""
        return self.name not in FREE

    @property
    def flat(self) -> bool:
        """Whether the growth is within bounds: memory may grow by a twentieth, all else not at all."""
        if not self.judged:
            return True
        return self.last <= (self.first * GROWTH if "RSS" in self.name else self.first + SLACK)


def compared(samples: Sequence[Sample], total: int) -> Iterator[Row]:
    """Yield a row for each figure; raises :class:`matrix.Unmeasurable` when the session was too short."""
    if not samples or samples[0].done > total / 10 or samples[-1].done < total * 9 / 10:
        raise matrix.Unmeasurable("too short a session: no sample in its first or last tenth")
    for name in samples[0].session:
        yield Row(name, tenths([each.session[name] for each in samples]))
    kinds = dict.fromkeys(
        (kind, name) for each in samples for (kind, _), held in each.processes.items() for name in held
    )
    for kind, name in kinds:
        lives = [tenths(values) for values in series(samples, kind, name) if len(values) >= TENTHS]
        if lives:
            yield Row(f"{kind}: {name}", [statistics.mean(tenth) for tenth in zip(*lives, strict=True)])


def series(samples: Sequence[Sample], kind: str, name: str) -> list[list[float]]:
    """Return a figure of each process of a kind, as it went over that process's life."""
    keys = dict.fromkeys(key for each in samples for key in each.processes if key[0] == kind)
    return [[each.processes[key][name] for each in samples if key in each.processes] for key in keys]


def tenths(values: Sequence[float]) -> list[float]:
    """Return the medians of ten equal parts; raises :class:`matrix.Unmeasurable` when there are not enough values."""
    if len(values) < TENTHS:
        raise matrix.Unmeasurable(f"too short a session: {len(values)} samples")
    bounds = [len(values) * number // TENTHS for number in range(TENTHS + 1)]
    return [statistics.median(values[start:end]) for start, end in itertools.pairwise(bounds)]


def lines(rows: Sequence[Row], samples: Sequence[Sample], report: matrix.Report) -> Iterator[str]:
    """Yield the table."""
    yield f"{len(report.combinations)} combinations in {report.seconds:.0f} s, {len(samples)} samples, {report.how}"
    outcomes = sorted({each.outcome for each in report.combinations})
    counts = {word: sum(each.outcome == word for each in report.combinations) for word in outcomes}
    yield ", ".join(f"{word} {count}" for word, count in counts.items())
    head = ["", "first tenth", "last tenth", "growth", ""]
    words = {True: "flat", False: "GROWS"}
    yield from table(
        [
            head,
            *(
                [
                    row.name,
                    f"{row.first:.1f}",
                    f"{row.last:.1f}",
                    f"{row.last - row.first:+.1f}",
                    words[row.flat] if row.judged else "-",
                ]
                for row in rows
            ),
        ]
    )
    for row in rows:
        if not row.flat:
            yield f"{row.name}, tenth by tenth: {' '.join(f'{each:.1f}' for each in row.tenths)}"


if __name__ == "__main__":
    sys.exit(main())
