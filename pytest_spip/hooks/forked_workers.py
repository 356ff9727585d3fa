"""execnet gateways to workers that a zygote forks; xdist makes them as any others."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import execnet
from execnet.gateway_base import Popen2IO, get_execmodel, init_popen_io, serve

from pytest_spip.errors import HarnessProblem
from pytest_spip.session.worker_zygote import WorkerProcess, WorkerZygote, can_fork

if TYPE_CHECKING:
    import pytest
    from execnet.gateway_base import IO

__all__ = ["ForkedWorkers", "forked_workers"]

MAIN_THREAD = "main_thread_only"
"""xdist's execution model: the main thread of a worker does its work."""
MODULES = ("pytest_spip.session.worker_loop",)
ENDING = 60.0
"""Seconds that a worker has to end when it was dismissed."""


class ForkedWorkers(execnet.Group):
    """A group whose gateways to processes of this machine lead to forks of a zygote, as long as that lives."""

    def __init__(self) -> None:
        super().__init__(execmodel=MAIN_THREAD)
        self._zygote = WorkerZygote(_serve, MODULES)
        self._forks = True

    def makegateway(self, spec: execnet.XSpec | str | None = None) -> execnet.Gateway:
        """Return a gateway to a new worker; without a zygote, make it as ever."""
        if not self._forks or not isinstance(spec, execnet.XSpec):
            return super().makegateway(spec)
        self.allocate_id(spec)
        try:
            process = self._zygote.fork(str(spec.id))
        except HarnessProblem:
            self._forks = False
            return super().makegateway(spec)
        gateway = execnet.Gateway(_Pipes(process), spec)
        gateway.spec = spec
        self._register(gateway)
        return gateway

    def number_on(self, named: int) -> None:
        """Begin the names of further workers behind so many that have theirs from another group."""
        for _ in range(named):
            self.allocate_id(execnet.XSpec("popen"))

    def close(self) -> None:
        """End the zygote, and all workers that are left."""
        self.terminate(ENDING)
        self._zygote.close()


class _Pipes(Popen2IO):
    """A worker's pipes, as execnet uses those of a process that it started."""

    def __init__(self, process: WorkerProcess) -> None:
        super().__init__(process.stdin, process.stdout, get_execmodel(MAIN_THREAD))
        self._process = process

    def wait(self) -> int | None:
        self._process.wait(ENDING)
        return None

    def kill(self) -> None:
        self._process.kill()


def _serve(name: str) -> None:
    """Do what the controller sends, until it hangs up."""
    serve(cast("IO", init_popen_io(get_execmodel(MAIN_THREAD))), id=f"{name}-worker")


def forked_workers(config: pytest.Config) -> ForkedWorkers | None:
    """Return a group for xdist, if all its workers can be forks of this process; it ends with the session."""
    usual = set(config.getoption("tx", None) or ()) == {"popen"} and not config.getoption("px", None)
    if not usual or not can_fork():
        return None
    workers = ForkedWorkers()
    config.add_cleanup(workers.close)
    return workers
