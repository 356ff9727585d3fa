"""A worker without pytest: runs the combinations that it is sent, and sends one report for each.

It speaks as xdist's own workers do, so that xdist cannot tell the difference. It receives ``runtests`` (more to run),
``steal`` (what to give back) and ``shutdown`` (leave the rest); it sends ``workerready``, a ``testreport`` for each
combination, ``unscheduled`` (what it gave back) and ``workerfinished``. Unlike xdist's workers it holds nothing back: what
it was given last is run as soon as it is its turn.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Collection, Mapping
from typing import Any, Protocol

from pytest_spip.session.executor import Executor
from pytest_spip.session.worker_spec import PLAN, WorkerSpec

__all__ = ["Worker"]

INTERRUPTED = 2
"""pytest's exit status of an interrupted session."""


class Channel(Protocol):
    """What we use of an execnet channel."""

    def send(self, item: object, /) -> None:
        """Send plain data; raises ``OSError`` when nobody listens any more."""

    def setcallback(self, callback: Any, endmarker: object) -> None:
        """Have a function called, from another thread, with everything that arrives, and at last with the marker."""


class Worker:
    """Takes ordinals from a queue that the controller fills, and runs their combinations, until it is dismissed."""

    def __init__(self, channel: Channel, workerinput: Mapping[str, Any]) -> None:
        self._channel = channel
        self._parent = os.getppid()
        self._name: str = workerinput["workerid"]
        self._queue: deque[int] = deque()
        self._executor = Executor(WorkerSpec.from_plain(workerinput["spip"]), self._name, lambda: not self._queue)
        self._changed = threading.Condition()
        self._ended = False

    def work(self) -> None:
        """Work until the end. A lost parent, and an interrupt, are ends too.

        The parent may be a zygote, and the controller alive: that has to take this for a crash, and not for an interrupt.
        """
        status = 0
        try:
            self._tell("workerready", workerinfo=self._introduction())
            self._channel.setcallback(self._obey, endmarker=None)
            while (ordinal := self._next()) is not None:
                self._run(ordinal)
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal and the controller both send one
            status = INTERRUPTED
        finally:
            self._executor.close()
        if self._has_parent:
            self._tell("workerfinished", workeroutput={"exitstatus": status, "shouldfail": False, "shouldstop": False})

    def _run(self, ordinal: int) -> None:
        start = time.perf_counter()
        result = self._executor.result(self._executor.combo(ordinal))
        ran = time.perf_counter()
        self._tell("testreport", data={"spip": json.dumps(result.to_plain()), "seconds": ran - start})
        self._executor.report_took(ordinal, time.perf_counter() - ran)

    def _next(self) -> int | None:
        """Return what is to be run next, when there is something; None at the end."""
        with self._changed:
            if not self._queue and not self._ended:
                with self._executor.waiting():  # nobody waits without it being counted
                    self._changed.wait_for(lambda: self._queue or self._ended)
            return None if self._ended else self._queue.popleft()

    def _obey(self, command: tuple[str, Mapping[str, Any]] | None) -> None:
        """Take a command in, in the thread that receives it: also while a combination runs."""
        name, details = command or ("shutdown", {})
        with self._changed:
            if name == "runtests":
                self._queue.extend(details["indices"])
            elif name == "steal":
                self._give_back(frozenset(details["indices"]))
            else:
                self._ended = True
            self._changed.notify()

    def _give_back(self, wanted: Collection[int]) -> None:
        """Give back what is wanted and still here. Asked for nothing, it answers all the same: that it is alive.

        Without its parent it is about to end, and gives no answer: else it would seem to have begun what it was given last.
        """
        if not self._has_parent:
            return
        given = [ordinal for ordinal in self._queue if ordinal in wanted]
        for ordinal in given:
            self._queue.remove(ordinal)
        self._tell("unscheduled", indices=given)

    @property
    def _has_parent(self) -> bool:
        return os.getppid() == self._parent

    def _tell(self, name: str, **details: object) -> None:
        self._channel.send((name, details))

    def _introduction(self) -> dict[str, object]:
        return {
            "version": sys.version,
            "version_info": tuple(sys.version_info),
            "sysplatform": sys.platform,
            "platform": sys.platform,
            "executable": sys.executable,
            "cwd": os.getcwd(),
            PLAN: self._executor.plan_hash,
        }
