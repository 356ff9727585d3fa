"""Which failures come of our limits and sandbox, so that a command without them may show none."""

from __future__ import annotations

import re

from pytest_spip.model import Outcome, Reason, Verdict
from pytest_spip.run.suite import OFFLINE

__all__ = ["is_bound"]

_DENIED = re.compile(rf"{OFFLINE.pattern}|Read-only file system|Permission denied|Operation not permitted")
"""What a program says where the sandbox kept it from something."""


def is_bound(verdict: Verdict, output: str) -> bool:
    """Return True if a command of uv's, which knows neither our limits nor our sandbox, may well show no failure."""
    if verdict.outcome in (Outcome.KILLED, Outcome.ERROR) or verdict.reason is Reason.BAD_METADATA:
        return True
    return bool(_DENIED.search(verdict.detail) or _DENIED.search(output))
