"""How long we wait for others: every wait has a deadline, and says what it waited for when it passes."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable

from pytest_spip.errors import HarnessProblem

__all__ = ["ENDING", "PATIENCE", "reap", "wait_for"]

PATIENCE = 24 * 3600.0
"""Seconds to wait for others' work, whose own steps have deadlines that are shorter: past them somebody is lost."""
ENDING = 60.0
"""Seconds that a thread or a process of ours has to end once it was asked to."""


def wait_for(changed: threading.Condition, condition: Callable[[], object], what: str) -> None:
    """Wait until a condition holds; each change begins the time anew. Raises ``HarnessProblem`` when nothing changes any more."""
    while not condition():
        if not changed.wait(PATIENCE):
            raise HarnessProblem(f"nothing came in {PATIENCE / 3600:g} h of {what}")


def reap(pid: int, what: str) -> tuple[int, resource.struct_rusage]:
    """Return status, as waitpid(2) gives it, and usage of a child that was killed. Raises ``HarnessProblem`` for one that stays."""
    until, pause = time.monotonic() + ENDING, 0.001
    while True:
        found, status, usage = os.wait4(pid, os.WNOHANG)
        if found:
            return status, usage
        if time.monotonic() > until:
            raise HarnessProblem(f"{what} was killed, and has not ended after {ENDING:g} s")
        time.sleep(pause)
        pause = min(2 * pause, 0.1)
