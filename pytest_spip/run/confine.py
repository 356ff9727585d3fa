"""Sandboxes for builds: a fork server each, that sees what it is given, has no network and ends with its build."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pytest_spip.common.trees import give_tree
from pytest_spip.errors import HarnessProblem
from pytest_spip.model import Limits, Sandbox
from pytest_spip.run.check_runners import SYSTEM_PATH
from pytest_spip.run.jobs import CommandJob
from pytest_spip.run.process import Ended
from pytest_spip.run.program import Program
from pytest_spip.run.server import ForkServer, Setup, has_fork_servers

__all__ = ["BuildSandboxes"]

_ENVIRONMENT = {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8"}
_Server = ForkServer | Program


class BuildSandboxes:
    """Opens sandboxes of the run's level.

    ``view`` is an empty directory that they build their views over; ``pycache`` is as in ``Setup``.
    """

    def __init__(self, sandbox: Sandbox, view: Path, pycache: Path) -> None:
        self._sandbox = sandbox
        self._view = view
        self._pycache = str(pycache)
        self._lock = threading.Lock()
        self._open: set[_Server] = set()
        self._stopped = False

    @property
    def level(self) -> int:
        """How strong they are."""
        return self._sandbox.level

    @contextlib.contextmanager
    def __call__(self, python: str, *, environment: str, write: Sequence[str]) -> Iterator[_Confined]:
        """Open a sandbox; ``write`` are directories that its programs come to own.

        So is ``environment`` where it can be overlaid, for each program anew; elsewhere they read it.
        """
        self._view.mkdir(parents=True, exist_ok=True)
        prefix, read = (environment, "") if self.level >= 3 else ("", environment)
        setup = Setup(
            self.level,
            str(self._view),
            _ENVIRONMENT,
            prefix=prefix,
            read=tuple(filter(None, [read])),
            write=tuple(write),
            pycache=self._pycache,
            bare=True,
        )
        if setup.sandbox_uid:
            for directory in map(Path, filter(None, (*write, prefix))):
                if directory.stat().st_uid != setup.sandbox_uid:  # a tree's top is given last
                    give_tree(directory, setup.sandbox_uid)
        with self._kept(ForkServer(python, setup) if has_fork_servers() else Program()) as server:
            yield _Confined(server)

    @contextlib.contextmanager
    def _kept(self, server: _Server) -> Iterator[_Server]:
        """Have :meth:`stop` know a server while it runs."""
        with contextlib.closing(server):
            with self._lock:
                self._open.add(server)
            try:
                if self._stopped:
                    raise HarnessProblem("the session is ending")
                yield server
            finally:
                with self._lock:
                    self._open.discard(server)

    def stop(self) -> None:
        """Kill what runs, and refuse to open more."""
        self._stopped = True
        with self._lock:
            for server in self._open:
                server.hang_up()


class _Confined:
    """Runs programs by one server."""

    def __init__(self, server: _Server) -> None:
        self._server = server

    def __call__(self, command: Sequence[str], *, environment: Mapping[str, str], cwd: str, limits: Limits) -> Ended:
        return self._server.run(CommandJob(cwd=cwd, limits=limits, command=tuple(command), variables=environment))
