"""Programs on systems without fork servers: a session of their own, limits, and no sandbox."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time

from pytest_spip.common.waits import ENDING
from pytest_spip.errors import HarnessProblem
from pytest_spip.model import Limits
from pytest_spip.run.jobs import CommandJob
from pytest_spip.run.process import KEPT, Ended
from pytest_spip.run.text import harmless

__all__ = ["BOUND", "Program"]

BOUND = """\
import os, resource, signal, sys
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
for what, most in ((resource.RLIMIT_DATA, int(sys.argv[1])), (resource.RLIMIT_FSIZE, int(sys.argv[2]))):
    hard = resource.getrlimit(what)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, most))
os.execve(sys.argv[3], sys.argv[3:], os.environ)
"""
"""Bounds itself, then becomes the program; between fork and exec of a process with threads nothing of ours may run."""


class Program:
    """Runs one program at a time."""

    def __init__(self) -> None:
        self._gone = False
        self._pid = 0

    def run(self, job: CommandJob) -> Ended:
        """Run a command to its end. Raises ``HarnessProblem`` when it was hung up on."""
        limits, start = job.limits, time.monotonic()
        bounds = [sys.executable, "-I", "-S", "-c", BOUND, str(limits.memory), str(limits.file_size)]
        with subprocess.Popen(
            [*bounds, *job.command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(job.variables),
            cwd=job.cwd,
            start_new_session=True,
        ) as process:
            self._pid = process.pid
            try:
                cut, tail = _watch(process, limits, start + limits.timeout)
            finally:
                self._kill()
                status = _ended(process)
                self._pid = 0
        if self._gone:
            raise HarnessProblem("the session is ending")
        output = harmless(tail.decode("utf-8", "replace"))
        return Ended(status, cut, output, b"", time.monotonic() - start, 0.0, 0)

    def hang_up(self) -> None:
        """Kill what runs."""
        self._gone = True
        self._kill()

    def close(self) -> None:
        """Nothing is held."""

    def _kill(self) -> None:
        if self._pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, signal.SIGKILL)


def _watch(process: subprocess.Popen[bytes], limits: Limits, until: float) -> tuple[str, bytes]:
    """Read the output to its end, and return why it had to be cut short, if it had, and its tail."""
    assert process.stdout is not None, "it is a pipe"
    descriptor, kept, said = process.stdout.fileno(), _Kept(limits.head), 0
    while (left := until - time.monotonic()) > 0:
        if not select.select([descriptor], [], [], left)[0]:
            break
        data = os.read(descriptor, 1 << 16)
        if not data:
            return _awaited(process, left), kept.text()
        said += len(data)
        kept.add(data)
        if said > limits.output:
            return "log-limit", kept.text()
    return "timeout", kept.text()


class _Kept:
    """The beginning of an output, if any of it is wanted, and its end."""

    def __init__(self, head: int) -> None:
        self._wanted, self._head, self._tail, self._left_out = head, b"", b"", 0

    def add(self, data: bytes) -> None:
        """Take what comes next."""
        room = self._wanted - len(self._head)
        self._head, data = self._head + data[:room], data[room:]
        self._left_out += max(len(self._tail) + len(data) - KEPT, 0)
        self._tail = (self._tail + data)[-KEPT:]

    def text(self) -> bytes:
        """Return what is kept."""
        note = b"\n[%d bytes left out]\n" % self._left_out if self._left_out and self._head else b""
        return self._head + note + self._tail


def _ended(process: subprocess.Popen[bytes]) -> int:
    """Return the status of a program that was killed."""
    try:
        return process.wait(ENDING)
    except subprocess.TimeoutExpired as error:
        raise HarnessProblem(f"process {process.pid} was killed, and has not ended after {ENDING:g} s") from error


def _awaited(process: subprocess.Popen[bytes], seconds: float) -> str:
    """Wait for a program that has nothing more to say; say why it had to be cut short, if it had."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return "timeout"
    return ""
