"""A process that has all modules of a worker loaded, and forks workers. Linux only.

It is a fork of the controller, made before that has threads, and loads the rest while the controller plans. Its workers share
its pages, and need no imports of their own. Over a socket it takes a message for each worker, a JSON object of ``Order``
behind four bytes of its length, with the descriptors of the worker's standard input and output; it answers with its pid.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import fcntl
import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import sys
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn, TypedDict

from pytest_spip.common.waits import reap
from pytest_spip.errors import HarnessProblem

__all__ = ["WorkerProcess", "WorkerZygote", "can_fork"]

PATIENCE = 60.0
"""Seconds that a zygote has to answer: at first it loads modules."""
DEAF = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals that terminals and service managers send to all processes. The controller decides, and its end is ours."""
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15


class Order(TypedDict):
    """What makes a worker: its name, and what a process inherits that plugins may have changed since the zygote was made."""

    name: str
    environment: dict[str, str]
    directory: str


def can_fork() -> bool:
    """Whether a fork of this process is whole: threads would be missing in it, and hold their locks for ever."""
    if not sys.platform.startswith("linux") or not hasattr(os, "pidfd_open"):
        return False
    with contextlib.suppress(OSError):
        return threading.active_count() == 1 and len(os.listdir("/proc/self/task")) == 1
    return False


class WorkerProcess:
    """A worker that a zygote forked, as its user sees it: the ends of its pipes, and its life."""

    def __init__(self, pid: int, stdin: int, stdout: int) -> None:
        self.stdin = os.fdopen(stdin, "wb")
        self.stdout = os.fdopen(stdout, "rb")
        try:
            self._end = os.pidfd_open(pid)
        except ProcessLookupError:
            self._end = -1

    def wait(self, seconds: float) -> None:
        """Wait for its end, for so long at most."""
        if self._end >= 0:
            select.select([self._end], [], [], seconds)

    def kill(self) -> None:
        """Kill it."""
        if self._end >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._end, signal.SIGKILL)


class WorkerZygote:
    """The controller's side. ``serve`` is what a worker does, given its name; ``modules`` are loaded beforehand."""

    def __init__(self, serve: Callable[[str], None], modules: Sequence[str]) -> None:
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, DEAF)  # until it has no ear for them
        self._pid = os.fork()
        if self._pid == 0:
            _be_zygote(self._socket, theirs, serve, modules)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self._socket.settimeout(PATIENCE)

    def fork(self, name: str) -> WorkerProcess:
        """Return a new worker. Raises ``HarnessProblem`` when there can be none."""
        order: Order = {"name": name, "environment": dict(os.environ), "directory": os.getcwd()}
        data = json.dumps(order).encode("ascii")
        stdin, ours_in = os.pipe()
        ours_out, stdout = os.pipe()
        try:
            with self._lock:
                first = socket.send_fds(self._socket, [struct.pack("!I", len(data))], [stdin, stdout])
                self._socket.sendall(struct.pack("!I", len(data))[first:] + data)
                (pid,) = struct.unpack("!I", _received(self._socket, 4))
        except (OSError, EOFError) as error:
            os.close(ours_in)
            os.close(ours_out)
            raise HarnessProblem(f"no worker could be forked ({error})") from error
        finally:
            os.close(stdin)
            os.close(stdout)
        return WorkerProcess(pid, ours_in, ours_out)

    def close(self) -> None:
        """End it; workers that are left end with it."""
        self._socket.close()
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)  # it is not reaped yet
            reap(self._pid, "the zygote of the workers")
            self._pid = 0


def _be_zygote(
    controllers: socket.socket, ours: socket.socket, serve: Callable[[str], None], modules: Sequence[str]
) -> NoReturn:
    """Load modules and fork workers, until the controller hangs up or dies."""
    status = 1
    try:
        controllers.close()
        _end_with_parent()
        _be_called("spip-zygote")
        for number in DEAF:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, DEAF)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for workers here
        _forget_watchers()
        for module in modules:
            importlib.import_module(module)
        gc.collect()
        gc.freeze()
        while _forked(ours, serve):
            pass
        status = 0
    except EOFError:
        status = 0
    finally:
        os._exit(status)


def _end_with_parent() -> None:
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _be_called(name: str) -> None:
    """Have ps and top show a name instead of ``python`` or ``pytest``; they show 15 bytes of it (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


def _forget_watchers() -> None:
    """Have nobody look on who looks at the controller: tracers, profilers, a fault handler with its own descriptor."""
    faulthandler.disable()
    sys.settrace(None)
    sys.setprofile(None)
    monitoring = getattr(sys, "monitoring", None)
    for tool in range(6) if monitoring else ():
        if monitoring and monitoring.get_tool(tool):
            monitoring.set_events(tool, 0)
    warnings.simplefilter("ignore")


def _forked(ours: socket.socket, serve: Callable[[str], None]) -> bool:
    """Fork a worker as the next message has it; return False when there is none."""
    head, descriptors, _, _ = socket.recv_fds(ours, 4, 2)
    if not head:
        return False
    (size,) = struct.unpack("!I", head + _received(ours, 4 - len(head)))
    order: Order = json.loads(_received(ours, size))
    pid = os.fork()
    if pid == 0:
        ours.close()
        _be_worker(order, descriptors, serve)
    for one in descriptors:
        os.close(one)
    ours.sendall(struct.pack("!I", pid))
    return True


def _be_worker(order: Order, descriptors: Sequence[int], serve: Callable[[str], None]) -> NoReturn:
    """Become what a Python of its own would be: default signals, the streams that were sent, environment and directory."""
    status = 1
    try:
        for number in (*DEAF, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _be_called(f"spip-{order['name']}")
        for target, descriptor in enumerate([fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, 3) for one in descriptors]):
            os.dup2(descriptor, target)
            os.close(descriptor)
        sys.stdin = os.fdopen(0, "r", closefd=False)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        _replace_environment(order["environment"])
        os.chdir(order["directory"])
        serve(order["name"])
        status = 0
    finally:
        os._exit(status)  # nothing that the controller registered for its own end belongs here


def _replace_environment(wanted: Mapping[str, str]) -> None:
    if dict(os.environ) != dict(wanted):
        os.environ.clear()
        os.environ.update(wanted)


def _received(from_: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = from_.recv(size - len(data))
        if not more:
            raise EOFError("it hung up")
        data += more
    return data
