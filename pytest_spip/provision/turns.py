"""Whose turn it is, where others would do the same meanwhile: to make a build, or to be the first with something."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from pytest_spip.common.waits import PATIENCE
from pytest_spip.errors import HarnessProblem

__all__ = ["FirstAlone", "Turn", "at_once"]

Turn = Callable[[str, str], AbstractContextManager[object]]
"""Takes the key of a build, the same on all hosts, and what is built; is held while it is made, or waited for."""


def at_once(_key: str, _what: str) -> AbstractContextManager[object]:
    """Wait for nobody."""
    return contextlib.nullcontext()


class FirstAlone:
    """Has others wait while the first one works with a key. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done: dict[str, threading.Event] = {}

    @contextlib.contextmanager
    def working(self, key: str) -> Iterator[None]:
        """Work with a key, after the first one has ended, however that went. Raises ``HarnessProblem`` when it never does."""
        with self._lock:
            is_first = key not in self._done
            done = self._done.setdefault(key, threading.Event())
        if not is_first and not done.wait(PATIENCE):
            raise HarnessProblem(f"the first to work with {key} has not ended")
        try:
            yield
        finally:
            done.set()
