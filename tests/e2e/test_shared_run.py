"""``--spip-queue``: sessions that share one run, by a file or a PostgreSQL of the tests' own."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_spip.hosts.database import Database
from pytest_spip.hosts.status import RunStatus, run_status
from pytest_spip.hosts.urls import parse_url
from tests.conftest import MakeMachine
from tests.support.distributions import simple_sdist, wheel
from tests.support.machine import LABEL, NONE, Done, Machine, eventually
from tests.support.postgres import databases, server

CLI = (sys.executable, "-m", "pytest_spip.cli")
SAME = ("id", "outcome", "phase", "reason", "detail", "fingerprint", "locked", "python")
LEASE = 3
"""Seconds of a lease: so long that a loaded machine keeps it, and so short that tests need not wait."""
SLOW = "import time; time.sleep(0.2)"
"""A module that gives the tests time to interfere."""
COUNT = 24
"""Releases that it has."""
BROKEN = """
def pytest_runtest_setup(item):
    assert "slow[1.9-" not in item.nodeid, "not today"
"""
"""A conftest that keeps one release from running."""
ON_POSTGRESQL = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
"""The contract's own tests are for each engine; whole sessions are dear."""


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:
    """List two projects: one of which releases fail to import or to build, and one whose import takes a while."""
    machine = make_machine()
    for number in range(10):
        wheel(machine.files, "demo", f"1.{number}", {"demo.py": "import nowhere" if number < 3 else ""})
    simple_sdist(machine.files, "demo", "1.10", {"demo.py": ""})
    simple_sdist(machine.files, "demo", "1.11", {"demo.py": ""}, fails="no compiler")
    for number in range(COUNT):
        wheel(machine.files, "slow", f"1.{number}", {"slow.py": SLOW})
    return machine


class Hosts:
    """Hosts that run one command: each has a project, cache and memory of its own."""

    def __init__(self, machine: Machine, url: str, matrix: str, known: Path) -> None:
        self.url = url
        self._machine = machine
        self._matrix = matrix
        self._known = known
        self._others: list[Hosts] = []
        self._started: dict[str, tuple[Machine, subprocess.Popen[str]]] = {}
        self._database = Database(parse_url("url", url, Path()))

    def with_matrix(self, matrix: str) -> Hosts:
        """Return hosts that run another matrix, under the same name; these close them."""
        other = Hosts(self._machine, self.url, matrix, self._known)
        self._others.append(other)
        return other

    def start(
        self, name: str, *more: str, run: str = "shared", files: Mapping[str, str] = NONE
    ) -> subprocess.Popen[str]:
        """Start a host's session, whose project may have files."""
        root = self._machine.root / f"h{len(os.listdir(self._machine.root))}"  # short: sockets lie below it
        host = Machine(root, self._machine.files, self._machine.index)
        host.learn(self._known)
        host.project(files=files)
        process = host.start(f"--spip-matrix={self._matrix}", f"--spip-queue={self.url}", f"--spip-run={run}", *more)
        self._started[name] = host, process
        return process

    def project(self, name: str) -> Path:
        """Return where a host's session runs."""
        return self._started[name][0].project_path("project")

    def go_on(self, name: str, *more: str) -> None:
        """Have a host go on with its run."""
        host, _ = self._started[name]
        process = host.start("--spip-resume=shared", f"--spip-queue={self.url}", *more, python="")
        self._started[name] = host, process

    def finish(self, name: str, *, timeout: float = 90) -> Done:
        """Wait for a host's session."""
        host, process = self._started[name]
        return host.finish(process, timeout=timeout)

    def status(self) -> RunStatus:
        """Return how the run stands."""
        found = run_status(self._database, "shared")
        assert found is not None
        return found

    def reaches(self, condition: Callable[[RunStatus], bool], seconds: float = 60) -> bool:
        """Wait until the run stands so."""

        def holds() -> bool:
            found = run_status(self._database, "shared")
            return found is not None and condition(found)

        return eventually(holds, seconds)

    def close(self) -> None:
        """End what a failed test left running."""
        for host, _ in self._started.values():
            host.close()
        for other in self._others:
            other.close()
        self._database.close()


@pytest.fixture
def hosts(machine: Machine, database_url: str, known: Path) -> Iterator[Callable[..., Hosts]]:
    """Return hosts that share a database, on each engine."""
    with contextlib.ExitStack() as stack:

        def make(matrix: str, *, lease: float = 60, url: str = database_url) -> Hosts:
            made = Hosts(machine, f"{url}?lease={lease}", matrix, known)
            stack.callback(made.close)
            return made

        yield make


def same(done: Done) -> dict[str, Mapping[str, Any]]:
    """Return what of a report does not depend on who ran it when."""
    return {name: {key: one[key] for key in SAME} for name, one in done.combinations.items()}


def recorded(project: Path) -> int:
    """Return how many verdicts a host's own ledger has of its own."""
    with contextlib.closing(sqlite3.connect(project / ".spip/runs/shared/run.sqlite", timeout=30)) as database:
        ((count,),) = database.execute("SELECT count(*) FROM ledger WHERE session = 1").fetchall()
        return int(count)


def test_two_hosts(hosts: Callable[..., Hosts], machine: Machine) -> None:
    """Two sessions judge each combination once, between them, and both report and end as one that ran all."""
    whole = machine.run("--spip-matrix=demo", project="whole")
    shared = hosts("demo")
    shared.start("a", "-n2")
    shared.start("b")  # without workers
    first, second = shared.finish("a"), shared.finish("b")
    assert (first.status, second.status, whole.status) == (1, 1, 1), first.stdout + second.stdout
    assert same(first) == same(second) == same(whole)
    status = shared.status()
    assert (status.size, status.done, status.failing, len(status.agents)) == (12, 12, 4, 2)
    assert sum(agent.judged for agent in status.agents) == 12
    assert all(agent.has_left and not agent.holds for agent in status.agents)
    assert {one["judged"] for one in first.report["run"]["agents"]} == {agent.judged for agent in status.agents}
    for done in (first, second):
        assert "shared by" in done.stdout
        assert recorded(done.project) <= 12
    reported = machine.run("report", shared.url, project="whole", bare=True, program=CLI)
    assert reported.status == 1, reported.stderr
    assert "12 combinations: 8 passed, 4 failed" in reported.stdout
    shown = machine.run("status", shared.url, project="whole", bare=True, program=CLI)
    assert "run shared: 12 of 12 combinations done, 4 failed" in shown.stdout, shown.stderr
    assert shown.stdout.count("has left") == 2


@ON_POSTGRESQL
def test_late_host(hosts: Callable[..., Hosts]) -> None:
    """A host that comes when all is done runs nothing, and reports what the others found."""
    shared = hosts("demo>=1.3,<1.10")
    shared.start("a", "-n2")
    assert shared.finish("a").status == 0
    shared.start("late", "-n2")
    late = shared.finish("late")
    assert late.status == 0, late.stdout
    assert "7 combinations: 7 passed" in late.stdout
    assert {agent.judged for agent in shared.status().agents} == {0, 7}


@ON_POSTGRESQL
def test_other_plan(hosts: Callable[..., Hosts]) -> None:
    """A host with another matrix, or other limits, is refused before it runs anything, and says what differs."""
    shared = hosts("demo>=1.3,<1.10")
    shared.start("a")
    assert shared.finish("a").status == 0
    shared.start("limits", "--spip-timeout=7")
    limits = shared.finish("limits")
    assert limits.status == 4
    assert "run shared has other limits, or another sandbox or system" in limits.stderr
    other = shared.with_matrix("demo==1.5")
    other.start("plan")
    plan = other.finish("plan")
    assert plan.status == 4
    assert "--spip-queue: run shared has another plan" in plan.stderr
    assert [line for line in plan.stderr.splitlines() if line.strip()] == [plan.stderr.strip()]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_functions_beside(hosts: Callable[..., Hosts]) -> None:
    """Hosts whose workers are pytest sessions wait neither for each other's last items, nor for one that a hook breaks."""
    shared = hosts("slow>=1.8")
    functions = {"test_beside.py": "def test_beside(): pass\ndef test_more(): pass\n", "conftest.py": BROKEN}
    for name in ("first", "second"):
        shared.start(name, "-n1", "test_beside.py", files=functions)
    both = [shared.finish(name) for name in ("first", "second")]
    assert [done.status for done in both] == [1, 1], both
    assert shared.status().done == COUNT - 8
    for done in both:
        assert [name for name, outcome in done.outcomes.items() if outcome != "passed"] == [f"slow[1.9-{LABEL}]"]


def test_killed_host(hosts: Callable[..., Hosts]) -> None:
    """What a host held that was killed is run by another one, and every verdict is there once."""
    shared = hosts("slow", lease=LEASE)
    killed = shared.start("killed", "-n2")
    assert shared.reaches(lambda status: status.done >= 2)
    os.killpg(killed.pid, signal.SIGKILL)
    assert shared.status().running > 0
    shared.start("other", "-n2")
    other = shared.finish("other")
    assert other.status == 0, other.stdout
    status = shared.status()
    assert (status.done, status.ready, status.running) == (COUNT, 0, 0)
    assert sorted(agent.is_lost for agent in status.agents) == [False, True]
    assert ", lost)" in other.stdout
    assert set(other.outcomes.values()) == {"passed"}


@ON_POSTGRESQL
def test_held_host(hosts: Callable[..., Hosts]) -> None:
    """A host that stood still past its lease goes on with what is left, and nothing is recorded twice."""
    shared = hosts("slow", lease=LEASE)
    held = shared.start("held", "-n2")
    assert shared.reaches(lambda status: status.done >= 2)
    os.kill(held.pid, signal.SIGSTOP)  # its controller; workers go on with what they have
    shared.start("other", "-n2")
    assert shared.reaches(lambda status: status.done >= COUNT // 2)
    os.kill(held.pid, signal.SIGCONT)
    done, other = shared.finish("held"), shared.finish("other")
    assert (done.status, other.status) == (0, 0), done.stdout + other.stdout
    assert sum(agent.judged for agent in shared.status().agents) == COUNT
    assert same(done) == same(other)


@ON_POSTGRESQL
def test_interrupted_host(hosts: Callable[..., Hosts]) -> None:
    """Ctrl-C gives back what a host holds: others need not wait for its lease."""
    shared = hosts("slow", lease=600)
    first = shared.start("first", "-n2")
    assert shared.reaches(lambda status: status.done >= 2)
    os.kill(first.pid, signal.SIGINT)
    interrupted = shared.finish("first")
    assert interrupted.status == 2, interrupted.stdout
    status = shared.status()
    assert (status.running, status.ready + status.done) == (0, COUNT)
    shared.start("second", "-n2")
    assert shared.finish("second").status == 0


def test_lost_database(machine: Machine, known: Path) -> None:
    """While the database is away work goes on, and its verdicts are shared when it is back."""
    with server() as running, databases(running) as url:
        shared = Hosts(machine, f"{url}?lease={LEASE}", "slow", known)
        with contextlib.closing(shared):
            shared.start("a", "-n2")
            assert shared.reaches(lambda status: status.done >= 2)
            running.kill()
            assert eventually(lambda: not running.running)
            running.start()
            done = shared.finish("a")
            assert done.status == 0, done.stdout
            assert (shared.status().done, set(done.outcomes.values())) == (COUNT, {"passed"})


def test_resumed_host(machine: Machine, known: Path) -> None:
    """A session that ends without its database says so; when it goes on, what it judged is shared, and the rest is run."""
    with server() as running, databases(running) as url:
        shared = Hosts(machine, f"{url}?lease={LEASE}", "slow", known)
        with contextlib.closing(shared):
            first = shared.start("a", "-n2")
            assert shared.reaches(lambda status: status.done >= 2)
            running.kill()
            assert eventually(lambda: recorded(shared.project("a")) >= COUNT // 2, 30)
            os.kill(first.pid, signal.SIGINT)
            done = shared.finish("a")
            assert done.status == 2, done.stdout
            assert "verdicts are not shared: repeat it with --spip-resume=shared" in done.stdout
            running.start()
            before = shared.status().done
            shared.go_on("a", "-n2")
            again = shared.finish("a")
            assert again.status == 0, again.stdout
            status = shared.status()
            assert (status.done, set(again.outcomes.values())) == (COUNT, {"passed"})
            assert max(agent.judged for agent in status.agents) > COUNT - before - COUNT // 2


BAD = {
    "--spip-queue: hosts find each other by the run's name": ("--spip-queue=sqlite:///x.sqlite",),
    "--spip-queue: mysql:// is not supported": ("--spip-queue=mysql://h/d", "--spip-run=r"),
    "--spip-queue: it does not go with --spip-shard": (
        "--spip-queue=sqlite:///x.sqlite",
        "--spip-run=r",
        "--spip-shard=1/2",
    ),
    "--spip-queue: there is no directory": ("--spip-queue=sqlite:////nowhere/at/all/x.sqlite", "--spip-run=r"),
    "lease=soon is no lease": ("--spip-queue=sqlite:///x.sqlite?lease=soon", "--spip-run=r"),
    "connection": ("--spip-queue=postgresql://u:s3cr3t@127.0.0.1:1/d", "--spip-run=r"),
}


def test_bad_input(machine: Machine) -> None:
    """What cannot be is said in one line, without the password."""
    done = machine.run_all(
        {f"bad{number}": {"arguments": ("--spip-matrix=demo", *how)} for number, how in enumerate(BAD.values())}
    )
    for said, one in zip(BAD, done.values(), strict=True):
        assert one.status == 4, one.stdout
        assert said in one.stderr
        assert "s3cr3t" not in one.stdout + one.stderr
        assert len(one.stderr.strip().splitlines()) == 1


def test_password(machine: Machine, postgres: Any, known: Path) -> None:
    """A password that a command names is in no output, report, record or list of processes."""
    with databases(postgres) as url:
        secret = url.partition("://")[2].partition("@")[0].partition(":")[2]
        assert len(secret) > 8
        shared = Hosts(machine, url, "slow<1.10", known)
        with contextlib.closing(shared):
            process = shared.start("a", "-n2", "--spip-report=html:out.html")
            assert shared.reaches(lambda status: status.done >= 1)
            tree = [
                process.pid,
                *map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()),
            ]
            lists = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in tree]
            done = shared.finish("a")
        assert done.status == 0, done.stdout
        assert secret.encode() not in b"".join(lists)
        assert secret not in done.stdout + done.stderr
        files = [path for path in done.project.rglob("*") if path.is_file()]
        assert files
        assert [path for path in files if secret.encode() in path.read_bytes()] == []


def test_resumed_when_complete(machine: Machine, known: Path) -> None:
    """A host that judged all, and could not share it, does so when it goes on, though nothing is left to run."""
    with server() as running, databases(running) as url:
        shared = Hosts(machine, f"{url}?lease={LEASE}", f"slow>=1.{COUNT - 2}", known)
        with contextlib.closing(shared):
            shared.start("a")
            assert shared.reaches(lambda status: status.running == 2)
            running.kill()
            done = shared.finish("a")
            assert "verdicts are not shared: repeat it with --spip-resume=shared" in done.stdout
            running.start()
            before = shared.status().done
            shared.go_on("a")
            again = shared.finish("a")
            assert (before, again.status, shared.status().done) == (0, 0, 2), again.stdout
