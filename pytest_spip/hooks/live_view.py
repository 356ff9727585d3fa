"""A few lines at the end of a terminal that are drawn again and again, below whatever else is written there."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Sequence
from typing import Any, TextIO

import pytest

__all__ = ["LiveView"]


class LiveView:
    """Stands between pytest's terminal writer and its file: what pytest writes goes above the lines that are drawn here.

    Threads may share it. It writes to a descriptor of its own, for where items run in this process pytest turns the usual one
    away.
    """

    def __init__(self, reporter: pytest.TerminalReporter) -> None:
        self._reporter = reporter
        self._writer: Any = reporter._tw  # noqa: SLF001  # nobody offers its file
        self._usual: TextIO = self._writer._file  # noqa: SLF001
        self._file = _own(self._usual)
        self._lock = threading.Lock()
        self._height = 0
        self._begun = bool(self._writer.width_of_current_line)
        self._writer._file = self  # noqa: SLF001

    @property
    def width(self) -> int:
        """Columns of the terminal."""
        width: int = self._writer.fullwidth
        return width

    @property
    def height(self) -> int:
        """Lines of the terminal; few where that is not known."""
        with contextlib.suppress(OSError):
            return os.get_terminal_size(self._file.fileno()).lines
        return 1

    def draw(self, lines: Sequence[tuple[str, str]]) -> None:
        """Draw lines, each with its style, in place of those that were drawn before."""
        texts = [self._writer.markup(text, **_MARKUP[style]) for text, style in lines]
        with self._lock:
            self._erase()
            self._put("\n" * self._begun + "\n".join(texts))
            self._begun = False
            self._height = len(lines)

    def leave(self) -> None:
        """Leave the lines that were drawn last: what is drawn next stands below whatever others write meanwhile."""
        with self._lock:
            if self._height:
                self._put("\n")
            self._height = 0

    def close(self) -> None:
        """Leave the lines that were drawn last, and the cursor on a line of its own; pytest has its file again."""
        self.leave()
        with self._lock:
            self._writer._file = self._usual  # noqa: SLF001
            if self._file is not self._usual:
                with contextlib.suppress(OSError):  # as above: what could not be written is tried again
                    self._file.close()

    def write(self, text: str) -> int:
        """Write what pytest has to say above the lines that are drawn."""
        with self._lock:
            self._erase()
            if text:
                self._begun = not text.endswith("\n")
            self._put(text)
        return len(text)

    def write_line(self, line: str) -> None:
        """Write a line of its own above the lines that are drawn, also where pytest has begun one."""
        with self._lock:
            self._erase()
            self._put("\n" * self._begun + f"{line}\n")
            self._begun = False

    def flush(self) -> None:
        """Do nothing: nothing waits here."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._usual, name)

    def _erase(self) -> None:
        if self._height:
            up = f"\x1b[{self._height - 1}A" if self._height > 1 else ""
            self._put(f"{up}\r\x1b[J")
        self._height = 0

    def _put(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # the terminal is gone, and the run goes on
            self._file.write(text)
            self._file.flush()


_MARKUP: dict[str, dict[str, bool]] = {"": {}, "dim": {"light": True}, "red": {"red": True}}


def _own(usual: TextIO) -> TextIO:
    try:
        usual.flush()
        return open(os.dup(usual.fileno()), "w", 1, usual.encoding, usual.errors)  # closed with the view
    except (OSError, ValueError, AttributeError):  # no real file: nothing turns it away
        return usual
