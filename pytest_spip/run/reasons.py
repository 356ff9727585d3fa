"""How a child ended -> verdict. The one place that knows what an exit status, a signal and a result mean."""

from __future__ import annotations

import errno
import signal
from collections.abc import Sequence

from pytest_spip.model import Limits, Outcome, Phase, Reason, Verdict
from pytest_spip.run.process import Ended
from pytest_spip.run.text import harmless

__all__ = ["ended_badly", "exhausted", "import_verdict", "signal_reason"]

_NO_MEMORY = f"[Errno {errno.ENOMEM}]"
_NO_ROOM = tuple(f"[Errno {number}]" for number in (errno.EFBIG, errno.ENOSPC, errno.EDQUOT))
_NO_THREAD = "can't start new thread"
"""How the messages of such errors begin."""


def import_verdict(ended: Ended, limits: Limits, modules: Sequence[str]) -> tuple[Verdict, str, int]:
    """Return the verdict of an import check, the traceback if there is one, and the child's own peak RSS in bytes."""
    kind, peak_rss, *failure = _fields(ended.result)
    trace = failure[2] if len(failure) > 2 else ""
    size = int(peak_rss) if peak_rss.isdecimal() and len(peak_rss) < 19 else 0  # a package can write what it likes
    return _verdict(ended, kind, failure, limits, modules), trace, size


def _fields(result: bytes) -> list[str]:
    """Return the child's fields; a result that was cut short, or that something else wrote, counts as none."""
    fields = [harmless(field) for field in result.decode("utf-8", "replace").split("\0")[:-1]]
    kind = fields[0] if fields else ""
    if len(fields) not in {"passed": (2,), "warm": (4,), "failed": (5, 6)}.get(kind, ()):
        return ["", ""]
    return ["passed", fields[1]] if kind == "warm" else fields  # what it has to tell besides is for others


def _verdict(ended: Ended, kind: str, failure: Sequence[str], limits: Limits, modules: Sequence[str]) -> Verdict:
    if bad := ended_badly(ended, limits, Phase.IMPORT):
        return bad
    if kind == "failed":
        module = failure[3] if len(modules) > 1 and len(failure) > 3 else ""
        return _failed(module, failure[0], failure[1], limits)
    if kind == "passed" and ended.status == 0:
        return Verdict(Outcome.PASSED, Phase.IMPORT, None, "" if modules else "it installs no public module")
    if kind == "passed":
        detail = f"imported, then ended with exit status {ended.status}"
        return Verdict(Outcome.FAILED, Phase.IMPORT, Reason.IMPORT_ERROR, detail)
    return Verdict(
        Outcome.CRASHED, Phase.IMPORT, Reason.SILENT_EXIT, f"exit status {ended.status} in the middle of the import"
    )


def ended_badly(ended: Ended, limits: Limits, phase: Phase) -> Verdict | None:
    """Return the verdict on a child that was killed, by us or by a signal; None for one that ended by itself."""
    if ended.cut == "timeout":
        return Verdict(Outcome.KILLED, phase, Reason.TIMEOUT, f"no end after {limits.timeout:g} s")
    if ended.cut == "log-limit":
        detail = f"more than {limits.output >> 20} MiB of output"
        return Verdict(Outcome.KILLED, phase, Reason.LOG_LIMIT, detail)
    if ended.cut:
        return Verdict(Outcome.KILLED, phase, Reason(ended.cut), ended.evidence)
    if ended.status < 0:
        reason = signal_reason(-ended.status)
        return Verdict(Outcome.CRASHED, phase, reason, f"killed by signal {-ended.status} ({reason.value})")
    return None


def _failed(module: str, kind: str, message: str, limits: Limits) -> Verdict:
    """Return the verdict of a failed import; ``module`` is named where there are several."""
    first = message.strip().partition("\n")[0][:500]
    detail = (f"module {module}: " if module else "") + (f"{kind}: {first}" if first else kind)
    if limit := exhausted(kind, first, limits):
        reason, hint = limit
        return Verdict(Outcome.KILLED, Phase.IMPORT, reason, f"{detail} ({hint})")
    return Verdict(Outcome.FAILED, Phase.IMPORT, Reason.IMPORT_ERROR, detail)


def exhausted(kind: str, message: str, limits: Limits) -> tuple[Reason, str] | None:
    """Return which of the limits, and how much it is, an exception of a kind means; None for any other exception."""
    if kind.endswith("MemoryError") or (kind == "OSError" and message.startswith(_NO_MEMORY)):
        return Reason.OUT_OF_MEMORY, f"limit {limits.memory >> 20} MiB"
    if kind == "OSError" and message.startswith(_NO_ROOM):
        return Reason.ENVIRONMENT_FULL, f"limit {limits.room >> 20} MiB, {limits.file_size >> 20} MiB a file"
    if kind == "RuntimeError" and message.startswith(_NO_THREAD):
        return Reason.TOO_MANY_PROCESSES, f"limit {limits.processes}"
    return None


def signal_reason(number: int) -> Reason:
    """Return the reason that bears a signal's name."""
    try:
        return Reason(signal.Signals(number).name)
    except ValueError:
        return Reason.OTHER_SIGNAL
