"""Kills fork servers and children at random while a session runs: ``python -m benchmarks.kills``.

Afterwards every planned combination must have one verdict, that of a session which nobody disturbed; an error is no
verdict on the package, and is counted apart. The exit status is 1 when a verdict is missing or wrong, 2 when there was
nothing to measure.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from benchmarks import matrix
from benchmarks.copies import generated
from benchmarks.disturbed import PACKAGE, contents, counted, differences, entered
from benchmarks.processes import interpreters, look
from benchmarks.tables import say
from benchmarks.wheels import NEWEST

__all__ = ["main"]

COMBINATIONS = 500


class Killer(threading.Thread):
    """Kills a process below the workers of a session at random moments, until it is stopped."""

    def __init__(self, session: subprocess.Popen[bytes], pause: tuple[float, float], seed: int) -> None:
        super().__init__(name="killer", daemon=True)
        self.killed: Counter[str] = Counter()
        self._session = session
        self._pause = pause
        self._random = random.Random(seed)
        self._stopped = threading.Event()

    def run(self) -> None:
        """Kill."""
        while not self._stopped.wait(self._random.uniform(*self._pause)):
            victims = list(self._victims())
            if victims:
                kind, process = self._random.choice(victims)
                with contextlib.suppress(psutil.Error):
                    process.kill()
                    self.killed[kind] += 1

    def stop(self) -> None:
        """Stop killing."""
        self._stopped.set()
        self.join()

    def _victims(self) -> Iterator[tuple[str, psutil.Process]]:
        """Yield the interpreters below the workers; git at work for them is not ours to kill."""
        tree = look(self._session.pid)
        if tree:
            yield from (("started by a worker", each) for each in interpreters(tree.servers))
            yield from (("below those", each) for each in interpreters(tree.others))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the matrix in peace and then disturbed, print the comparison and return the exit status."""
    arguments = parsed(argv)
    with matrix.workplace(arguments) as directory:
        asked = matrix.matrix_of(arguments)
        releases = arguments.combinations // len(arguments.python.split(","))
        with generated(asked, PACKAGE, dict(contents(releases)), directory) as many:
            try:
                say("an undisturbed run")
                peace = matrix.run(many, directory / "peace")
                say("a run with kills")
                war, killed = disturbed(many, directory / "war", arguments)
            except matrix.Unmeasurable as failure:
                say(str(failure))
                return 2
            faults = list(differences(entered(directory / "peace"), entered(directory / "war"), war))
    print("\n".join([*lines(peace, war, killed), *faults]))
    return int(bool(faults))


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = matrix.options("Kill fork servers and children at random.", [PACKAGE])
    parser.set_defaults(python=NEWEST)
    parser.add_argument("--combinations", type=int, default=COMBINATIONS, help=f"({COMBINATIONS})")
    parser.add_argument("--pause", type=float, nargs=2, default=(0.1, 0.3), metavar="S", help="between kills (0.1 0.3)")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def disturbed(many: matrix.Matrix, directory: Path, arguments: argparse.Namespace) -> tuple[matrix.Report, Killer]:
    """Run the matrix while processes are killed."""
    began = time.perf_counter()
    session = matrix.started(many, directory)
    killer = Killer(session, tuple(arguments.pause), arguments.seed)
    killer.start()
    session.wait()
    killer.stop()
    return matrix.read(directory, time.perf_counter() - began), killer


def lines(peace: matrix.Report, war: matrix.Report, killer: Killer) -> Iterator[str]:
    """Yield what was run and what came of it."""
    kills = ", ".join(f"{count} {kind}" for kind, count in killer.killed.items())
    yield f"{len(war.combinations)} combinations, {war.how}; {killer.killed.total()} kills ({kills or 'none'})"
    for title, report in (("in peace", peace), ("with kills", war)):
        yield f"{title}: {counted(report)}"
    errors = Counter(each.reason for each in war.combinations if each.outcome == "error")
    yield f"errors, no verdicts: {dict(errors) or 'none'}"


if __name__ == "__main__":
    sys.exit(main())
