"""The worker's side of a fork server: starts it, asks it, ends it. The protocol stands in child/forkserver.py."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import signal
import socket
import struct
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_spip.errors import HarnessProblem, SandboxProblem
from pytest_spip.model import Composed, Limits
from pytest_spip.run.jobs import Job
from pytest_spip.run.process import Ended
from pytest_spip.run.text import harmless

if TYPE_CHECKING:
    from pytest_spip.run.protocol import ReplyMessage, SetupMessage, StayMessage

__all__ = ["CHILD", "NONCE", "RESULT", "SANDBOX_UID", "ForkServer", "Setup", "has_fork_servers"]

CHILD = Path(__file__).parent / "child"
RESULT, NONCE = "<result>", "<nonce>"
"""Words of a command that stand for descriptors."""
SANDBOX_UID = 64321
"""The uid that package code gets where we are root: nobody's, and below what containers map."""
START_TIMEOUT = 60.0
ENDING = 5.0
"""Seconds that a server has to end after it was hung up on, and again after it was killed."""
PIECE = 1 << 16
"""Bytes that are received at once."""
GRACE = 20.0
"""Seconds that a server may take beyond its child's limit before it is given up."""


def has_fork_servers() -> bool:
    """Return True if this system has what a fork server is made of: pidfd, prctl, /proc."""
    return os.uname().sysname == "Linux" and hasattr(os, "pidfd_open")


@dataclasses.dataclass(frozen=True, slots=True)
class Setup:
    """What a fork server is set up with, see child/sandbox.py; ``environment`` are its variables and its warm children's.

    ``pycache`` is a directory for the bytecode of its own files, which would else be compiled at every start. One that is
    ``bare`` starts without ``site``, which may take longer than all else: it starts programs, and forks no warm children.
    """

    level: int
    view: str
    environment: Mapping[str, str]
    prefix: str = ""
    layers: str = ""
    own: str = ""
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    network: bool = False
    size: int = Limits().room
    processes: int = Limits().processes
    closures: str = ""
    pycache: str = ""
    bare: bool = False

    @property
    def sandbox_uid(self) -> int:
        """The uid that package code gets, 0 for our own."""
        return SANDBOX_UID if self.level >= 3 and os.getuid() == 0 else 0

    def to_plain(self) -> SetupMessage:
        """Return the protocol's fields."""
        return {
            "level": self.level,
            "view": self.view,
            "prefix": self.prefix,
            "layers": self.layers,
            "own": self.own,
            "read": [*self.read, str(CHILD)],
            "write": [*self.write],
            "devices": [*self.devices],
            "network": self.network,
            "size": self.size,
            "processes": self.processes,
            "closures": self.closures,
            "sandbox_uid": self.sandbox_uid,
        }


class ForkServer:
    """A running fork server. Raises ``SandboxProblem`` when it cannot set itself up, ``HarnessProblem`` when it dies."""

    def __init__(self, python: str, setup: Setup) -> None:
        self._said = b""
        self.has_closures = bool(setup.closures)
        """Whether it knows which closures warm children need."""
        self._socket, theirs = socket.socketpair()
        with theirs:
            flags = ["-S"] if setup.bare else []
            self._process = subprocess.Popen(
                [python, *flags, str(CHILD / "forkserver.py"), str(theirs.fileno()), setup.pycache],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={name: text for name, text in setup.environment.items() if not name.startswith("PYTHON")},
                cwd="/",
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        try:
            self._send(setup.to_plain())
            reply, *_ = self._receive(START_TIMEOUT)
        except HarnessProblem as error:
            self.close()
            raise SandboxProblem(f"{python} serves no forks: {self._last_words() or error}") from error
        except BaseException:
            self.close()
            raise
        if "error" in reply:
            self.close()
            raise SandboxProblem(f"level {setup.level}: {reply['error']}")
        self.warm: bool = reply["warm"]
        """Whether it can fork warm children."""

    def run(self, job: Job) -> Ended:
        """Have a child do a job, and return how it ended."""
        return self.run_attached(job, (), lambda _: None)

    def run_attached(self, job: Job, streams: Sequence[int], meanwhile: Callable[[int], None]) -> Ended:
        """Have a child do a job with these descriptors, if any, as its standard streams, and return how it ended.

        ``meanwhile`` is called with a descriptor when the child has begun; it may return when that one is readable.
        """
        try:
            self._send(job.to_plain(), streams)
            meanwhile(self._socket.fileno())
            reply: ReplyMessage
            reply, result, output = self._receive(job.limits.timeout + GRACE)
        except BaseException:
            self.close()
            raise
        if reply["error"]:
            raise SandboxProblem(f"a child could not be confined: {reply['error']}")
        said = output.decode("utf-8", "replace")
        return Ended(
            status=reply["status"],
            cut=reply["cut"],
            evidence=reply["evidence"],
            output=said if job.apart else harmless(said),
            result=result,
            seconds=reply["seconds"],
            cpu_seconds=reply["cpu_seconds"],
            peak_rss=0,
            proven=reply["proven"],
            warm=reply["warm"],
        )

    def stay(self, composed: Composed, scripts: Sequence[tuple[str, str]], *, fresh: bool) -> None:
        """Compose an environment for all jobs that say ``stays``, or lay that which is there over other layers."""
        self._settle(
            {
                "layers": composed.layers,
                "trees": composed.trees,
                "scripts": scripts,
                "cwd": composed.cwd,
                "fresh": fresh,
            }
        )

    def leave(self) -> None:
        """Give up the environment that stays, with all that was written there."""
        self._settle(None)

    def _settle(self, wanted: StayMessage | None) -> None:
        try:
            self._send({"stay": wanted})
            reply, *_ = self._receive(GRACE)
        except BaseException:
            self.close()
            raise
        if reply["error"]:
            raise SandboxProblem(f"an environment cannot stay: {reply['error']}")

    @property
    def has_ended(self) -> bool:
        """Whether it has ended by itself, as with the thread that started it (prctl(2), PR_SET_PDEATHSIG)."""
        return self._process.poll() is not None

    def hang_up(self) -> None:
        """Have the server kill what runs, and end; who waits for it in another thread learns that it died."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Hang up: the server kills what runs, and ends."""
        self._socket.close()
        if self._process.returncode is not None:
            if self._process.stderr:
                self._process.stderr.close()
            return
        try:
            _, self._said = self._process.communicate(timeout=ENDING)
        except subprocess.TimeoutExpired:
            self._kill()

    def _kill(self) -> None:
        """Kill the server, and what it started and left in its session; give up what not even that ends."""
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)  # not reaped yet, so the number still means this group
        with contextlib.suppress(subprocess.TimeoutExpired):
            _, self._said = self._process.communicate(timeout=ENDING)
        if self._process.stderr:
            self._process.stderr.close()

    def _send(self, plain: Mapping[str, Any], streams: Sequence[int] = ()) -> None:
        text = json.dumps(plain).encode()
        data = struct.pack("!2I", 1, len(text)) + text
        try:
            sent = socket.send_fds(self._socket, [data], streams) if streams else 0
            self._socket.sendall(data[sent:])
        except OSError as error:
            raise HarnessProblem(f"a fork server died ({error})") from error

    def _receive(self, timeout: float) -> tuple[Any, ...]:
        """Return a reply's parts, the first one read as JSON. A server sends nothing unasked, so what comes is one reply."""
        self._socket.settimeout(timeout)
        data = self._read(b"", 4)
        (count,) = struct.unpack_from("!I", data)
        begin = 4 * (count + 1)
        data = self._read(data, begin)
        sizes = struct.unpack_from(f"!{count}I", data, 4)
        data = self._read(data, begin + sum(sizes))
        ends = list(itertools.accumulate(sizes, initial=begin))
        plain, *parts = (data[start:end] for start, end in itertools.pairwise(ends))
        return json.loads(plain), *parts

    def _read(self, data: bytes, size: int) -> bytes:
        """Return data, and what follows it until there are so many bytes or more."""
        pieces, missing = [data], size - len(data)
        while missing > 0:
            try:
                more = self._socket.recv(max(missing, PIECE))
            except OSError as error:
                raise HarnessProblem(f"a fork server does not answer ({error})") from error
            if not more:
                raise HarnessProblem("a fork server died")
            pieces.append(more)
            missing -= len(more)
        return b"".join(pieces) if len(pieces) > 1 else data

    def _last_words(self) -> str:
        said = self._said.splitlines()
        return said[-1].decode("utf-8", "replace") if said else ""
