"""The standard streams of this process, passed on to a program inside of a sandbox: by a terminal of its own, or by pipes.

The program never holds the user's terminal, nor the files that the user redirects to: who holds a file can open it again.
"""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import termios
import tty
from collections.abc import Iterator
from typing import Self

__all__ = ["Relay"]

AT_ONCE = 1 << 16
"""Bytes that are copied at once, and that wait at most for a program that does not read."""


class Relay:
    """Copies between the standard streams of this process and those of a program; ``theirs`` are the program's.

    Those are a terminal where standard input and output are one, and it belongs to the user ``owner``, if that is not -1. The
    user's terminal passes everything on meanwhile, control characters too.
    """

    def __init__(self, owner: int = -1) -> None:
        self._owner = owner
        self._stack = contextlib.ExitStack()
        self._lent = contextlib.ExitStack()
        self._input = -1
        self._outputs: dict[int, int] = {}
        self._waiting = b""
        self._reads = True
        self.theirs: tuple[int, ...] = ()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            undo.callback(self._end_input)
            undo.push(self._lent)
            if os.isatty(0) and os.isatty(1):
                self._open_terminal(undo)
            else:
                self._open_pipes(undo)
            for descriptor in {self._input, *self._outputs}:
                os.set_blocking(descriptor, False)
            self._stack = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _open_terminal(self, undo: contextlib.ExitStack) -> None:
        ours, slave = pty.openpty()
        undo.callback(os.close, ours)
        self._lent.callback(os.close, slave)
        os.fchown(slave, self._owner, -1)
        undo.enter_context(_raw_terminal(ours, slave))
        self._input, self._outputs, self.theirs = ours, {ours: 1}, (slave, slave, slave)

    def _open_pipes(self, undo: contextlib.ExitStack) -> None:
        (stdin, self._input), *outputs = os.pipe(), os.pipe(), os.pipe()
        self.theirs = (stdin, *(write for _, write in outputs))
        self._outputs = {read: target for target, (read, _) in enumerate(outputs, 1)}
        for descriptor in self._outputs:
            undo.callback(os.close, descriptor)
        for descriptor in self.theirs:
            self._lent.callback(os.close, descriptor)

    def copy(self, ended: int) -> None:
        """Copy until a descriptor is readable, which says that the program has ended, and then what is left of its output.

        From here on the program alone has its streams.
        """
        self._lent.close()
        outputs = set(self._outputs)
        while ended not in (ready := self._ready(ended, outputs)):
            outputs -= {descriptor for descriptor in ready & outputs if self._pass_on(descriptor) is None}
            if self._waiting and self._input in ready:
                self._feed()
            elif self._reads and 0 in ready:
                self._take()
        for descriptor in self._outputs:
            while self._pass_on(descriptor):
                continue

    def _ready(self, ended: int, outputs: set[int]) -> set[int]:
        """Wait until there is something to do; return for which descriptors."""
        wanted = dict.fromkeys((ended, *outputs), select.POLLIN)
        if self._waiting:
            wanted[self._input] = wanted.get(self._input, 0) | select.POLLOUT
        elif self._reads:
            wanted[0] = select.POLLIN
        poller = select.poll()
        for descriptor, events in wanted.items():
            poller.register(descriptor, events)
        return {descriptor for descriptor, _ in poller.poll()}

    def _pass_on(self, descriptor: int) -> int | None:
        """Copy output; return how much there was, None at its end. Where a terminal has no user any more, reading fails."""
        try:
            data = os.read(descriptor, AT_ONCE)
        except BlockingIOError:
            return 0
        except OSError:
            return None
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._outputs[descriptor], rest) :]
            except BlockingIOError:  # another program that has the same terminal, or pipe, wants it so
                _await_room(self._outputs[descriptor])
        return len(data) or None

    def _take(self) -> None:
        """Take in what the user types, one piece at a time: the next when the program has room for it."""
        try:
            self._waiting = os.read(0, AT_ONCE)
        except OSError:  # it is closed, or its terminal is gone
            self._waiting = b""
        if not self._waiting:
            self._reads = False
            self._end_input()

    def _feed(self) -> None:
        """Give the program as much as it has room for."""
        try:
            self._waiting = self._waiting[os.write(self._input, self._waiting) :]
        except BlockingIOError:
            return
        except OSError:  # nobody reads any more
            self._waiting, self._reads = b"", False
            self._end_input()

    def _end_input(self) -> None:
        """Let the program read the end of its input; a terminal is one thing, and stays."""
        if self._input >= 0 and self._input not in self._outputs:
            os.close(self._input)
            self._input = -1


def _await_room(descriptor: int) -> None:
    poller = select.poll()
    poller.register(descriptor, select.POLLOUT)
    poller.poll()


@contextlib.contextmanager
def _raw_terminal(ours: int, slave: int) -> Iterator[None]:
    """Make a terminal like the user's, also when that changes its size; have the user's pass on all that is typed."""
    before = termios.tcgetattr(0)
    termios.tcsetattr(slave, termios.TCSANOW, before)

    def resize(*_: object) -> None:
        with contextlib.suppress(OSError):
            termios.tcsetwinsize(ours, termios.tcgetwinsize(1))

    resize()
    handler = signal.signal(signal.SIGWINCH, resize)
    tty.setraw(0, termios.TCSADRAIN)  # what was typed before is input too
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
        signal.signal(signal.SIGWINCH, handler)
