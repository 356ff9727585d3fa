"""Kills or stops workers, fork servers and children, then controllers, at random: ``python -m benchmarks.chaos``.

First a session is struck: every so many verdicts a random one of its processes is killed, or stopped for ever. Then sessions
lose their controller at a random moment, and are resumed until the run is complete. The verdicts must be those of a session
that nobody disturbed, one each; nothing may hang, and nothing may be left. A combination over which two workers were struck
is given up as ``worker-lost``, which is right. The exit status is 1 when any of that is not so, 2 when there was nothing to
measure.

Cold children are killed and never stopped: their time runs out then, as that of a package that stops itself does.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from benchmarks import matrix
from benchmarks.blame import BLAME, noted
from benchmarks.copies import generated
from benchmarks.disturbed import PACKAGE, Verdicts, contents, counted, differences, entered
from benchmarks.processes import entries, interpreters, look, mentioning, mounts
from benchmarks.soak import finished
from benchmarks.tables import say, table
from benchmarks.wheels import NEWEST

__all__ = ["main"]

COMBINATIONS = 2000
EVERY = 20
CYCLES = 30
MOMENT = (0.5, 12.0)
LIMIT = 1200.0
GRACE = 30.0
"""Seconds within which all that a session started must be gone: workers whose controller was killed have fork servers to end."""
WARM = "forkserver.py"
"""Part of the command line of a fork server and of its warm children."""


@dataclasses.dataclass(frozen=True)
class Strike:
    """A process that was struck: what it is, the signal's name, and the worker's name if it is one."""

    kind: str
    signal: str
    worker: str = ""


@dataclasses.dataclass(frozen=True)
class Told:
    """What came of a part of the measurement: its title, the lines to print, and what went wrong."""

    title: str
    lines: Sequence[str]
    lost: int = 0
    double: int = 0
    hung: int = 0
    orphans: int = 0
    wrong: int = 0
    faults: Sequence[str] = ()

    @property
    def sound(self) -> bool:
        """Whether nothing went wrong."""
        return not (self.lost or self.double or self.hung or self.orphans or self.wrong)


class Striker(threading.Thread):
    """Strikes a process of a session whenever the ledger has so many verdicts more, until it is stopped."""

    def __init__(self, session: subprocess.Popen[bytes], directory: Path, every: int, seed: int) -> None:
        super().__init__(name="striker", daemon=True)
        self.strikes: list[Strike] = []
        self._session = session
        self._directory = directory
        self._every = every
        self._random = random.Random(seed)
        self._stopped = threading.Event()

    def run(self) -> None:
        """Strike. The ledger is written twice a second: within that time the moments are random."""
        while not self._stopped.wait(self._random.uniform(0.02, 0.2)):
            if finished(self._directory) >= self._every * (len(self.strikes) + 1):
                self._strike()

    def stop(self) -> None:
        """Stop striking."""
        self._stopped.set()
        self.join()

    def _strike(self) -> None:
        victims = self._victims()
        kinds = [kind for kind, group in victims.items() if group]
        if not kinds:
            return
        kind = self._random.choice(kinds)
        process = self._random.choice(victims[kind])
        with contextlib.suppress(psutil.Error):
            number = self._random.choice([signal.SIGKILL, signal.SIGSTOP])
            if kind == "below those" and not any(WARM in word for word in process.cmdline()):
                number = signal.SIGKILL
            name = worker_name(process) if kind == "worker" else ""
            process.send_signal(number)
            self.strikes.append(Strike(kind, number.name, name))

    def _victims(self) -> dict[str, list[psutil.Process]]:
        tree = look(self._session.pid)
        if tree is None:
            return {}
        workers = [each for each in tree.workers if worker_name(each)]
        servers, below = interpreters(tree.servers), interpreters(tree.others)
        return {"worker": workers, "fork server": list(servers), "below those": list(below)}


def worker_name(process: psutil.Process) -> str:
    """Return what xdist calls a worker, by the telemetry that it writes; nothing while it has not begun."""
    with contextlib.suppress(psutil.Error):
        for file in process.open_files():
            path = Path(file.path)
            if path.parent.name == "workers" and path.suffix == ".sqlite":
                return path.stem
    return ""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the matrix in peace, struck, and with controllers killed; print what came of it and return the exit status."""
    arguments = parsed(argv)
    with matrix.workplace(arguments) as directory, tempfile.TemporaryDirectory(dir=arguments.ram) as ram:
        asked = matrix.matrix_of(arguments).changed(f"--spip-ram={ram}", "--spip-timeout=10")
        releases = arguments.combinations // len(arguments.python.split(","))
        with generated(asked, PACKAGE, dict(contents(releases)), directory) as many:
            try:
                told = list(disturbed(many, directory, Path(ram), arguments))
            except matrix.Unmeasurable as failure:
                say(str(failure))
                return 2
    print("\n".join(lines(told)))
    return int(not all(each.sound for each in told))


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = matrix.options("Kill and stop processes of sessions at random.", [PACKAGE])
    parser.set_defaults(python=NEWEST, workers=8)
    parser.add_argument("--combinations", type=int, default=COMBINATIONS, help=f"({COMBINATIONS})")
    parser.add_argument("--every", type=int, default=EVERY, help=f"verdicts between two strikes ({EVERY})")
    parser.add_argument("--cycles", type=int, default=CYCLES, help=f"controllers to kill ({CYCLES})")
    parser.add_argument("--moment", type=float, nargs=2, default=MOMENT, metavar="S", help="they live for (0.5 12)")
    parser.add_argument("--limit", type=float, default=LIMIT, help=f"seconds after which a session hangs ({LIMIT:g})")
    parser.add_argument("--ram", default="/dev/shm", metavar="DIR", help="a tmpfs, for a directory whose entries count")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def disturbed(many: matrix.Matrix, directory: Path, ram: Path, arguments: argparse.Namespace) -> Iterator[Told]:
    """Yield what came of each part."""
    say("an undisturbed run")
    report = matrix.run(many, directory / "peace")
    peace = entered(directory / "peace")
    yield Told(
        f"in peace, {len(report.combinations)} combinations, {many.workers} workers", [report.how, counted(report)]
    )
    for part, title in ((struck, "a run that is struck"), (bereft, "runs whose controllers are killed")):
        say(title)
        before = mounts(psutil.Process().pid)
        told = part(many, peace, directory, arguments)
        left = [*leftovers(directory, ram), *_more_mounts(before)]
        yield dataclasses.replace(told, orphans=len(left), faults=[*told.faults, *left])


# -- strikes -------------------------------------------------------------------------------------------------------------


def struck(many: matrix.Matrix, peace: Verdicts, directory: Path, arguments: argparse.Namespace) -> Told:
    """Run the matrix while its processes are struck."""
    place, notes = directory / "struck", directory / "blame.txt"
    root = str(Path(__file__).parents[1])
    notes.unlink(missing_ok=True)
    watched = many.changed(
        "-pbenchmarks.blame", f"--max-worker-restart={arguments.combinations}", PYTHONPATH=root, **{BLAME: str(notes)}
    )
    began = time.perf_counter()
    session = matrix.started(watched, place)
    striker = Striker(session, place, arguments.every, arguments.seed)
    striker.start()
    in_time = ended(session, arguments.limit)
    striker.stop()
    strikes = striker.strikes
    if not in_time:
        return Told("struck", strike_lines(strikes), hung=1, faults=[f"hung at {finished(place)} verdicts"])
    report = matrix.read(place, time.perf_counter() - began)
    unjust = list(unjustified(report, place, noted(notes), {each.worker for each in strikes}))
    told = judged("struck", peace, place, report, [*strike_lines(strikes), *error_lines(report)])
    return dataclasses.replace(told, wrong=told.wrong + len(unjust), faults=[*told.faults, *unjust])


def strike_lines(strikes: Sequence[Strike]) -> list[str]:
    """Return what was struck."""
    kinds = Counter((each.kind, each.signal) for each in strikes)
    told = ", ".join(f"{count} {kind} {signal}" for (kind, signal), count in sorted(kinds.items()))
    return [f"{len(strikes)} strikes: {told or 'none'}"]


def error_lines(report: matrix.Report) -> list[str]:
    """Return what ended as an error of ours, which is no verdict."""
    errors = Counter(each.reason for each in report.combinations if each.outcome == "error")
    return [f"errors, no verdicts: {', '.join(f'{reason} {count}' for reason, count in errors.items()) or 'none'}"]


def unjustified(report: matrix.Report, place: Path, died: Mapping[str, int | None], hit: set[str]) -> Iterator[str]:
    """Yield a line for each worker that died unstruck, and each combination given up that two struck workers did not run."""
    yield from (f"{worker} died, and nobody struck it" for worker in died if worker not in hit)
    ordinals = {row["id"]: row["ordinal"] for row in matrix.database(place, "SELECT id, ordinal FROM plan")}
    deaths = Counter(ordinal for worker, ordinal in died.items() if worker in hit)
    for each in report.combinations:
        if each.outcome == "error" and (each.reason != "worker-lost" or deaths[ordinals[each.id]] < 2):
            yield f"{each}: {deaths[ordinals[each.id]]} struck workers ran it"


# -- controllers ---------------------------------------------------------------------------------------------------------


def bereft(many: matrix.Matrix, peace: Verdicts, directory: Path, arguments: argparse.Namespace) -> Told:
    """Kill controllers and go on with their runs, as often as asked; a run that is complete is followed by another."""
    dice = random.Random(arguments.seed)
    parts: list[Told] = []
    kills = 0
    while kills < arguments.cycles and len(parts) <= 2 * arguments.cycles:
        place = directory / f"bereft-{len(parts)}"
        suffered, told = life(
            many,
            peace,
            place,
            [dice.uniform(*arguments.moment) for _ in range(arguments.cycles - kills)],
            arguments.limit,
        )
        kills += suffered
        parts.append(told)
        say(f"{kills} controllers killed")
        if told.hung:
            break
    sums = {name: sum(getattr(each, name) for each in parts) for name in ("lost", "double", "hung", "wrong")}
    first = f"{kills} controllers killed in {len(parts)} runs"
    return Told(
        "controllers killed",
        [first, *(line for each in parts for line in each.lines)],
        **sums,
        faults=[fault for each in parts for fault in each.faults],
    )


def life(many: matrix.Matrix, peace: Verdicts, place: Path, moments: Sequence[float], limit: float) -> tuple[int, Told]:
    """Bring a run to its end, killing its controllers at these moments; return how many it were, and what came of it."""
    began = time.perf_counter()
    kept: dict[int, tuple[object, ...]] = {}
    lives: list[int] = []
    session = matrix.started(many, place)
    for moment in moments:
        if ended(session, moment, kill=False):
            break
        session.kill()
        session.wait()
        kept |= ledger(place)
        lives.append(len(kept))
        session = matrix.started(many.changed("--spip-resume") if is_planned(place) else many, place)
    if not ended(session, limit):
        return len(lives), Told("", [], hung=1, faults=[f"{place.name}: hung at {finished(place)} verdicts"])
    report = matrix.read(place, time.perf_counter() - began)
    lines = [f"killed with {' '.join(map(str, lives)) or 'no'} verdicts kept; {counted(report)}"]
    told = judged(place.name, peace, place, report, lines)
    now = ledger(place)
    gone = [
        f"{place.name}: verdict of {ordinal} was kept and is gone"
        for ordinal in kept
        if kept[ordinal] != now.get(ordinal)
    ]
    errors = [f"{place.name}: {each}" for each in report.combinations if each.outcome == "error"]
    return len(lives), dataclasses.replace(
        told, lost=told.lost + len(gone), wrong=told.wrong + len(errors), faults=[*told.faults, *gone, *errors]
    )


def is_planned(place: Path) -> bool:
    """Tell whether there is a run to go on with: one whose plan was frozen."""
    with contextlib.suppress(sqlite3.Error):
        return bool(matrix.database(place, "SELECT count(*) FROM plan")[0][0])
    return False


def ledger(place: Path) -> dict[int, tuple[object, ...]]:
    """Return the verdicts of the newest run, by ordinal, with their times."""
    with contextlib.suppress(sqlite3.Error):
        rows = matrix.database(place, "SELECT ordinal, outcome, phase, reason, at FROM ledger")
        return {row["ordinal"]: tuple(row) for row in rows}
    return {}


# -- what both have in common --------------------------------------------------------------------------------------------


def ended(session: subprocess.Popen[bytes], seconds: float, *, kill: bool = True) -> bool:
    """Wait so long for a session to end, and tell whether it did; else ``kill`` it."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        session.wait(seconds)
        return True
    if kill:
        session.kill()
        session.wait()
    return False


def judged(title: str, peace: Verdicts, place: Path, report: matrix.Report, told: Sequence[str]) -> Told:
    """Compare a run with the one in peace."""
    war = entered(place)
    faults = list(differences(peace, war, report))
    reported = Counter(each.id for each in report.combinations)
    lost = sum(not war.get(name) or not reported[name] for name in peace)
    double = sum(len(war.get(name, ())) > 1 or reported[name] > 1 for name in peace)
    return Told(title, [counted(report), *told], lost=lost, double=double, wrong=len(faults), faults=faults)


def leftovers(directory: Path, ram: Path) -> list[str]:
    """Wait until all is gone that sessions started or made in RAM; return what stays, having ended it."""
    until = time.monotonic() + GRACE
    while (left := _left(directory, ram)) and time.monotonic() < until:
        time.sleep(0.2)
    for pid in mentioning(directory):
        with contextlib.suppress(psutil.Error):
            psutil.Process(pid).kill()
    return left


def _left(directory: Path, ram: Path) -> list[str]:
    processes = [f"left: process {pid}, {command}" for pid, command in mentioning(directory).items()]
    count = sum(entries(each)[0] for each in ram.iterdir())  # a directory for each user stays
    return [*processes, *([f"left: {count} entries below {ram}"] if count else [])]


def _more_mounts(before: int) -> list[str]:
    more = mounts(psutil.Process().pid) - before
    return [f"left: {more} mounts"] if more > 0 else []


def lines(told: Sequence[Told]) -> Iterator[str]:
    """Yield what came of each part, and the table of what must be nothing."""
    for each in told:
        yield each.title
        yield from (f"    {line}" for line in each.lines)
    names = ("lost", "double", "hung", "orphans", "wrong")
    yield from table(
        [
            ["", *names],
            *([each.title.split(",")[0], *(str(getattr(each, name)) for name in names)] for each in told[1:]),
        ]
    )
    yield "aim: 0 of each"
    yield from (fault for each in told for fault in each.faults)


if __name__ == "__main__":
    sys.exit(main())
