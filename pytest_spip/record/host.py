"""What the kernel says of this machine: processors, memory, pressure, and the room that environments take."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil

from pytest_spip.model import HostSample

__all__ = ["Host", "cpu_times", "pressure"]

PRESSURES = Path("/proc/pressure")


class Host:
    """Samples the machine. One process does so for all: its figures are everybody's."""

    def __init__(self, room: Path) -> None:
        self._room = room
        self._last = cpu_times()

    def sample(self) -> HostSample:
        """Return what there is to say, shares of processors' time since the last call. Raises ``OSError``."""
        times = cpu_times()
        busy, iowait, total = (now - then for now, then in zip(times, self._last, strict=True))
        self._last = times
        share = 1 / total if total > 0 else 0.0
        room = os.statvfs(self._room)
        return HostSample(
            at=time.time(),
            cpu=busy * share,
            iowait=max(iowait * share, 0.0),  # the kernel's I/O-wait may run backwards, see proc(5)
            available=psutil.virtual_memory().available,
            room_used=(room.f_blocks - room.f_bfree) * room.f_frsize,
            cpu_pressure=pressure("cpu"),
            io_pressure=pressure("io"),
            memory_pressure=pressure("memory"),
        )


def pressure(resource: str, directory: Path = PRESSURES) -> float | None:
    """Return the share of the last ten seconds in which some process waited for a resource; None where nobody knows.

    The format is that of the kernel's Documentation/accounting/psi.rst.
    """
    try:
        some, *_ = (directory / resource).read_text("ascii").splitlines()
        kind, average, *_ = some.split()
        return float(average.removeprefix("avg10=")) / 100 if kind == "some" else None
    except (OSError, ValueError):  # some kernels have the file and refuse to be read
        return None


def cpu_times() -> tuple[float, float, float]:
    """Return the machine's busy, I/O-wait and total CPU seconds since boot, all processors together."""
    times = psutil.cpu_times()
    iowait = getattr(times, "iowait", 0.0)
    # guest time is in user time already
    total = sum(
        getattr(times, name, 0.0) for name in ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
    )
    return total - times.idle - iowait, iowait, total
