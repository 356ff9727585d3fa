"""A TCP proxy that loses, cuts and holds what goes through it, as networks do."""

from __future__ import annotations

import contextlib
import enum
import select
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

__all__ = ["Fault", "Proxy"]

LOOK = 0.05
"""Seconds after which a connection sees that the proxy ends or goes on."""


class Fault(enum.Enum):
    """What becomes of a request: ``CUT_ANSWER`` lets it arrive, and cuts the connection once it is answered."""

    NONE = enum.auto()
    CUT = enum.auto()
    CUT_ANSWER = enum.auto()
    DELAY = enum.auto()


class Proxy:
    """Passes connections on to a server on this machine; ``fault`` is asked at each piece that a client sends.

    Use it as a context manager. While ``held`` is set nothing goes through, and connections stay.
    """

    def __init__(self, port: int, fault: Callable[[], Fault] = lambda: Fault.NONE, *, delay: float = 0.05) -> None:
        self.target = port
        self.fault = fault
        self.delay = delay
        self.cuts = 0
        self.held = threading.Event()
        self._ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    @property
    def port(self) -> int:
        """Where clients connect to."""
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(20)
        self._listener.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            if select.select([self._listener], [], [], LOOK)[0]:
                client, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=[client], daemon=True))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.target), 10) as server:
            while not self._ended.is_set() and self._pass_on(client, server):
                pass

    def _pass_on(self, client: socket.socket, server: socket.socket) -> bool:
        """Pass on what is there; return False when the connection is over."""
        if self.held.is_set():
            self._ended.wait(LOOK)
            return True
        ready, _, _ = select.select([client, server], [], [], LOOK)
        if server in ready:
            answer = server.recv(65536)
            client.sendall(answer)
            return bool(answer)
        return client not in ready or self._request(client, server)

    def _request(self, client: socket.socket, server: socket.socket) -> bool:
        request = client.recv(65536)
        fault = self.fault() if request else Fault.NONE
        if fault is Fault.DELAY:
            self._ended.wait(self.delay)
        if fault is not Fault.CUT:
            server.sendall(request)
        if fault is Fault.CUT_ANSWER:
            select.select([server], [], [], 1.0)  # the answer is there, or long under way
        self.cuts += fault in {Fault.CUT, Fault.CUT_ANSWER}
        return bool(request) and fault not in {Fault.CUT, Fault.CUT_ANSWER}
