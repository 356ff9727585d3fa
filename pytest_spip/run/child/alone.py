"""Runs inside a combination's interpreter, by path, where there is no fork server: bounds itself, then becomes a program.

    python -I -B -S alone.py LIFELINE MEMORY FILE_SIZE PROGRAM...

LIFELINE is the read end of a pipe: when its other end
closes, the worker is dead, and the kernel kills our process group (Linux). MEMORY and FILE_SIZE are limits in bytes.
Standard library only, syntax of Python 3.7; nothing imports this file.
"""

import os
import signal
import sys


def limit(memory: int, file_size: int) -> None:
    """Bound data, file size and core dumps. RLIMIT_AS would punish those who only reserve addresses."""
    import resource

    for what, most in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_FSIZE, file_size), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


def hold_lifeline(descriptor: int) -> None:
    """Have the kernel kill our process group when the last writer of the pipe is gone (fcntl(2), F_SETSIG)."""
    import fcntl

    if not hasattr(fcntl, "F_SETOWN") or not sys.platform.startswith("linux"):
        return
    fcntl.fcntl(descriptor, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(descriptor, getattr(fcntl, "F_SETSIG", 10), 9)
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_ASYNC | os.O_NONBLOCK)
    try:
        if not os.read(descriptor, 1):
            os._exit(1)  # the worker died before we listened
    except BlockingIOError:
        pass


def main(lifeline: str, memory: str, file_size: str, *program: str) -> None:
    """Bound this process and become the program."""
    hold_lifeline(int(lifeline))
    limit(int(memory), int(file_size))
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and a program would inherit that
    os.execv(program[0], program)


main(*sys.argv[1:])
