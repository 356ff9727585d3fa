"""Whose turn it is, where others would do the same meanwhile: to make a build, or to be the first with something."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

__all__ = ["FirstAlone", "Turn", "at_once"]

HEAD_START = 4.0
"""Seconds that others wait for the first one at most: it may be held up by an index that does not answer."""
Turn = Callable[[str, str], AbstractContextManager[object]]
"""Takes the key of a build, the same on all hosts, and what is built; is held while it is made, or waited for."""


def at_once(_key: str, _what: str) -> AbstractContextManager[object]:
    """Wait for nobody."""
    return contextlib.nullcontext()


class FirstAlone:
    """Has others wait while the first one works with a key, for ``head_start`` seconds. Safe to use from many threads."""

    def __init__(self, head_start: float = HEAD_START) -> None:
        self._head_start = head_start
        self._lock = threading.Lock()
        self._done: dict[str, threading.Event] = {}

    @contextlib.contextmanager
    def working(self, key: str) -> Iterator[None]:
        """Work with a key, after the first one has ended, however that went, or has had its head start."""
        with self._lock:
            is_first = key not in self._done
            done = self._done.setdefault(key, threading.Event())
        if not is_first:
            done.wait(self._head_start)
        try:
            yield
        finally:
            done.set()
