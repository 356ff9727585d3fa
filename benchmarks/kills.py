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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from benchmarks import matrix
from benchmarks.copies import generated
from benchmarks.processes import look
from benchmarks.tables import say
from benchmarks.wheels import NEWEST

__all__ = ["main"]

PACKAGE = "victim"
COMBINATIONS = 500
SLOW = "import time\ntime.sleep(0.08)\n"
KINDS = {
    5: "raise ImportError('not today')\n",
    7: "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n",
    11: "import os\nos._exit(0)\n",
}
"""What a release does whose number is divisible so; the others import."""

Verdicts = Mapping[str, tuple[str, str, str]]


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
        below = (("started by a worker", tree.servers), ("below those", tree.others)) if tree else ()
        for kind, group in below:
            for process in group:
                with contextlib.suppress(psutil.Error):
                    if process.name().startswith("python"):
                        yield kind, process


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


def contents(releases: int) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the releases by version."""
    for number in range(1, releases + 1):
        code = next((code for divisor, code in KINDS.items() if number % divisor == 0), "answer = 42\n")
        yield f"1.{number}", {f"{PACKAGE}/__init__.py": SLOW + code}


def disturbed(many: matrix.Matrix, directory: Path, arguments: argparse.Namespace) -> tuple[matrix.Report, Killer]:
    """Run the matrix while processes are killed."""
    began = time.perf_counter()
    session = matrix.started(many, directory)
    killer = Killer(session, tuple(arguments.pause), arguments.seed)
    killer.start()
    session.wait()
    killer.stop()
    return matrix.read(directory, time.perf_counter() - began), killer


def entered(directory: Path) -> dict[str, list[tuple[str, str, str]]]:
    """Return the verdicts of the ledger for every planned combination, by id: there should be one each."""
    query = "SELECT id, outcome, phase, reason FROM plan LEFT JOIN ledger USING (ordinal)"
    told: dict[str, list[tuple[str, str, str]]] = {}
    for row in matrix.database(directory, query):
        verdicts = told.setdefault(row["id"], [])
        if row["outcome"] is not None:
            verdicts.append((row["outcome"], row["phase"], row["reason"] or ""))
    return told


def differences(
    peace: Mapping[str, Sequence[tuple[str, str, str]]],
    war: Mapping[str, Sequence[tuple[str, str, str]]],
    report: matrix.Report,
) -> Iterator[str]:
    """Yield a line for each combination without exactly one verdict, or with another than in peace that is no error."""
    reported = Counter(each.id for each in report.combinations)
    details = {each.id: each.detail for each in report.combinations}
    for name in peace.keys() | war.keys():
        verdicts, right = war.get(name, ()), peace.get(name, ())
        if len(verdicts) != 1 or len(right) != 1 or reported[name] != 1:
            yield f"{name}: {len(verdicts)} verdicts in the ledger, {reported[name]} in the report"
        elif verdicts[0] != right[0] and "error" not in (verdicts[0][0], right[0][0]):
            yield f"{name}: {' '.join(verdicts[0])} ({details[name]}) instead of {' '.join(right[0])}"


def lines(peace: matrix.Report, war: matrix.Report, killer: Killer) -> Iterator[str]:
    """Yield what was run and what came of it."""
    kills = ", ".join(f"{count} {kind}" for kind, count in killer.killed.items())
    yield f"{len(war.combinations)} combinations, {war.how}; {killer.killed.total()} kills ({kills or 'none'})"
    for title, report in (("in peace", peace), ("with kills", war)):
        counts = Counter(each.outcome for each in report.combinations)
        told = ", ".join(f"{word} {count}" for word, count in sorted(counts.items()))
        yield f"{title}: {told} in {report.seconds:.1f} s"
    errors = Counter(each.reason for each in war.combinations if each.outcome == "error")
    yield f"errors, no verdicts: {dict(errors) or 'none'}"


if __name__ == "__main__":
    sys.exit(main())
