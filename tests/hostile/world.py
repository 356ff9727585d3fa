"""What surrounds attacked machines: a canary where secrets lie, listeners, bystanders, a directory for marks."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import selectors
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

__all__ = ["TOKEN", "Listeners", "World", "worlds"]

TOKEN = "HOSTILE_TOKEN"
"""The variable of the session's environment that holds the canary."""
WATCH = """\
import ctypes, os, sys
ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)  # PR_SET_PTRACER: where only parents may trace, all may
secret = ctypes.create_string_buffer(os.environ["HOSTILE_TOKEN"].encode())
print(ctypes.addressof(secret), os.open(sys.argv[1], os.O_RDONLY), flush=True)
sys.stdin.read()
"""


class Listeners:
    """Sockets of every kind that somebody outside could listen on. They say ``got it`` and keep what they heard."""

    def __init__(self, directory: Path) -> None:
        self.heard: list[bytes] = []
        self.path = str(directory / "stream")
        self.datagram_path = str(directory / "datagram")
        self.abstract = f"hostile-{uuid.uuid4().hex}"
        self.datagram_abstract = f"{self.abstract}-datagram"
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ, self._ignore)
        self.port = self._listen(socket.AF_INET, socket.SOCK_STREAM, ("0.0.0.0", 0))
        self.datagram_port = self._listen(socket.AF_INET, socket.SOCK_DGRAM, ("0.0.0.0", 0))
        self.port6 = self._listen(socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0)) if socket.has_ipv6 else 0
        for kind, places in (
            (socket.SOCK_STREAM, (self.path, f"\0{self.abstract}")),
            (socket.SOCK_DGRAM, (self.datagram_path, f"\0{self.datagram_abstract}")),
        ):
            for place in places:
                self._listen(socket.AF_UNIX, kind, place)
        for path in (self.path, self.datagram_path):
            Path(path).chmod(0o777)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._waker.close()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]  # sockets alone were registered
        self._selector.close()

    def _listen(self, family: int, kind: int, address: tuple[str, int] | str) -> int:
        try:
            listener = socket.socket(family, kind)
            listener.bind(address)
        except OSError:  # no such family on this machine
            return 0
        stream = kind == socket.SOCK_STREAM
        if stream:
            listener.listen(64)
        self._selector.register(listener, selectors.EVENT_READ, self._accept if stream else self._answer)
        return int(listener.getsockname()[1]) if family != socket.AF_UNIX else 0

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._woken:
                    return
                key.data(key.fileobj)

    def _ignore(self, _: socket.socket) -> None:
        """Being woken is enough."""

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.settimeout(10)
            self.heard.append(connection.recv(4096))
            connection.sendall(b"got it")

    def _answer(self, listener: socket.socket) -> None:
        text, sender = listener.recvfrom(4096)
        self.heard.append(text)
        if sender:
            listener.sendto(b"got it", sender)


@dataclasses.dataclass(frozen=True)
class World:
    """What an attacker is told, as he may have found it out; ``canary`` is what he must not get.

    All of it lies below ``outside``, which everybody can read, and everybody can write to ``marks``.
    """

    outside: Path
    home: Path
    listeners: Listeners
    canary: str
    bystanders: list[subprocess.Popen[str]]

    @property
    def marks(self) -> Path:
        """Where an attack leaves a file when it can."""
        return self.outside / "marks"

    def bystander(self) -> tuple[int, int, int]:
        """Start a process of our own: its pid, where the canary lies in its memory, its descriptor of the canary's file."""
        one = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", WATCH, str(self.outside / "canary")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={TOKEN: self.canary},
            text=True,
        )
        self.bystanders.append(one)
        assert one.stdout is not None, "it was asked for"
        address, descriptor = one.stdout.readline().split()
        return one.pid, int(address), int(descriptor)

    def close(self) -> None:
        """End what was started."""
        self.listeners.close()
        for one in self.bystanders:
            with one:
                one.kill()


def python_of(users: Iterable[int]) -> str:
    """Return a Python that all users can start: ours, or the system's where ours lies in root's home; nothing if there is none."""
    wanted = "import sys, venv, ctypes; assert sys.version_info >= (3, 11)"
    for python in dict.fromkeys((sys.executable, "/usr/bin/python3")):
        if all(_runs([python, "-I", "-c", wanted], user) for user in users):
            return python
    return ""


def _runs(command: Sequence[str], user: int) -> bool:
    who = {} if user == os.getuid() else {"user": user, "group": user, "extra_groups": []}
    try:
        done = subprocess.run(command, check=False, capture_output=True, cwd="/", **who)  # type: ignore[call-overload]  # keywords
    except OSError:
        return False
    return bool(done.returncode == 0)


@contextlib.contextmanager
def worlds(root: Path, home: Path) -> Iterator[World]:
    """Yield a world below a directory, with secrets in a home."""
    outside = root / "outside"
    canary = f"canary-{uuid.uuid4().hex}"
    (outside / "marks").mkdir(parents=True)
    (home / ".ssh").mkdir()
    (home / ".ssh" / "id_rsa").write_text(canary, "utf-8")
    (home / ".netrc").write_text(f"machine somewhere login me password {canary}\n", "utf-8")
    (outside / "canary").write_text(canary, "utf-8")
    with contextlib.closing(World(outside, home, Listeners(outside), canary, [])) as world:
        outside.chmod(0o755)
        world.marks.chmod(0o777)
        yield world
