"""Runs inside a sandbox, by path: tries what package code must not be able to do, and prints what it could, as JSON.

    python -I -S -B attack.py OUTSIDE PREFIX CONTROLLER [PORT ABSTRACT PATH]

OUTSIDE is a directory that must be out of reach, PREFIX the environment, CONTROLLER the pid of a process that is to be left
alone; what follows are places where somebody listens. Standard library only, syntax of Python 3.7; nothing imports this file.
Each session waits for it: it imports no more than it must.
"""

import _socket
import ctypes
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def attempts(
    outside: str, prefix: str, controller: str, port: str = "", abstract: str = "", path: str = ""
) -> "Iterator[tuple[str, Callable[[], object]]]":
    """Yield names and functions that raise, or return something false, when they are stopped."""
    libc = ctypes.CDLL(None)
    yield "reading a file", lambda: open(outside + "/canary").read()
    yield "listing a directory", lambda: os.listdir(outside)
    yield "writing outside", lambda: open(outside + "/written", "w")
    yield "the environment of another process", lambda: open("/proc/%s/environ" % controller).read()
    yield "a signal", lambda: os.kill(int(controller), 0) is None  # type: ignore[func-returns-value]
    yield "a new user namespace", lambda: libc.unshare(0x10000000) == 0
    yield "ptrace", lambda: libc.ptrace(16, int(controller), 0, 0) == 0
    yield (
        "capabilities",
        lambda: [
            line for line in open("/proc/self/status") if line.startswith("CapEff") and line.split()[1].strip("0")
        ],
    )
    yield "writing to /proc/sys", lambda: open("/proc/sys/kernel/core_pattern", "a")
    if port:
        yield "a connection", lambda: connects(_socket.AF_INET, ("127.0.0.1", int(port)))
        yield "an abstract socket", lambda: connects(_socket.AF_UNIX, "\0" + abstract)
        yield "a socket's path", lambda: connects(_socket.AF_UNIX, path)
    yield "layer", lambda: open(prefix + "/layered").read()


def connects(family: int, address: "tuple[str, int] | str") -> bool:
    """Return True when somebody was reached."""
    reaching = _socket.socket(family)
    reaching.settimeout(2)
    reaching.connect(address)
    return True


def main(*arguments: str) -> None:
    """Try all, and say what worked."""
    through = []
    for name, attempt in attempts(*arguments):
        try:
            if attempt():
                through.append(name)
        except OSError:
            continue
    print("[%s]" % ", ".join('"%s"' % name for name in through))


main(*sys.argv[1:])
