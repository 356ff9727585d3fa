"""What other users of the machine see of this process's command line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

__all__ = ["hide_arguments"]

PROCESS = Path("/proc/self")
ARG_START, ARG_END = 45, 46
"""Places, behind the program's name, of the addresses between which the kernel finds the command line (proc(5), stat)."""


def hide_arguments(secrets: Iterable[str]) -> None:
    """Put asterisks over secrets in the command line that ``ps`` shows, where the system lets us.

    The program that started this one may have the same words in its own.
    """
    with contextlib.suppress(OSError, ValueError):
        fields = (PROCESS / "stat").read_text("ascii", "replace").rpartition(")")[2].split()
        start, end = int(fields[ARG_START]), int(fields[ARG_END])
        with (PROCESS / "mem").open("r+b", buffering=0) as memory:
            memory.seek(start)
            line = memory.read(end - start)
            for secret in secrets:
                hidden = line.replace(word := secret.encode(), b"*" * len(word))
                if hidden != line:
                    memory.seek(start)
                    memory.write(line := hidden)
