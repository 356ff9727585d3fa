"""Looks at the machine in a thread of its own, and says when another number of workers may be given work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from pytest_spip.common.machine import Snapshot
from pytest_spip.common.waits import ENDING
from pytest_spip.dispatch.autoscale import Load, Policy

__all__ = ["ConcurrencyController", "Sampler"]


class Sampler(Protocol):
    """Whoever can look at a machine."""

    def look(self) -> Snapshot:
        """Return how things are now."""
        ...


class ConcurrencyController:
    """Has a policy decide every ``period`` seconds, and calls ``set_limit`` with the number whenever that changes.

    ``set_limit`` and ``load`` are called from :meth:`start`, once, and from then on from the controller's thread. A look that
    fails changes nothing.
    """

    def __init__(
        self,
        policy: Policy,
        machine: Sampler,
        set_limit: Callable[[int], None],
        load: Callable[[], Load] = Load,
        period: float = 1.0,
    ) -> None:
        self._policy = policy
        self._machine = machine
        self._set_limit = set_limit
        self._load = load
        self._period = period
        self._state = policy.begin(machine.look())
        self._limit = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_regularly, name="concurrency", daemon=True)

    def start(self) -> None:
        """Admit a first number, so that nobody begins with too many, and keep looking."""
        self._look()
        self._thread.start()

    def stop(self) -> None:
        """End, and return when ``set_limit`` will not be called any more; a second time does nothing."""
        self._ended.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(ENDING)

    def _look_regularly(self) -> None:
        while not self._ended.wait(self._period):
            self._look()

    def _look(self) -> None:
        # Whatever goes wrong here must not end the thread: the number would stand where it was, for good.
        try:
            self._state, allowed = self._policy.decide(self._state, self._machine.look(), self._load())
            if allowed != self._limit:
                self._set_limit(allowed)
                self._limit = allowed
        except Exception:  # noqa: S110  # said above
            pass
