"""What agents and the database remember of runs under random faults; ``SPIP_HISTORY=10000`` makes them as long as that.

Combinations are handed out, acknowledged, refused and recorded; each of these is an operation.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from pathlib import Path

from pytest_spip.hosts.history import EventKind, Violations, check_history
from tests.support.histories import AgentProcesses, disturb, noted
from tests.support.postgres import server
from tests.support.proxy import Fault, Proxy
from tests.support.queues import Hosts, plan

SIZE = int(os.environ.get("SPIP_HISTORY", "1000"))
SEED = int(os.environ.get("SPIP_SEED", "0")) or random.SystemRandom().randrange(2**32)
TTL = 1.5
SECONDS = 60 + SIZE / 10
AGENTS = 4
FAULTS = max(SIZE // 100, 10)


def check(logs: Path, hosts: Hosts, counted: dict[str, int], processes: AgentProcesses) -> None:
    """Check what was noted, and print what there was of each."""
    queue = hosts.queue("reader")
    events = list(noted(logs, queue, hosts))
    kinds = {kind.value: sum(event.kind is kind for event in events) for kind in EventKind}
    print(f"seed {SEED}: {len(events)} operations: {kinds}; faults: {counted}; {processes.started} agents")
    assert processes.errors == []
    assert check_history(range(SIZE), events) == Violations()
    assert queue.counts().done == SIZE == kinds["recorded"]
    assert kinds["handed out"] > SIZE, "nothing was disturbed"


def test_processes_fail(tmp_path: Path) -> None:
    """Agents that share a file are killed, and held for longer than their leases: nothing is lost, twice, or stale."""
    address = f"sqlite:///{tmp_path}/shared.sqlite"
    logs = tmp_path / "logs"
    logs.mkdir()
    with contextlib.closing(Hosts(address)) as hosts:
        hosts.queue("publisher").publish(plan(SIZE))
        made = AgentProcesses(logs, address, hosts.run, seed=SEED, ttl=TTL)
        with contextlib.closing(made) as processes:
            for _ in range(AGENTS):
                processes.start()
            faults = {"kill": processes.kill, "hold": lambda: processes.hold(TTL * 1.5)}
            counted = disturb(processes, faults, most=FAULTS, seconds=SECONDS)
        check(logs, hosts, counted, processes)


def test_servers_and_networks_fail(tmp_path: Path) -> None:
    """The server is killed, restarted and held, connections are cut before and after requests arrive, agents fail as well."""
    logs = tmp_path / "logs"
    logs.mkdir()
    chance = random.Random(SEED)

    def fault() -> Fault:
        return chance.choices(list(Fault), [0.96, 0.01, 0.02, 0.01])[0]

    with (
        server() as running,
        Proxy(running.port, fault) as proxy,
        contextlib.closing(Hosts(running.url_with_password)) as hosts,
    ):

        def kill() -> None:
            running.kill()
            running.start()

        def hold() -> None:
            running.pause()
            time.sleep(chance.uniform(0, TTL))
            running.go_on()

        hosts.queue("publisher").publish(plan(SIZE))
        address = running.url_with_password.replace(f":{running.port}/", f":{proxy.port}/")
        made = AgentProcesses(logs, address, hosts.run, seed=SEED, ttl=TTL)
        with contextlib.closing(made) as processes:
            for _ in range(AGENTS):
                processes.start()
            faults = {
                "kill an agent": processes.kill,
                "hold an agent": lambda: processes.hold(TTL * 1.5),
                "kill the server": kill,
                "restart the server": running.restart,
                "hold the server": hold,
            }
            counted = disturb(processes, faults, most=FAULTS, seconds=SECONDS)
        counted["cut connections"] = proxy.cuts
        check(logs, hosts, counted, processes)
