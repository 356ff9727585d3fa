"""Lines that are drawn again and again, on terminals that change."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import types
from collections.abc import Iterator

import pytest
from _pytest.config import create_terminal_writer

from pytest_spip.hooks.live_view import LiveView
from pytest_spip.hooks.progress import ProgressLine
from pytest_spip.report.progress import Progress

PATIENCE = 10.0
"""Seconds."""


class Terminal:
    """A terminal, with pytest's writer to it and a view of it."""

    def __init__(self, config: pytest.Config) -> None:
        self._master, slave = pty.openpty()
        self._slave = os.fdopen(slave, "w", 1)
        self.writer = create_terminal_writer(config, self._slave)
        self.view = LiveView(types.SimpleNamespace(_tw=self.writer))  # type: ignore[arg-type]  # all that it asks for

    def read(self, end: str) -> str:
        """Return what was written since, up to an end that comes."""
        text = ""
        while not text.endswith(end):
            ready, _, _ = select.select([self._master], [], [], PATIENCE)
            assert ready, text
            text += os.read(self._master, 1 << 16).decode().replace("\r\n", "\n")
        return text

    def hang_up(self) -> None:
        """Close the user's side."""
        os.close(self._master)
        self._master = -1

    def close(self) -> None:
        """Close both sides."""
        if self._master >= 0:
            os.close(self._master)
        with contextlib.suppress(OSError):
            self._slave.close()


@pytest.fixture
def terminal(pytestconfig: pytest.Config) -> Iterator[Terminal]:
    """Open a terminal."""
    made = Terminal(pytestconfig)
    yield made
    made.close()


def test_lines_below_what_others_write(terminal: Terminal) -> None:
    """What pytest writes goes above the lines, which are erased first."""
    terminal.view.draw([("one", ""), ("two", "")])
    terminal.writer.write("above\n", flush=True)
    assert terminal.read("above\n") == "one\ntwo\x1b[1A\r\x1b[Jabove\n"
    terminal.view.close()


def test_line_of_its_own(terminal: Terminal) -> None:
    """A line of another thread does not stand behind a dot, nor below an empty line where the view has ended the dot's."""
    terminal.writer.write(".", flush=True)
    terminal.view.write_line("first")
    terminal.view.draw([("one", "")])
    terminal.view.write_line("second")
    terminal.writer.write(".", flush=True)
    terminal.view.draw([("two", "")])
    terminal.view.write_line("third")
    assert terminal.read("third\n") == ".\nfirst\none\r\x1b[Jsecond\n.\ntwo\r\x1b[Jthird\n"
    terminal.view.close()


def test_terminal_that_is_gone(terminal: Terminal) -> None:
    """A run goes on when its terminal is closed, and so does what draws."""
    terminal.view.draw([("one", ""), ("two", "")])
    terminal.hang_up()
    terminal.view.draw([("three", "")])
    terminal.writer.write("more\n", flush=True)
    terminal.view.draw([("four", ""), ("five", "")])
    terminal.view.close()


def test_lines_are_left_to_others(terminal: Terminal) -> None:
    """What a debugger writes below lines that were left is not erased by the next."""
    terminal.view.draw([("one", ""), ("two", "")])
    terminal.view.leave()
    terminal.view.draw([("three", "")])
    assert terminal.read("three") == "one\ntwo\nthree"
    terminal.view.close()


def test_nothing_is_drawn_over_a_debugger(pytestconfig: pytest.Config, terminal: Terminal) -> None:
    """While a debugger has the terminal nothing is drawn; afterwards it is again."""
    line = ProgressLine(pytestconfig)
    line._view = terminal.view  # as where standard output is a terminal
    for paused in (True, False):
        (line.pause if paused else line.go_on)()
        line._report(Progress(planned=3, done=int(not paused)))  # what its thread does at times
    terminal.view.draw([("end", "")])
    drawn = terminal.read("end")
    assert "1/3 done" in drawn
    assert "0/3 done" not in drawn
    line.stop()
