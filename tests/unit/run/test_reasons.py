"""Exit status, signal and result -> verdict, as a table."""

from __future__ import annotations

import signal

import pytest

from pytest_spip.model import Limits, Outcome, Phase, Reason, Verdict
from pytest_spip.run.process import Ended
from pytest_spip.run.reasons import import_verdict, signal_reason

LIMITS = Limits(timeout=2.5, memory=64 << 20, output=3 << 20)


def ended(result: bytes = b"", status: int = 0, cut: str = "") -> Ended:
    """Return how a child ended."""
    return Ended(status, cut, "said", result, 1.0, 0.5, 1 << 20)


def failed(kind: str, message: str, trace: str = "trace") -> bytes:
    """Return the result of an import that failed."""
    return f"failed\x004096\0{kind}\0{message}\0{trace}\0".encode()


PASSED = b"passed\x004096\0"
CASES: dict[str, tuple[Ended, Outcome, Reason | None, str]] = {
    "passed": (ended(PASSED), Outcome.PASSED, None, ""),
    "passed, then a bad status": (
        ended(PASSED, 3),
        Outcome.FAILED,
        Reason.IMPORT_ERROR,
        "imported, then ended with exit status 3",
    ),
    "passed, then a signal": (
        ended(PASSED, -11),
        Outcome.CRASHED,
        Reason.SIGSEGV,
        "killed by signal 11 (SIGSEGV)",
    ),
    "passed, then a hang": (ended(PASSED, -9, "timeout"), Outcome.KILLED, Reason.TIMEOUT, "no end after 2.5 s"),
    "no result": (ended(), Outcome.CRASHED, Reason.SILENT_EXIT, "exit status 0 in the middle of the import"),
    "no result, bad status": (
        ended(b"", 1),
        Outcome.CRASHED,
        Reason.SILENT_EXIT,
        "exit status 1 in the middle of the import",
    ),
    "timeout": (ended(b"", -9, "timeout"), Outcome.KILLED, Reason.TIMEOUT, "no end after 2.5 s"),
    "log limit": (ended(b"", -9, "log-limit"), Outcome.KILLED, Reason.LOG_LIMIT, "more than 3 MiB of output"),
    "killed by others": (ended(b"", -9), Outcome.CRASHED, Reason.SIGKILL, "killed by signal 9 (SIGKILL)"),
    "real-time signal": (
        ended(b"", -40),
        Outcome.CRASHED,
        Reason.OTHER_SIGNAL,
        "killed by signal 40 (other-signal)",
    ),
    "import error": (
        ended(failed("ImportError", "no name")),
        Outcome.FAILED,
        Reason.IMPORT_ERROR,
        "ImportError: no name",
    ),
    "import error, bad status": (
        ended(failed("ImportError", "no name"), 1),
        Outcome.FAILED,
        Reason.IMPORT_ERROR,
        "ImportError: no name",
    ),
    "import error, then a signal": (
        ended(failed("ImportError", "no name"), -6),
        Outcome.CRASHED,
        Reason.SIGABRT,
        "killed by signal 6 (SIGABRT)",
    ),
    "no message": (ended(failed("KeyError", "")), Outcome.FAILED, Reason.IMPORT_ERROR, "KeyError"),
    "long message": (
        ended(failed("KeyError", "x" * 600)),
        Outcome.FAILED,
        Reason.IMPORT_ERROR,
        "KeyError: " + "x" * 500,
    ),
    "memory": (
        ended(failed("MemoryError", "")),
        Outcome.KILLED,
        Reason.OUT_OF_MEMORY,
        "MemoryError (limit 64 MiB)",
    ),
    "somebody's memory": (
        ended(failed("numpy._ArrayMemoryError", "1 TiB")),
        Outcome.KILLED,
        Reason.OUT_OF_MEMORY,
        "numpy._ArrayMemoryError: 1 TiB (limit 64 MiB)",
    ),
    "no memory to map": (
        ended(failed("OSError", "[Errno 12] Cannot")),
        Outcome.KILLED,
        Reason.OUT_OF_MEMORY,
        "OSError: [Errno 12] Cannot (limit 64 MiB)",
    ),
    "file too large": (
        ended(failed("OSError", "[Errno 27] File too large")),
        Outcome.KILLED,
        Reason.ENVIRONMENT_FULL,
        "OSError: [Errno 27] File too large (limit 1024 MiB, 1024 MiB a file)",
    ),
    "no space": (
        ended(failed("OSError", "[Errno 28] No space")),
        Outcome.KILLED,
        Reason.ENVIRONMENT_FULL,
        "OSError: [Errno 28] No space (limit 1024 MiB, 1024 MiB a file)",
    ),
    "another errno": (
        ended(failed("OSError", "[Errno 2] No such file")),
        Outcome.FAILED,
        Reason.IMPORT_ERROR,
        "OSError: [Errno 2] No such file",
    ),
    "an errno in another error": (
        ended(failed("ValueError", "[Errno 28] is a number")),
        Outcome.FAILED,
        Reason.IMPORT_ERROR,
        "ValueError: [Errno 28] is a number",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_verdict(name: str) -> None:
    """Why we killed a child comes first, then its signal, then what it told, then its silence."""
    how, outcome, reason, detail = CASES[name]
    verdict, _, _ = import_verdict(how, LIMITS, ["demo"])
    assert verdict == Verdict(outcome, Phase.IMPORT, reason, detail)


@pytest.mark.parametrize(
    "result",
    [
        b"passed\0",
        b"passed\x001\x002\0",
        b"passed\x001",
        b"passed\x001\0" * 2,
        b"failed\x001\0KeyError\0",
        b"PASSED\x001\0",
        b"\0" * 1000,
        b"\xff\xfe",
        failed("ImportError", "cut")[:-3],
    ],
)
def test_result_that_is_not_ours_counts_as_none(result: bytes) -> None:
    """A result that was cut, doubled, or written by something else is no result."""
    verdict, trace, peak = import_verdict(ended(result), LIMITS, ["demo"])
    assert (verdict.reason, trace, peak) == (Reason.SILENT_EXIT, "", 0)


@pytest.mark.parametrize(
    ("told", "size"),
    [("4096", 4096), ("", 0), ("-1", 0), ("1e9", 0), ("²", 0), ("9" * 18, int("9" * 18)), ("9" * 19, 0)],
)
def test_peak_memory_is_a_number_that_a_database_takes(told: str, size: int) -> None:
    """The peak memory that a child tells counts only when it is a number of sensible size."""
    assert import_verdict(ended(f"passed\0{told}\0".encode()), LIMITS, ["demo"])[2] == size


def test_traceback_comes_back_harmless() -> None:
    """Message and traceback cannot move the terminal's cursor."""
    result = failed("Imp\x1bort", "a\x1b[2J", "one\n\x1b]0;two\x07")
    verdict, trace, _ = import_verdict(ended(result), LIMITS, ["demo"])
    assert verdict.detail == "Imp\N{REPLACEMENT CHARACTER}ort: a\N{REPLACEMENT CHARACTER}[2J"
    assert trace == "one\n\N{REPLACEMENT CHARACTER}]0;two\N{REPLACEMENT CHARACTER}"


def test_nothing_to_import_passes_with_a_word() -> None:
    """An import check without modules passes, and says that there were none."""
    assert import_verdict(ended(PASSED), LIMITS, [])[0].detail == "it installs no public module"


@pytest.mark.parametrize("number", signal.valid_signals())
def test_signal_reason(number: int) -> None:
    """Every signal has a reason; those of signal(7) that end a program for a fault of its own bear their name."""
    reason = signal_reason(number)
    names = {one.name for one in signal.Signals if one == number}
    assert reason is Reason.OTHER_SIGNAL or reason.value in names


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE])
def test_crash_bears_its_name(number: signal.Signals) -> None:
    """The signals of crashes are told apart."""
    assert signal_reason(number).value == number.name
