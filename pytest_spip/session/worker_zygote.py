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
import resource
import select
import signal
import socket
import struct
import sys
import threading
import warnings
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NoReturn, TypedDict

from pytest_spip.common.waits import reap
from pytest_spip.errors import HarnessProblem

__all__ = ["WorkerProcess", "WorkerZygote", "can_fork"]

LOADING, PATIENCE, ENDING = 20.0, 10.0, 2.0
"""Seconds that a zygote has to answer at first, when it loads modules, and later; and to end when it is hung up on."""
DEAF = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals that terminals and service managers send to all processes. The controller decides, and its end is ours."""
LIMITS = range(16)
"""Numbers of limits (getrlimit(2))."""
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15


class Order(TypedDict):
    """What makes a worker: its name, and what a process inherits that plugins may have changed since the zygote was made.

    ``ignored`` are the numbers of signals, ``limits`` those of getrlimit(2), softer and harder, by number.
    """

    name: str
    environment: dict[str, str]
    directory: str
    umask: int
    nice: int
    cpus: list[int]
    ignored: list[int]
    limits: dict[str, tuple[int, int]]


def can_fork() -> bool:
    """Whether a fork of this process is whole: threads would be missing in it, and hold their locks for ever."""
    if not sys.platform.startswith("linux") or not hasattr(os, "pidfd_open"):
        return False
    try:
        for stream in range(3):
            os.fstat(stream)  # where one is closed, its number is the next descriptor's
        return threading.active_count() == 1 and len(os.listdir("/proc/self/task")) == 1
    except OSError:
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
            self._socket.close()
            _be_zygote(theirs, before, serve, modules)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self._socket.settimeout(LOADING)
        self._answers = True

    def fork(self, name: str) -> WorkerProcess:
        """Return a new worker. Raises ``HarnessProblem`` when there can be none."""
        if not self._answers:
            raise HarnessProblem("the zygote of the workers does not answer")
        data = json.dumps(_order(name)).encode("ascii")
        stdin, ours_in = os.pipe()
        ours_out, stdout = os.pipe()
        try:
            pid = self._ask(data, (stdin, stdout))
        except BaseException as error:  # an interrupt as well: who was forked after it ends with its streams
            self._answers = False  # whatever it says now is the answer to this
            os.close(ours_in)
            os.close(ours_out)
            if isinstance(error, OSError | EOFError):
                raise HarnessProblem(f"no worker could be forked ({error})") from error
            raise
        finally:
            os.close(stdin)
            os.close(stdout)
        return WorkerProcess(pid, ours_in, ours_out)

    def _ask(self, data: bytes, descriptors: Sequence[int]) -> int:
        head = struct.pack("!I", len(data))
        with self._lock:
            first = socket.send_fds(self._socket, [head], descriptors)
            self._socket.sendall(head[first:] + data)
            (pid,) = struct.unpack("!I", _received(self._socket, 4))
            self._socket.settimeout(PATIENCE)
        return int(pid)

    def close(self) -> None:
        """End it; workers that are left end with it."""
        self._socket.close()
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                end = os.pidfd_open(self._pid)
                select.select([end], [], [], ENDING)
                os.close(end)
            os.kill(self._pid, signal.SIGKILL)  # it is not reaped yet
            reap(self._pid, "the zygote of the workers")
            self._pid = 0


def _be_zygote(ours: socket.socket, mask: set[int], serve: Callable[[str], None], modules: Sequence[str]) -> NoReturn:
    """Load modules and fork workers, until the controller hangs up or dies."""
    status = 1
    try:
        _end_with_parent()
        _be_called("spip-zygote")
        handled = (one for one in signal.valid_signals() if callable(signal.getsignal(one)))
        _have_usual_signals({*handled, *DEAF})
        signal.signal(signal.SIGCHLD, _reap_workers)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        _forget_watchers()
        _let_go(ours.fileno())
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
        _reap_workers()
        os._exit(status)


def _reap_workers(*_: object) -> None:
    """Reap who has ended: what workers used is counted as their parent's, and the controller's in turn (getrusage(2))."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _order(name: str) -> Order:
    """Return what a worker has that this process starts now."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text("utf-8").splitlines())
    return {
        "name": name,
        "environment": dict(os.environ),
        "directory": os.getcwd(),
        "umask": int(status["Umask"], 8),
        "nice": os.nice(0),
        "cpus": sorted(os.sched_getaffinity(0)),
        "ignored": [int(one) for one in signal.valid_signals() if signal.getsignal(one) is signal.SIG_IGN],
        "limits": {str(one): resource.getrlimit(one) for one in LIMITS},
    }


def _let_go(but: int) -> None:
    """Hold nothing that the controller has open: pipes whose end somebody waits for, sockets that listen, locks.

    The numbers stay in use, for objects that own them are still there, and close them some time.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in map(int, os.listdir("/proc/self/fd")):
        if number > 2 and number not in (but, nothing):
            with contextlib.suppress(OSError):
                os.fstat(number)  # that of the listing is closed already
                os.dup2(nothing, number, inheritable=False)
    os.close(nothing)


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
        _end_with_parent()
        _have_usual_signals(order["ignored"])
        _be_called(f"spip-{order['name']}")
        for target, descriptor in enumerate([fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, 3) for one in descriptors]):
            os.dup2(descriptor, target)
            os.close(descriptor)
        for descriptor in descriptors:
            os.close(descriptor)
        sys.stdin = os.fdopen(0, "r", closefd=False)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        _inherit(order)
        serve(order["name"])
        status = 0
    finally:
        os._exit(status)  # nothing that the controller registered for its own end belongs here


def _have_usual_signals(ignored: Collection[int]) -> None:
    """Ignore these, and handle nothing as the controller does, as after exec (signal(7))."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if number in ignored:
            signal.signal(number, signal.SIG_IGN)
        elif number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)
        elif signal.getsignal(number) is not signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)


def _inherit(order: Order) -> None:
    if dict(os.environ) != order["environment"]:
        os.environ.clear()
        os.environ.update(order["environment"])
    os.chdir(order["directory"])
    os.umask(order["umask"])
    if more := order["nice"] - os.nice(0):
        with contextlib.suppress(OSError):  # less takes a privilege
            os.nice(more)
    if set(order["cpus"]) != os.sched_getaffinity(0):
        os.sched_setaffinity(0, order["cpus"])
    for number, (soft, hard) in order["limits"].items():
        if resource.getrlimit(int(number)) != (soft, hard):
            with contextlib.suppress(OSError, ValueError):  # as above
                resource.setrlimit(int(number), (soft, hard))


def _received(from_: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = from_.recv(size - len(data))
        if not more:
            raise EOFError("it hung up")
        data += more
    return data
