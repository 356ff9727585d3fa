"""Whose turn it is to make a build that others look for, too."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager

__all__ = ["Turn", "at_once"]

Turn = Callable[[str, str], AbstractContextManager[object]]
"""Takes the key of a build, the same on all hosts, and what is built; is held while it is made, or waited for."""


def at_once(_key: str, _what: str) -> AbstractContextManager[object]:
    """Wait for nobody."""
    return contextlib.nullcontext()
