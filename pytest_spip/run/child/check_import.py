"""Runs inside a combination's interpreter, by path: imports modules and tells how that went.

    python -I -B -u check_import.py RESULT NONCE MODULE...

RESULT is a descriptor to write the result to: fields, each ended by a zero byte; the first is the nonce, read from the
descriptor NONCE when everything is over, unless that is -1.
    "passed" PEAK_RSS                            all modules were imported
    "warm" PEAK_RSS ...                          the same, by a fork server's child, which has more to tell
    "failed" PEAK_RSS TYPE MESSAGE TRACEBACK     one was not; the traceback begins below this file
Message and traceback are cut, so that all fields together stay below what the reader keeps. PEAK_RSS is in bytes.
Standard library only, syntax of Python 3.7; the fork server loads this file by path, and nothing but what it must import is
imported before the package is.
"""

import os
import sys


def peak_rss():
    """Peak resident size in bytes. What wait4 tells would include the worker we were forked from."""
    try:
        status = os.open("/proc/self/status", os.O_RDONLY)
    except OSError:
        return 0
    text = os.read(status, 4096)
    os.close(status)
    return int(text.partition(b"VmHWM:")[2].split()[0]) * 1024


def write(descriptor, nonce, *fields):
    """Write the result in one go, and nothing after it."""
    if nonce >= 0:
        fields = (os.read(nonce, 64).decode("ascii", "replace"), *fields)
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


def tell_failure(descriptor, nonce, error):
    """Write what went wrong."""
    name = attempt(name_of, type(error), "BaseException")
    message = attempt(str, error, "(its message cannot be had)")
    text = attempt(trace_of, error, name)
    write(descriptor, nonce, "failed", peak_rss(), name[:500], message[:16384], text[-65536:])


def run(result, nonce, modules, more=None):
    """Import every module; a module that exits is a module that failed. ``more`` returns fields that a pass bears too."""
    process = os.getpid()
    reserve = bytes(
        4 << 20
    )  # given back to tell of a MemoryError; untouched (a bytearray is not), so it costs no memory
    for module in modules:
        try:
            __import__(module)
        except BaseException as error:
            del reserve
            if os.getpid() == process:  # a child that the package forked has no verdict to give
                tell_failure(result, nonce, error)
            return
    if os.getpid() == process:
        kind, told = ("warm", more()) if more else ("passed", ())
        write(result, nonce, kind, peak_rss(), *told)


def main(result, nonce, *modules):
    """Be the program of a cold check."""
    sys.argv[:] = ["-c"]
    run(int(result), int(nonce), modules)


if __name__ == "__main__":
    main(*sys.argv[1:])
