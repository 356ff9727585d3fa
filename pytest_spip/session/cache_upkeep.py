"""At the end of a session: begins, once a day, to bring the cache below its bound, in the background."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time

from pytest_spip.common.cache import Cache
from pytest_spip.common.processes import start_in_background

__all__ = ["tend_cache"]

EVERY = 86400.0
"""Seconds from one collection to the next that a session begins."""


def tend_cache(cache: Cache, size: int, *, offline: bool) -> bool:
    """Have a process of low priority remove what was used least recently, until the cache holds ``size`` bytes; 0 is no bound.

    Return True if one was started. Nothing goes ``offline``, for it could not be fetched again. No failure of this is the
    session's.
    """
    if not size or offline:
        return False
    command = [sys.executable, "-P", "-m", "pytest_spip.cli", "gc", "--only=cache", "--older=never", f"--size={size}"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        if _is_due(cache):
            start_in_background([*command, f"--spip-cache={cache.root}"])
            return True
    return False


def _is_due(cache: Cache) -> bool:
    """Return True if a day has passed since a session did this, or had nothing to do yet; it counts as done then."""
    mark = cache.root / "gc.lock"
    known = mark.exists()
    if known and 0 <= time.time() - mark.stat().st_mtime < EVERY:
        return False
    mark.touch()
    return known
