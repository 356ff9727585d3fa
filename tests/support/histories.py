"""Runs of real agents under random faults, and what they and the database noted."""

from __future__ import annotations

import dataclasses
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pytest_spip.hosts.history import Event, EventKind
from pytest_spip.hosts.queue import Queue
from tests.support.queue_agent import Part
from tests.support.queues import Hosts

__all__ = ["AgentProcesses", "disturb", "noted"]

ROOT = Path(__file__).parents[2]
HOUR = 3600.0
PAUSE = 1.5
"""Seconds between two faults, at most."""


class AgentProcesses:
    """Agents of one run in processes of their own, which may be killed and held; their clocks are hours apart."""

    def __init__(self, logs: Path, url: str, run: str, *, seed: int, ttl: float) -> None:
        self.logs = logs
        self.url = url
        self.run = run
        self.ttl = ttl
        self.random = random.Random(seed)
        self.started = 0
        self.living: dict[str, subprocess.Popen[bytes]] = {}
        self.errors: list[str] = []

    def start(self) -> None:
        """Start one more agent."""
        self.started += 1
        name = f"agent-{self.started}"
        skew = self.random.choice([-HOUR, 0.0, HOUR])
        log = str(self.logs / f"{name}.jsonl")
        part = Part(self.url, self.run, name, self.random.randrange(2**32), self.ttl, log, skew)
        command = [sys.executable, "-m", "tests.support.queue_agent", json.dumps(dataclasses.asdict(part))]
        with (self.logs / f"{name}.err").open("wb") as errors:
            self.living[name] = subprocess.Popen(command, cwd=ROOT, stderr=errors, stdin=subprocess.DEVNULL)

    def kill(self) -> None:
        """Kill an agent, and start another one in its place."""
        name, process = self._some()
        process.kill()
        process.wait()
        del self.living[name]
        self.start()

    def hold(self, seconds: float) -> None:
        """Have an agent stand still for so long; it goes on with what it believes to hold."""
        _, process = self._some()
        process.send_signal(signal.SIGSTOP)
        timer = threading.Timer(seconds, process.send_signal, [signal.SIGCONT])
        timer.daemon = True
        timer.start()

    def _some(self) -> tuple[str, subprocess.Popen[bytes]]:
        return self.random.choice(sorted(self.living.items()))

    def all_ended(self) -> bool:
        """Return True when no agent runs any more; those that failed are noted."""
        for name, process in list(self.living.items()):
            status = process.poll()
            if status is not None:
                del self.living[name]
                if status:
                    self.errors.append(f"{name}: {status}: {(self.logs / f'{name}.err').read_text('utf-8')[-2000:]}")
        return not self.living

    def close(self) -> None:
        """Kill all that is left."""
        for process in self.living.values():
            process.kill()
            process.wait()


def disturb(
    processes: AgentProcesses, faults: Mapping[str, Callable[[], None]], *, most: int, seconds: float
) -> dict[str, int]:
    """Inject faults at random, ``most`` at most, until all agents have ended; return how many of each kind there were.

    After ``seconds`` the agents are believed to be stuck.
    """
    until = time.monotonic() + seconds
    counted = dict.fromkeys(faults, 0)
    due = time.monotonic() + PAUSE
    while not processes.all_ended():
        assert time.monotonic() < until, "the agents do not come to an end"
        time.sleep(0.02)
        if time.monotonic() > due and sum(counted.values()) < most:
            name = processes.random.choice(sorted(faults))
            counted[name] += 1
            faults[name]()
            due = time.monotonic() + processes.random.uniform(0, PAUSE)
    return counted


def noted(logs: Path, queue: Queue, hosts: Hosts) -> Iterator[Event]:
    """Yield what agents saw, and what the database holds; results whose body is another agent's are nobody's."""
    for path in sorted(logs.glob("*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            kind, ordinal, agent, lease, began, ended = json.loads(line)
            yield Event(EventKind[kind], ordinal, agent, lease, began, ended)
    query = "SELECT r.ord, l.agent, r.lease, r.body FROM spip_result r JOIN spip_lease l ON l.id = r.lease WHERE r.run = :run"
    for ordinal, agent, lease, body in hosts.rows(query, run=queue.run):
        author = json.loads(body)["agent"]
        yield Event(EventKind.RECORDED, ordinal, agent if author == agent else f"{author} as {agent}", lease)
