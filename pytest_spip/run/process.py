"""One child process: a session of its own, a clean environment, a time limit, capped output, a death without heirs."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import IO

from pytest_spip.common.waits import reap
from pytest_spip.errors import HarnessProblem
from pytest_spip.run.text import harmless

__all__ = [
    "LIFELINE",
    "RESULT",
    "Ended",
    "adopt_orphans",
    "end_with_parent",
    "give_memory_back",
    "leave_to_controller",
    "run",
]

RESULT = "<result>"
LIFELINE = "<lifeline>"
"""Words of a command that stand for descriptors; no module bears such a name."""
KEPT = 64 << 10
"""Bytes of output that are kept: the last ones."""
RESULT_LIMIT = 1 << 20
"""Bytes of a result that are kept: the first ones. Ours has less, so a longer one is not ours."""
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_SIZE_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, see getrusage(2) of each


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended. ``status`` as ``waitpid`` gives it, negative for a signal; ``cut`` says why we killed it.

    ``cut`` is empty or a reason's value, ``evidence`` what was seen then. ``output`` is the tail of stdout and stderr,
    ``result`` what came over the result pipe, and ``proven`` that the child came to its end, and
    ``warm`` that no program was started for it; times in seconds, sizes in bytes.
    """

    status: int
    cut: str
    output: str
    result: bytes
    seconds: float
    cpu_seconds: float
    peak_rss: int
    evidence: str = ""
    proven: bool = True
    warm: bool = False


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parents die, so that daemons cannot slip away (prctl(2))."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_with_parent() -> None:
    """Be interrupted when our parent dies, so that the child in hand is killed with all it left behind (prctl(2)).

    execnet does the same, but only five seconds after it finds the controller gone.
    """
    if sys.platform.startswith("linux"):
        deaf = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM if deaf else signal.SIGINT, 0, 0, 0)


def leave_to_controller() -> None:
    """Have a worker survive a SIGTERM that goes to all processes: the controller decides, and its end is ours.

    Without that, workers that die before the controller knows would have their combinations counted as lost.
    """
    controller = os.getppid()

    def handle(*_: object) -> None:
        if os.getppid() != controller:  # then the signal is the one that end_with_parent asked for
            raise KeyboardInterrupt

    with contextlib.suppress(ValueError):  # not the main thread
        if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            signal.signal(signal.SIGTERM, handle)  # a handler does not outlive exec, as SIG_IGN would


def give_memory_back() -> None:
    """Return to the system what is free of our heap, which glibc keeps in pieces (malloc_trim(3)); elsewhere do nothing."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def run(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    timeout: float,
    output_limit: int,
    stdin: str = "",
    apart: bool = False,
) -> Ended:
    """Run a command; ``RESULT`` and ``LIFELINE`` in it become the numbers of the two descriptors that the child is given.

    ``stdin`` is what it reads. With ``apart`` its stderr is the result, and both streams come complete, as they are.

    Whatever the child leaves running is killed before this returns, so a process may have one such child at a time.
    Raises ``OSError`` when it cannot be started.
    """
    with contextlib.ExitStack() as stack:
        (result, result_in), (output, output_in), (lifeline, _) = (_pipe(stack) for _ in range(3))
        names = {RESULT: str(result_in.fileno()), LIFELINE: str(lifeline.fileno())}
        before = _children()
        start = time.monotonic()
        child = subprocess.Popen(
            [names.get(word, word) for word in command],
            stdin=_spoken(stack, stdin) if stdin else subprocess.DEVNULL,
            stdout=output_in,
            stderr=result_in if apart else output_in,
            env=dict(environment),
            cwd=environment["PWD"],
            pass_fds=(result_in.fileno(), lifeline.fileno()),
            start_new_session=True,
        )
        result_in.close()
        output_in.close()
        watched = _Watched(child, result.fileno(), output.fileno(), start + timeout, output_limit, apart=apart)
        try:
            watched.watch()
        finally:
            status, usage = _end(child, before)
        watched.drain()
        return Ended(
            status=status,
            cut=watched.cut,
            output=watched.output_text(),
            result=bytes(watched.result),
            seconds=time.monotonic() - start,
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            peak_rss=usage.ru_maxrss * _SIZE_UNIT,
        )


def _spoken(stack: contextlib.ExitStack, text: str) -> IO[bytes]:
    """Return a file without a name that holds a text."""
    file = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  # the stack is its context manager
    file.write(text.encode("utf-8", "surrogatepass"))
    file.seek(0)
    return file


def _pipe(stack: contextlib.ExitStack) -> tuple[FileIO, FileIO]:
    """Return the read and the write end of a pipe; the stack closes what is still open of it."""
    ends = os.pipe()
    read, write = (stack.enter_context(FileIO(end, mode)) for end, mode in zip(ends, ("rb", "wb"), strict=True))
    return read, write


class _Watched:
    """A running child: reads its pipes until it ends, its time is over, or it has said too much."""

    def __init__(
        self, child: subprocess.Popen[bytes], result: int, output: int, until: float, limit: int, *, apart: bool
    ) -> None:
        self._child = child
        self._result = result
        self._output = output
        self._until = until
        self._limit = limit
        self._apart = apart
        self._said = 0
        self.result = bytearray()
        self._tail = bytearray()
        self.cut = ""

    def watch(self) -> None:
        """Return when the child has ended or must be ended; ``cut`` says which."""
        process = os.pidfd_open(self._child.pid) if hasattr(os, "pidfd_open") else -1
        try:
            self._poll(process)
        finally:
            if process >= 0:
                os.close(process)

    def _poll(self, process: int) -> None:
        poller = select.poll()
        for descriptor in (self._result, self._output, process):
            if descriptor >= 0:
                poller.register(descriptor, select.POLLIN)
        while not self.cut:
            left = self._until - time.monotonic()
            ready = {
                descriptor for descriptor, _ in poller.poll(max(0.0, min(left, 1.0 if process < 0 else left)) * 1000)
            }
            for descriptor in ready - {process}:
                if not self._read(descriptor):
                    poller.unregister(descriptor)
            if process in ready or (process < 0 and self._has_exited()):
                return
            if left <= 0:
                self.cut = "timeout"

    def _has_exited(self) -> bool:
        return os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _read(self, descriptor: int) -> int:
        data = os.read(descriptor, 1 << 16)
        if descriptor == self._result:
            self.result += data[: (self._limit if self._apart else RESULT_LIMIT) - len(self.result)]
            if not self._apart:
                return len(data)
        else:
            self._tail += data
        self._said += len(data)
        if len(self._tail) > 2 * KEPT and not self._apart:
            del self._tail[:-KEPT]
        if self._said > self._limit:
            self.cut = self.cut or "log-limit"
        return len(data)

    def drain(self) -> None:
        """Read what is left in the pipes when their writers are dead.

        Should one live on, it is neither waited for nor followed for ever: 4 MiB are more than a pipe holds.
        """
        for descriptor in (self._result, self._output):
            os.set_blocking(descriptor, False)
            with contextlib.suppress(BlockingIOError):
                for _ in range(64):
                    if not self._read(descriptor):
                        break

    def output_text(self) -> str:
        """Return the tail of the output, made harmless; of streams kept apart all that was said."""
        if self._apart:
            return self._tail.decode("utf-8", "replace")
        return harmless(self._tail[-KEPT:].decode("utf-8", "replace"))


def _end(child: subprocess.Popen[bytes], before: frozenset[int]) -> tuple[int, resource.struct_rusage]:
    """Kill the child's group and its run-away descendants, reap all of them, and return the child's status and usage."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)  # not reaped yet, so the number still means this group
    status, usage = reap(child.pid, f"the program {child.args!s:.200}")
    child.returncode = os.waitstatus_to_exitcode(status)
    for _ in range(100):  # a daemon may fork faster than we look
        if not _kill(_children() - before):
            break
    return child.returncode, usage


def _kill(pids: frozenset[int]) -> int:
    """Kill and reap those of our children that are a combination's, and return how many that were."""
    killed = []
    for pid in filter(_is_runaway, pids):
        # Our child's number stays its own until somebody has waited for it; another thread may have.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
    for pid in killed:
        with contextlib.suppress(ChildProcessError, HarnessProblem):
            reap(pid, f"process {pid}")
    return len(killed)


def _children() -> frozenset[int]:
    """Return our direct children, orphans that we adopted included."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.scandir("/proc/self/task"):
            with contextlib.suppress(OSError):
                found += (int(pid) for pid in Path(task.path, "children").read_text().split())
    return frozenset(found)


def _is_runaway(pid: int) -> bool:
    """Items live in sessions of their own; uv and other plugins' programs, which may be our children too, in ours."""
    try:
        return os.getsid(pid) != os.getsid(0)
    except ProcessLookupError:
        return False
