"""Runs inside a combination's interpreter, by path: imports modules and reports how that went.

    python -c CODE check_import.py RESULT NONCE MODULE...

CODE is what ``cold_code`` in check_runners.py writes: it imports the modules, one a line from the second on, within ``check()`` of
this file. So a package finds itself in ``python -c "import ..."``, with nothing else in ``__main__`` and no frame below that one.
RESULT is a descriptor to write the result to: fields, each ended by a zero byte; the first is the nonce, read from the
descriptor NONCE when everything is over, unless that is -1.
    "passed" PEAK_RSS                            all modules were imported
    "warm" PEAK_RSS ...                          the same, by a fork server's child, which has more to tell
    "failed" PEAK_RSS TYPE MESSAGE TRACEBACK MODULE     one was not; the traceback begins below the import system
Message and traceback are cut, so that all fields together stay below what the reader keeps. PEAK_RSS is in bytes.
Standard library only, syntax of Python 3.7; the fork server loads this file by path, and nothing but what it must import is
imported before the package is.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import FrameType, TracebackType
    from typing import TypeVar

    _Argument = TypeVar("_Argument")
    _Result = TypeVar("_Result")


def peak_rss() -> int:
    """Peak resident size in bytes. What wait4 says would include the worker we were forked from."""
    try:
        status = os.open("/proc/self/status", os.O_RDONLY)
    except OSError:
        return 0
    text = os.read(status, 4096)
    os.close(status)
    return int(text.partition(b"VmHWM:")[2].split()[0]) * 1024


def write(descriptor: int, nonce: int, *fields: "str | int") -> None:
    """Write the result in one go, and nothing after it."""
    if nonce >= 0:
        fields = (os.read(nonce, 64).decode("ascii", "replace"), *fields)
    data = b"".join(str(field).replace("\0", "?").encode("utf-8", "backslashreplace") + b"\0" for field in fields)
    while data:
        data = data[os.write(descriptor, data) :]


def of_import_system(frame: "FrameType") -> bool:
    """Tell whether a frame is the import system's. Packages may be called importlib_something."""
    return frame.f_code.co_filename.startswith("<frozen importlib")


def name_of(kind: type) -> str:
    """Name an exception's type as tracebacks do."""
    return kind.__name__ if kind.__module__ == "builtins" else "%s.%s" % (kind.__module__, kind.__name__)


def trace_of(error: BaseException) -> str:
    """Return the traceback's text, without the import statement and the import system."""
    import traceback

    trace = getattr(error.__traceback__, "tb_next", None)
    while trace is not None and of_import_system(trace.tb_frame):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error.with_traceback(trace), trace))


def attempt(function: "Callable[[_Argument], _Result]", argument: "_Argument", otherwise: "_Result") -> "_Result":
    """Call a function that runs a package's code; whatever that raises, even to exit, is not ours to pass on."""
    try:
        return function(argument)
    except BaseException:
        return otherwise


def tell_failure(descriptor: int, nonce: int, error: BaseException, module: str) -> None:
    """Write what went wrong."""
    name = attempt(name_of, type(error), "BaseException")
    message = attempt(str, error, "(its message cannot be had)")
    text = attempt(trace_of, error, name)
    write(descriptor, nonce, "failed", peak_rss(), name[:500], message[:16384], text[-65536:], module)


class Check:
    """What surrounds the imports, as ``with`` has it: no name of ours is in sight meanwhile, and no frame.

    An import that exits is one that failed. ``more`` returns fields that a pass bears too; ``leave`` is how to end, if not as ever.
    """

    def __init__(
        self,
        result: int,
        nonce: int,
        modules: "Sequence[str]",
        more: "Callable[[], Iterable[str]] | None" = None,
        leave: "Callable[[], object] | None" = None,
        peak: "Callable[[], int]" = peak_rss,
    ) -> None:
        self.result = result
        self.nonce = nonce
        self.modules = modules
        self.more = more
        self.leave = leave
        self.peak = peak
        self.process = os.getpid()
        # Given back to tell of a MemoryError; untouched (a bytearray is not), so it costs no memory.
        self.reserve: "bytes | None" = bytes(4 << 20)

    def __enter__(self) -> None:
        """Keep what was said before a crash."""
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # they are Python's own
        self.__exit__(Check, None, None)  # older Pythons make room for a function's frame when it is first called

    def __exit__(self, kind: object, error: "BaseException | None", trace: "TracebackType | None") -> "bool | None":
        """Tell how it went; a child that the package forked has no verdict to give."""
        if kind is Check:
            return None
        self.reserve = None
        self.tell(error, trace)
        if self.leave:
            self.leave()
        return True

    def tell(self, error: "BaseException | None", trace: "TracebackType | None") -> None:
        """Write the result."""
        if os.getpid() != self.process:
            return
        if error is not None:
            # Without memory there may be no traceback.
            module = self.modules[trace.tb_lineno - 2] if trace else ""
            tell_failure(self.result, self.nonce, error, module)
        elif self.more:
            write(self.result, self.nonce, "warm", self.peak(), *self.more())
        else:
            write(self.result, self.nonce, "passed", self.peak())


def check() -> Check:
    """Be the program of a cold check: take our own words away, and return what surrounds the imports."""
    result, nonce, *modules = sys.argv[2:]
    pretend(modules)
    return Check(int(result), int(nonce), modules)


def pretend(modules: "Sequence[str]") -> None:
    """Have Python tell of the command that a person would have typed."""
    code = "import " + ", ".join(modules) if modules else "pass"
    sys.argv[:] = ["-c"]
    if hasattr(sys, "orig_argv"):
        sys.orig_argv[:] = [sys.executable, "-c", code]
    if sys.version_info >= (3, 13) and "linecache" in sys.modules:
        cache = sys.modules["linecache"].cache
        for key in [key for key, entry in cache.items() if entry[3:] == ("<string>",)] or ["<string>"]:
            cache[key] = len(code) + 1, None, [code + "\n"], "<string>"
