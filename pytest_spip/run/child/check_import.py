"""Runs inside a combination's interpreter, by path: imports modules and tells how that went.

    python -I -B check_import.py RESULT LIFELINE MEMORY FILE_SIZE MODULE...

RESULT is a descriptor to write the result to: fields, each ended by a zero byte.
    "passed" PEAK_RSS                            all modules were imported
    "failed" PEAK_RSS TYPE MESSAGE TRACEBACK     one was not; the traceback begins below this file
Message and traceback are cut, so that all fields together stay below what the reader keeps.
LIFELINE is the read end of a pipe: when its other end closes, the worker is dead, and the kernel kills our process group.
MEMORY and FILE_SIZE are limits in bytes. PEAK_RSS is in bytes. Standard library only, syntax of Python 3.7; nothing imports
this file, and nothing but what it must import is imported before the package is.
"""

import os
import sys


def limit(memory, file_size):
    """Bound data, file size and core dumps. RLIMIT_AS would punish those who only reserve addresses."""
    import resource

    for what, most in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_FSIZE, file_size), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


def hold_lifeline(descriptor):
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


def peak_rss():
    """Peak resident size in bytes. What wait4 tells would include the worker we were forked from."""
    try:
        with open("/proc/self/status") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def write(descriptor, *fields):
    """Write the result in one go."""
    data = b"".join(str(field).replace("\0", "?").encode("utf-8", "backslashreplace") + b"\0" for field in fields)
    while data:
        data = data[os.write(descriptor, data) :]


def of_import_system(frame):
    """Tell whether a frame is this file's or the import system's. Packages may be called importlib_something."""
    return frame.f_code.co_filename == __file__ or frame.f_code.co_filename.startswith("<frozen importlib")


def name_of(kind):
    """Name an exception's type as tracebacks do."""
    return kind.__name__ if kind.__module__ == "builtins" else "%s.%s" % (kind.__module__, kind.__name__)


def trace_of(error):
    """Return the traceback's text, without our own frames and those of the import system."""
    import traceback

    trace = error.__traceback__
    while trace is not None and of_import_system(trace.tb_frame):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error.with_traceback(trace), trace))


def attempt(function, argument, otherwise):
    """Call a function that runs a package's code; whatever that raises, even to exit, is not ours to pass on."""
    try:
        return function(argument)
    except BaseException:
        return otherwise


def tell_failure(descriptor, error):
    """Write what went wrong."""
    name = attempt(name_of, type(error), "BaseException")
    message = attempt(str, error, "(its message cannot be had)")
    text = attempt(trace_of, error, name)
    write(descriptor, "failed", peak_rss(), name[:500], message[:16384], text[-65536:])


def main(result, lifeline, memory, file_size, *modules):
    """Import every module; a module that exits is a module that failed."""
    result = int(result)
    hold_lifeline(int(lifeline))
    limit(int(memory), int(file_size))
    sys.argv[:] = ["-c"]
    process = os.getpid()
    reserve = bytearray(4 << 20)  # given back to tell of a MemoryError; untouched, so it costs no memory
    for module in modules:
        try:
            __import__(module)
        except BaseException as error:
            del reserve
            if os.getpid() == process:  # a child that the package forked has no verdict to give
                tell_failure(result, error)
            return
    if os.getpid() == process:
        write(result, "passed", peak_rss())


main(*sys.argv[1:])
