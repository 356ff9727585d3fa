"""root's umask while a session has a matrix: the sandbox runs package code as another user, who must read what root makes."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["SessionUmask"]

READABLE = 0o055
"""Bits of a umask that keep others from reading files and entering directories."""


class SessionUmask:
    """Lets others read what is made from now on, where root's umask would not. What the user looks for stays closed."""

    def __init__(self) -> None:
        self._own = os.umask(0o022)
        self._is_eased = os.geteuid() == 0 and bool(self._own & READABLE)
        os.umask(self._own & ~READABLE if self._is_eased else self._own)

    def close_to_others(self, path: Path) -> None:
        """Give a file or directory the mode that the user's own umask would have given it."""
        if self._is_eased:
            with contextlib.suppress(OSError):
                path.chmod(path.stat().st_mode & 0o777 & ~self._own)

    def restore(self) -> None:
        """Set the user's umask again."""
        if self._is_eased:
            os.umask(self._own)
            self._is_eased = False
