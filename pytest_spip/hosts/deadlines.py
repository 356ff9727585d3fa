"""Sockets that are shut when their time is over, so that nobody waits at them for a server that hangs."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator

from pytest_spip.common.waits import ENDING

__all__ = ["Deadlines"]


class Deadlines:
    """Shuts sockets by one thread, which starts with the first deadline and mostly sleeps. Threads may share it."""

    def __init__(self) -> None:
        self._due: dict[socket.socket, float] = {}
        self._changed = threading.Condition()
        self._wakes = 0.0  # when the thread looks next
        self._thread: threading.Thread | None = None
        self._is_closed = False

    @contextlib.contextmanager
    def shutting(self, number: int, seconds: float) -> Iterator[None]:
        """Have the socket of a file descriptor shut down after so many seconds, unless the block ends before."""
        with socket.socket(fileno=os.dup(number)) as own:  # a descriptor that nobody else gets meanwhile
            due = time.monotonic() + seconds
            with self._changed:
                self._due[own] = due
                if self._thread is None:
                    self._thread = threading.Thread(target=self._watch, name="deadlines", daemon=True)
                    self._thread.start()
                elif due < self._wakes:
                    self._changed.notify()
            try:
                yield
            finally:
                with self._changed:
                    del self._due[own]

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(ENDING)

    def _watch(self) -> None:
        with self._changed:
            while not self._is_closed:
                now = time.monotonic()
                for over in [one for one, due in self._due.items() if due <= now]:
                    self._due[over] = float("inf")
                    with contextlib.suppress(OSError):
                        over.shutdown(socket.SHUT_RDWR)
                self._wakes = min(self._due.values(), default=float("inf"))
                self._changed.wait(None if self._wakes == float("inf") else self._wakes - now)
