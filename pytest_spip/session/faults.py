"""What a fault of ours, or of the machine, means for a combination."""

from __future__ import annotations

import errno

from pytest_spip.errors import SandboxProblem
from pytest_spip.model import Outcome, Phase, Reason, Verdict
from pytest_spip.run.text import harmless

__all__ = ["fault_verdict"]


def fault_verdict(phase: Phase, error: Exception) -> Verdict:
    """Return the verdict for a fault of ours: a full disk is worth telling apart, also as the cause of another error."""
    number = getattr(error if isinstance(error, OSError) else error.__cause__, "errno", None)
    reason = Reason.SANDBOX if isinstance(error, SandboxProblem) else Reason.INTERNAL
    reason = Reason.NO_SPACE if number in (errno.ENOSPC, errno.EDQUOT) else reason
    return Verdict(Outcome.ERROR, phase, reason, harmless(f"{type(error).__name__}: {error}"))
