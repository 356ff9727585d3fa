"""One matrix on three hosts that are killed, cut off and lose their database: ``python -m benchmarks.hosts`` (as root).

Each host is a network namespace with a cache, a tmpfs and a session of its own. They share a PostgreSQL by a bridge. One is
killed, the link of another is down for longer than its lease, and the database is restarted. The verdicts must be those of a
run on one host, each once, and what the killed host held must be free for others within 1.5 leases. The exit status is 1
where that is not so, 2 when there was nothing to measure.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from benchmarks import matrix
from benchmarks.commands import environment
from benchmarks.disturbed import PACKAGE, contents, counted, differences, entered
from benchmarks.tables import say
from pytest_spip.hosts.database import Database
from pytest_spip.hosts.server import PostgresServer
from pytest_spip.hosts.status import RunStatus, run_status
from pytest_spip.hosts.urls import parse_url
from tests.support.distributions import wheel
from tests.support.index import LocalIndex
from tests.support.postgres import reachable_directory

__all__ = ["main"]

COMBINATIONS = 3000
LEASE = 15
BRIDGE, ADDRESS = "spipbr0", "10.213.0.1"
"""A name and an address that are unlikely to be taken."""
HOSTS = ("killed", "cut", "steady")
RUN = "hosts"
PATIENCE = 1800.0
"""Seconds that a step may take."""


class Network:
    """A bridge, and a namespace for each host with a link to it; all of it goes at the end."""

    def __init__(self) -> None:
        self._held = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            ip("link", "add", BRIDGE, "type", "bridge")
            undo.callback(ip, "link", "del", BRIDGE)
            ip("addr", "add", f"{ADDRESS}/24", "dev", BRIDGE)
            ip("link", "set", BRIDGE, "up")
            for number, host in enumerate(HOSTS, 2):
                name, link = f"spip-{host}", f"spip{number}"
                ip("netns", "add", name)
                undo.callback(ip, "netns", "del", name)
                ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
                ip("link", "set", link, "master", BRIDGE, "up")
                ip("-n", name, "addr", "add", f"{ADDRESS[:-1]}{number}/24", "dev", "eth0")
                ip("-n", name, "link", "set", "eth0", "up")
                ip("-n", name, "link", "set", "lo", "up")
            self._held = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    @staticmethod
    def cut(host: str, *, off: bool) -> None:
        """Take a host's link down, or up again."""
        ip("link", "set", f"spip{HOSTS.index(host) + 2}", "down" if off else "up")


def ip(*arguments: str) -> None:
    """Run ip(8). Raises :class:`Unmeasurable`."""
    done = subprocess.run(["ip", *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        raise matrix.Unmeasurable(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


@dataclasses.dataclass
class Hosts:
    """Sessions of hosts that run one command."""

    directory: Path
    asked: matrix.Matrix
    url: str
    started: dict[str, subprocess.Popen[bytes]] = dataclasses.field(default_factory=dict)

    def start(self, host: str) -> None:
        """Start a host's session, with its own cache, tmpfs and network."""
        place = self.directory / host
        ram = place / "ram"
        ram.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2g", f"spip-{host}", ram], check=True)
        many = self.asked.changed(f"--spip-cache={place / 'cache'}", f"--spip-ram={ram}", f"--spip-queue={self.url}")
        many = many.changed(f"--spip-run={RUN}")
        command = [sys.executable, "-m", "pytest", f"--rootdir={place}", *many.arguments(place / "report.json")]
        with (place / "pytest.log").open("wb") as out:
            self.started[host] = subprocess.Popen(
                ["ip", "netns", "exec", f"spip-{host}", *command],
                cwd=place,
                env={**environment(many.index_url), **many.variables, "UV_CACHE_DIR": str(place / "uv")},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def close(self) -> None:
        """End what is left, and unmount."""
        for host, process in self.started.items():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            subprocess.run(["umount", "-l", self.directory / host / "ram"], check=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run on one host, then on three, print what came of it and return the exit status."""
    parser = matrix.options("Share a matrix between hosts that fail.", [PACKAGE])
    parser.set_defaults(workers=1)
    parser.add_argument("--combinations", type=int, default=COMBINATIONS, help=f"about so many ({COMBINATIONS})")
    parser.add_argument("--lease", type=float, default=LEASE, metavar="S", help=f"seconds of a lease ({LEASE})")
    arguments = parser.parse_args(argv)
    try:
        with matrix.workplace(arguments) as directory:
            return measured(arguments, directory)
    except matrix.Unmeasurable as failure:
        say(str(failure))
        return 2


def measured(arguments: argparse.Namespace, directory: Path) -> int:
    """Do all of it below a directory."""
    pythons = len(arguments.python.split(",")) if arguments.python else 6
    served = directory / "served"
    served.mkdir()
    for version, files in contents(arguments.combinations // pythons):
        wheel(served, PACKAGE, version, dict(files))
    with contextlib.ExitStack() as held:
        held.enter_context(Network())
        index = held.enter_context(LocalIndex(served, still=True, address=ADDRESS))
        top = held.enter_context(reachable_directory())
        server = held.enter_context(PostgresServer(top / "server", address=ADDRESS))
        asked = dataclasses.replace(matrix.matrix_of(arguments), versions="", exclude_newer="", index_url=index.url)
        asked = asked.changed("--spip-runner=warm", NO_PROXY=ADDRESS)
        say("one host")
        peace = matrix.run(asked.changed(f"--spip-cache={directory / 'alone'}", "-n2"), directory / "peace")
        say(counted(peace))
        hosts = Hosts(directory, asked, f"{server.url_with_password}?lease={arguments.lease}")
        held.callback(hosts.close)
        return judged(directory, disturbed(hosts, server, arguments.lease), arguments.lease)


def disturbed(hosts: Hosts, server: PostgresServer, lease: float) -> float:
    """Start the hosts and disturb them; return the seconds until what the killed one held was free."""
    database = Database(parse_url("url", hosts.url, hosts.directory))
    with contextlib.closing(database):

        def status() -> RunStatus | None:
            return run_status(database, RUN)

        def done(share: float) -> Callable[[], bool]:
            return lambda: (now := status()) is not None and now.done >= share * now.size

        for host in HOSTS:
            hosts.start(host)
        awaited(
            lambda: (now := status()) is not None and len(now.agents) == 3 and all(one.judged for one in now.agents)
        )
        awaited(done(0.2))
        held = holding(status())
        os.killpg(hosts.started["killed"].pid, signal.SIGKILL)
        hosts.started["killed"].wait()
        killed_at = time.monotonic()
        say("one host was killed")
        (lost,) = awaited_list(lambda: [one.id for one in agents(status()) if one.id in held and one.is_lost], 1)
        awaited(lambda: not any(one.holds for one in agents(status()) if one.id == lost))
        orphaned = time.monotonic() - killed_at
        say(f"what it held was free after {orphaned:.1f} s, {orphaned / lease:.2f} leases")
        awaited(done(0.4))
        Network.cut("cut", off=True)
        time.sleep(2 * lease)
        Network.cut("cut", off=False)
        say(f"another one was cut off for {2 * lease:g} s")
        awaited(done(0.6))
        server.restart()
        say("the database was restarted")
        for host in ("cut", "steady"):
            hosts.started[host].wait(PATIENCE)
    return orphaned


def agents(status: RunStatus | None) -> Iterator[Any]:
    """Yield the agents of a run."""
    yield from status.agents if status else ()


def holding(status: RunStatus | None) -> frozenset[str]:
    """Return the ids of agents."""
    return frozenset(one.id for one in agents(status))


def awaited(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds. Raises :class:`Unmeasurable` when it does not in time."""
    until = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > until:
            raise matrix.Unmeasurable("nothing goes on")
        time.sleep(0.1)


def awaited_list(found: Callable[[], list[str]], count: int) -> list[str]:
    """Wait until so many things are found, and return them."""
    awaited(lambda: len(found()) == count)
    return found()


def judged(directory: Path, orphaned: float, lease: float) -> int:
    """Print what differs from one host's run and return the exit status."""
    faults = []
    for host in ("cut", "steady"):
        war = matrix.read(directory / host, 0.0)
        print(f"{host}: {counted(war)}")
        found = list(differences(entered(directory / "peace"), entered(directory / host), war))
        faults += [f"{host}: {line}" for line in found]
    if orphaned > 1.5 * lease:
        faults.append(f"what the killed host held was free only after {orphaned / lease:.2f} leases")
    print(*(faults[:20] or ["every verdict is there once, and is that of one host's run"]), sep="\n")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
