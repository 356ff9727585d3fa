"""xdist's workers, as far as we use them."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

__all__ = ["Node", "send_signal"]


class Node(Protocol):
    """What we use of xdist's ``WorkerController``."""

    gateway: Any
    workerinfo: Mapping[str, object]

    @property
    def shutting_down(self) -> bool:
        """Whether it was dismissed, or has ended."""

    def notify_inproc(self, eventname: str, **kwargs: object) -> None:
        """Put an event into xdist's queue."""

    def send_runtest_some(self, indices: Sequence[int]) -> None:
        """Have it run items."""

    def send_steal(self, indices: Sequence[int]) -> None:
        """Ask for items back."""

    def shutdown(self) -> None:
        """Have it end."""


def send_signal(node: Node, number: signal.Signals) -> None:
    """Send a worker of this machine a signal, if it is there."""
    with contextlib.suppress(OSError, AttributeError):
        os.kill(node.gateway._rinfo().pid, number)  # noqa: SLF001  # execnet has it nowhere else
