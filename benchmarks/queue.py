"""Measures the shared queue: ``python -m benchmarks.queue``; ``--million`` adds a run of 1 000 000 tasks.

Sessions are processes that claim tasks and complete them, and do nothing in between. Rates count from the first claim to the
last answer; CPU is of the sessions and, for PostgreSQL, of the server. Its rivals work on the same server, with jobs that do
nothing; they hand out single jobs, so their sessions are as many as is best for them on two cores. Only ratios mean much.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import psutil

from benchmarks.queue_rivals import RIVALS
from benchmarks.tables import say, table
from pytest_spip.hosts.database import Database
from pytest_spip.hosts.queue import Agent, Answer, Queue, SharedPlan, Task
from pytest_spip.hosts.server import PostgresServer
from pytest_spip.hosts.urls import parse_url
from tests.support.postgres import databases, reachable_directory

__all__ = ["main"]

CLAIM = 256
"""Tasks of a claim, and of the completion after it: what a session with many workers holds."""
BODY = json.dumps({"result": "x" * 500})
"""A result of usual size."""
STARTING = 60
MILLION = 1_000_000
SESSIONS = 4
"""Sessions that share a million."""


@dataclasses.dataclass(frozen=True)
class Lap:
    """What some sessions did together: seconds from the first beginning to the last end, and CPU seconds."""

    tasks: int
    seconds: float
    sessions_cpu: float
    server_cpu: float

    @property
    def rate(self) -> float:
        """Tasks a second."""
        return self.tasks / self.seconds

    def cpu(self, seconds: float) -> str:
        """Return milliseconds of CPU for 1 000 tasks."""
        return f"{1000 * seconds / (self.tasks / 1000):.1f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the tables, and return the exit status: 1 where something was not done exactly once."""
    arguments = parsed(argv)
    if arguments.session:
        work(*arguments.session)
        return 0
    laps = [(arguments.tasks, count) for count in arguments.sessions]
    laps += [(MILLION, SESSIONS)] if arguments.million else []
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the start; claims of {CLAIM}")
    with reachable_directory() as top, PostgresServer(top / "server") as server:
        best = max(ours(laps, server), default=0.0)
        if arguments.rivals:
            theirs(arguments.rivals, arguments.sessions, server, best)
        costs(server)
    return 0


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description="Measure the shared queue.")
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--million", action="store_true", help="a run of 1 000 000 tasks as well")
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument(
        "--rivals", type=int, default=0, metavar="JOBS", help="jobs for procrastinate and PgQueuer (none)"
    )
    parser.add_argument("--session", nargs=3, metavar=("ADDRESS", "NAME", "START"), help=argparse.SUPPRESS)
    return parser.parse_args(argv)


# ours


def ours(laps: Sequence[tuple[int, int]], server: PostgresServer) -> Iterator[float]:
    """Measure both engines with numbers of tasks and of sessions; print a table, and yield the rates on PostgreSQL."""
    rows = [["engine, tasks", "sessions", "publish, s", "tasks/s", "CPU of sessions, ms/1 000", "of the server"]]
    for engine in ("postgresql", "sqlite"):
        for size, count in laps:
            say(f"{engine}, {size} tasks, {count} sessions")
            with address_of(engine, server) as address:
                publishing, lap = raced(address, size, count, server_cpu())
            say(f"{lap.rate:,.0f} tasks/s")
            server_part = lap.cpu(lap.server_cpu) if engine == "postgresql" else ""
            cells = [f"{lap.rate:,.0f}", lap.cpu(lap.sessions_cpu), server_part]
            rows.append([f"{engine}, {size:,}", str(count), f"{publishing:.2f}", *cells])
            if engine == "postgresql":
                yield lap.rate
    print("\n".join(table(rows)))


@contextlib.contextmanager
def address_of(engine: str, server: PostgresServer) -> Iterator[str]:
    """Yield the address of an empty database."""
    if engine == "postgresql":
        with databases(server) as address:
            yield address
    else:
        with tempfile.TemporaryDirectory() as directory:
            yield f"sqlite:///{directory}/queue.sqlite"


def raced(address: str, size: int, count: int, cpu: Callable[[], float]) -> tuple[float, Lap]:
    """Publish tasks, and have sessions share them; return the seconds of both."""
    with contextlib.closing(opened(address)) as database:
        queue = Queue(database, "run", Agent("publisher", "host", "boot"))
        began = time.perf_counter()
        queue.publish(SharedPlan("plan", {}, [Task(one, 1.0) for one in range(size)]))
        publishing = time.perf_counter() - began
        before = cpu()
        told = together(
            [sys.executable, "-m", "benchmarks.queue", "--session", address, f"session-{number}"]
            for number in range(count)
        )
        lap = Lap(
            int(sum(one["tasks"] for one in told)),
            max(one["ended"] for one in told) - min(one["began"] for one in told),
            sum(one["cpu"] for one in told),
            cpu() - before,
        )
        assert lap.tasks == size == queue.counts().done, "a task was lost, or done twice"
    return publishing, lap


def together(commands: Iterable[list[str]]) -> list[dict[str, float]]:
    """Start commands that begin at one time, given as their last argument; return what they print."""
    with tempfile.TemporaryDirectory() as directory:
        start = Path(directory, "start")
        started = [
            subprocess.Popen([*one, str(start)], stdout=subprocess.PIPE, stdin=subprocess.PIPE) for one in commands
        ]
        for one in started:
            assert one.stdout
            assert one.stdout.readline() == b"ready\n"
        start.touch()
        return [json.loads(one.communicate()[0]) for one in started]


def opened(address: str) -> Database:
    return Database(parse_url("--spip-queue", address, Path("/")))


def work(address: str, name: str, start: str) -> None:
    """Claim and complete until nothing is left; print how much that was, when, and the CPU seconds."""
    with contextlib.closing(opened(address)) as database:
        queue = Queue(database, "run", Agent(name, "host", "boot"))
        queue.enter()
        queue.claim(0)  # statements are compiled once in a session's life
        print("ready", flush=True)
        until = time.monotonic() + STARTING
        while not Path(start).exists():
            assert time.monotonic() < until
            time.sleep(0.001)
        began, cpu, tasks = time.monotonic(), time.process_time(), 0
        while claimed := queue.claim(CLAIM):
            tasks += len(queue.complete([answer(ordinal) for ordinal in claimed]))
        print(json.dumps({"tasks": tasks, "began": began, "ended": time.monotonic(), "cpu": time.process_time() - cpu}))


def answer(ordinal: int) -> Answer:
    return Answer(ordinal, "passed", None, False, 0.5, "f" * 64, BODY)


def server_cpu() -> Callable[[], float]:
    """Return what tells the CPU seconds of all processes that our server has had."""
    (first,) = [one for one in psutil.Process().children() if one.name() == "postgres"]

    def seconds() -> float:
        mine = first.cpu_times()
        total = mine.user + mine.system + mine.children_user + mine.children_system
        for one in first.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += one.cpu_times().user + one.cpu_times().system
        return float(total)

    return seconds


# theirs


def theirs(jobs: int, sessions: Sequence[int], server: PostgresServer, best: float) -> None:
    """Have rivals work at jobs that do nothing, on the same server; print their best rates, and ours as a multiple."""
    rows = [["rival", "sessions", "jobs/s", "CPU of sessions, ms/1 000", "of the server", "ours / it"]]
    for name in RIVALS:
        for count in sessions:
            say(f"{name}, {jobs} jobs, {count} sessions")
            with databases(server) as address:
                lap = rival_lap(name, address, jobs, count, server_cpu())
            cells = [f"{lap.rate:,.0f}", lap.cpu(lap.sessions_cpu), lap.cpu(lap.server_cpu)]
            rows.append([name, str(count), *cells, f"{best / lap.rate:.0f}"])
    print("\n".join(table(rows)))


def rival_lap(name: str, address: str, jobs: int, count: int, cpu: Callable[[], float]) -> Lap:
    """Measure some sessions of a rival, without the seconds that their imports take."""
    command = [sys.executable, "-m", "benchmarks.queue_rivals", name, address]
    subprocess.run([*command, "prepare", str(jobs)], check=True, stderr=subprocess.DEVNULL)
    before = cpu()
    told = together([*command, "work", str(jobs)] for _ in range(count))
    seconds = max(one["ended"] for one in told) - min(one["began"] for one in told)
    return Lap(jobs, seconds, sum(one["cpu"] for one in told), cpu() - before)


# costs, for the simulation of a cluster


def costs(server: PostgresServer) -> None:
    """Print the server's CPU for each kind of transaction: a part for itself, and a part for each task."""
    cpu = server_cpu()
    rows = [["transaction", "server CPU, ms", "and for each task"]]
    with databases(server) as address, contextlib.closing(opened(address)) as database:
        queue = Queue(database, "run", Agent("agent", "host", "boot"))
        queue.publish(SharedPlan("plan", {}, [Task(one, 1.0) for one in range(60_000)]))
        queue.enter()
        claims = {size: claim_cost(queue, size, cpu) for size in (8, CLAIM)}
        for place, what in enumerate(("claim", "complete")):
            few, many = claims[8][place], claims[CLAIM][place]
            each = (many - few) / (CLAIM - 8)
            rows.append([what, f"{1000 * max(few - 8 * each, 0):.3f}", f"{1000 * each:.4f}"])
        rows.append(["heartbeat", f"{1000 * spent(lambda: queue.heartbeat({}), 1000, cpu):.3f}", ""])
        rows.append(["counts", f"{1000 * spent(queue.counts, 1000, cpu):.3f}", ""])
    print("\n".join(table(rows)))


def claim_cost(queue: Queue, size: int, cpu: Callable[[], float]) -> tuple[float, float]:
    """Return the server's CPU seconds of a claim and of a completion of so many tasks."""
    count = 100 if size == CLAIM else 1000
    claimed: list[list[int]] = []
    claiming = spent(lambda: claimed.append(queue.claim(size)), count, cpu)
    parts = iter(claimed)
    completing = spent(lambda: queue.complete([answer(one) for one in next(parts)]), count, cpu)
    return claiming, completing


def spent(call: Callable[[], object], count: int, cpu: Callable[[], float]) -> float:
    before = cpu()
    for _ in range(count):
        call()
    return (cpu() - before) / count


if __name__ == "__main__":
    sys.exit(main())
