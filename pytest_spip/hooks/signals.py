"""SIGINT and SIGTERM while a matrix is at work: the first one ends the session in order, the second one at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Mapping
from types import FrameType
from typing import Any

import pytest

__all__ = ["Interrupts"]

GRACE = 30.0
"""Seconds that a session has to end in order, summary and all, before it ends at once; a machine that idles takes one."""
ECHO = 0.25
"""Seconds within which a second signal is the first one, passed on by a program that started us."""
DEFAULTS: Mapping[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
"""What we take the place of; a handler that somebody else installed stays."""


class Interrupts:
    """Handlers of the process that the user started, and the hooks that tell them how far the session is.

    SIGTERM is to pytest what Ctrl-C is: status 2, with summary. While reports are written it waits until they are.
    ``rescue`` makes safe what must not be lost, and removes what must not be left, when the session ends at once.
    """

    def __init__(self, rescue: Callable[[], None]) -> None:
        self._rescue = rescue
        self._previous: dict[int, Any] = {}
        self._first = 0.0
        self._reporting = False
        self._ended = threading.Event()

    def install(self) -> None:
        """Take the place of the defaults. Python allows that in its main thread alone."""
        if threading.current_thread() is threading.main_thread():
            for number, default in DEFAULTS.items():
                if signal.getsignal(number) == default:
                    self._previous[number] = signal.signal(number, self._handle)

    def restore(self) -> None:
        """Put back what was there, unless somebody has taken our place."""
        self._ended.set()
        for number, previous in self._previous.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, previous)
        self._previous.clear()

    @property
    def came(self) -> bool:
        """Whether the session was asked to end."""
        return bool(self._first)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._first:
            if now - self._first > ECHO:
                self._start(0.0)
            return
        self._first = now
        self._start(GRACE)
        if not self._reporting:
            raise KeyboardInterrupt(signal.Signals(number).name)

    def _start(self, seconds: float) -> None:
        # In a thread, for the handler runs amidst whatever the main thread does, and with the locks that it holds.
        threading.Thread(target=self._end, args=(seconds,), name="interrupts", daemon=True).start()

    def _end(self, seconds: float) -> None:
        if not self._ended.wait(seconds):
            with contextlib.suppress(Exception):
                self._rescue()
            os._exit(pytest.ExitCode.INTERRUPTED)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        """From here on what there is gets reported."""
        self._reporting = True
        yield
        if self._first:
            session.exitstatus = pytest.ExitCode.INTERRUPTED

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_unconfigure(self) -> Generator[None]:
        """Everything was given back."""
        self._reporting = True
        try:
            yield
        finally:
            self.restore()
