"""A private PostgreSQL: its processes, from start to end, on an address that a person names."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from pytest_spip.common.waits import ENDING
from pytest_spip.errors import HarnessProblem, UsageProblem
from pytest_spip.hosts.server_data import DATABASE, ROLE, ServerData, identity, server_environment

__all__ = ["PostgresServer"]

SUPERVISED = """\
exec 3<&0 </dev/null
({
  read -r word <&3 && exit
  kill -CONT $$; kill -INT $$
  for second in 1 2 3 4 5 6 7 8 9 10; do sleep 1; kill -0 $$ || exit; done
  kill -QUIT $$
} 2>/dev/null &)
exec 3<&-
exec "$@"
"""
"""Becomes the server. A process beside it waits for the other end of our pipe: a word there ends it, a closed pipe the server.

The kernel closes the pipe however we die. A signal at the parent's death (prctl(2)) would come at the end of a thread too.
"""
STARTING = 60.0
"""Seconds that a server may take until it accepts connections, recovery after a crash included."""
TRIES = 5
"""How often a free port is looked for: somebody else may take it before the server does."""


class PostgresServer:
    """Runs ``postgres`` on a data directory; use it as a context manager, which ends what it started.

    ``port`` 0 is a free one, which stays the same over restarts. ``durable=False`` is for tests: their data may be lost when
    the machine fails, though not when processes are killed. It is not for use by several threads at once.
    """

    def __init__(self, data: Path, *, address: str = "127.0.0.1", port: int = 0, durable: bool = True) -> None:
        self.address = address
        self.port = port
        self.durable = durable
        family = _family(address)
        _check_port(family, address, port)
        self._data = ServerData.open(data, durable=durable)
        self._family = family
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where the database is, without the password: libpq looks for that in :attr:`password_file`."""
        return self._url(ROLE)

    @property
    def url_with_password(self) -> str:
        """Where the database is, for somebody who passes it on in memory only: never print it, nor give it to a program."""
        return self._url(f"{ROLE}:{self._data.password()}")

    @property
    def password_file(self) -> Path:
        """The file that ``PGPASSFILE`` is to name."""
        return self._data.password_file

    @property
    def account(self) -> str:
        """As whom the server's processes run, where it is not ourselves."""
        return self._data.account

    @property
    def running(self) -> bool:
        """Whether the server's first process runs, or stands still."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server, and wait until it accepts connections. Raises ``HarnessProblem`` when it does not.

        Raises ``UsageProblem`` when somebody else has the port.
        """
        assert not self.running, "it runs"
        self._forget()
        chosen = self.port
        for left in reversed(range(TRIES)):
            self.port = chosen or _free_port(self._family, self.address)
            _check_port(self._family, self.address, self.port)
            self._data.write_password(self._data.password(), self.port)
            self._launch()
            try:
                return self._wait_until_ready()
            except HarnessProblem as error:
                self.kill()
                if chosen or not left or "in use" not in str(error):
                    raise
        return None

    def stop(self) -> None:
        """End the server as its fast shutdown does: sessions are ended, what was committed is on disk."""
        if self.running and self._process:
            self.go_on()
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(ENDING)
            except subprocess.TimeoutExpired:
                self.kill()
        self._forget()

    def kill(self) -> None:
        """Kill all processes of the server at once, as a machine that fails does."""
        if self.running and self._process:
            self._process.send_signal(signal.SIGSTOP)  # or it would start others, or end them in its own way
            process_tree = self._process_tree()
            for process in process_tree:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            self._process.wait(ENDING)
            _wait_until_dead(process_tree)
        self._forget()

    def restart(self) -> None:
        """End the server, and start it again on the same port."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Have all processes stand still, as those of a machine that hangs: connections stay, and nobody answers."""
        for process in self._process_tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()

    def go_on(self) -> None:
        """Have all processes go on."""
        for process in self._process_tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def close(self) -> None:
        """End the server, and let go of its directory."""
        self.stop()
        self._data.remove_memory()
        self._data.lock.release()

    def complaint(self) -> str:
        """Return what the server said of itself last."""
        return self._data.complaint()

    def _url(self, who: str) -> str:
        host = _reachable(self.address)
        return f"postgresql://{who}@{f'[{host}]' if ':' in host else host}:{self.port}/{DATABASE}"

    def _launch(self) -> None:
        settings = {
            "listen_addresses": self.address,
            "port": str(self.port),
            "hba_file": str(self._data.hba),
            "unix_socket_directories": "",
            "max_connections": "500",
            "log_checkpoints": "off",
            "fsync": "on" if self.durable else "off",
            # Files of these go with the directory. In /dev/shm they would stay when the server is killed.
            "dynamic_shared_memory_type": "mmap",
            "max_parallel_workers_per_gather": "0",
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(self._data.programs / "postgres"), "-D", str(self._data.data), *words]
        with self._data.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", SUPERVISED, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd="/",
                env=server_environment(),
                start_new_session=True,  # or the Ctrl-C of a terminal would reach it beside us
                **identity(self._data.account),
            )

    def _wait_until_ready(self) -> None:
        """Wait as pg_ctl does: the last line of the server's file of facts says how far it is."""
        facts, until = self._data.data / "postmaster.pid", time.monotonic() + STARTING
        assert self._process
        while True:
            if self._process.poll() is not None:
                raise HarnessProblem(f"PostgreSQL ended at its start: {self.complaint()}")
            with contextlib.suppress(FileNotFoundError):
                lines = facts.read_text("utf-8").splitlines()
                if len(lines) > 7 and lines[0] == str(self._process.pid) and lines[7].strip() == "ready":
                    return
            if time.monotonic() > until:
                raise HarnessProblem(f"PostgreSQL was not ready after {STARTING:g} s: {self.complaint()}")
            time.sleep(0.01)

    def _process_tree(self) -> list[psutil.Process]:
        """Return the server's processes, the first one first."""
        if not self.running or not self._process:
            return []
        first = psutil.Process(self._process.pid)
        return [first, *first.children(recursive=True)]

    def _forget(self) -> None:
        """Let the process beside the server end, which has nobody to end any more."""
        if self._process and self._process.stdin:
            with contextlib.suppress(OSError):
                self._process.stdin.write(b"ended\n")
                self._process.stdin.flush()
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self._process = None


def _wait_until_dead(processes: Sequence[psutil.Process]) -> None:
    """Wait for processes that were killed. Who adopts them may reap them later, which is of no account."""
    until = time.monotonic() + ENDING
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                if time.monotonic() > until:
                    raise HarnessProblem(f"process {process.pid} was killed, and has not ended after {ENDING:g} s")
                time.sleep(0.002)


def _family(address: str) -> socket.AddressFamily:
    """Return the family of an address or a name. Raises ``UsageProblem`` where nobody knows it."""
    try:
        return socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)[0][0]
    except OSError as error:
        what = f"nobody knows {address!r}"
        raise UsageProblem("--address", what, "name an address of this machine, such as 127.0.0.1") from error


def _free_port(family: socket.AddressFamily, address: str) -> int:
    with socket.socket(family, socket.SOCK_STREAM) as found:
        found.bind((address, 0))
        port: int = found.getsockname()[1]
        return port


def _check_port(family: socket.AddressFamily, address: str, port: int) -> None:
    """Raise ``UsageProblem`` where no server of ours can listen there."""
    with socket.socket(family, socket.SOCK_STREAM) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            tried.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                fix = "name one of its own, or 0.0.0.0 for all"
                raise UsageProblem("--address", f"{address} is no address of this machine", fix) from error
            why = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used: {os.strerror(error.errno or 0)}"
            raise UsageProblem(
                "--port", f"{port} at {address} {why}", "name another, or none for a free one"
            ) from error


def _reachable(address: str) -> str:
    """Return the name by which others reach an address: that of this machine where it stands for all addresses."""
    return socket.gethostname() if address in ("0.0.0.0", "::", "*") else address  # noqa: S104  # compared, not bound
