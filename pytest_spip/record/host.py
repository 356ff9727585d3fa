"""Samples of this machine for telemetry: processors, memory, pressure, and the room that environments take."""

from __future__ import annotations

import os
import time
from pathlib import Path

from pytest_spip.common.machine import Machine, Pressure
from pytest_spip.model import HostSample

__all__ = ["Host"]


class Host:
    """Samples the machine. One process does so for all: its figures are everybody's."""

    def __init__(self, room: Path) -> None:
        self._room = room
        self._machine = Machine()

    def sample(self) -> HostSample:
        """Return what there is to say, shares of our processors' time since the last call. Raises ``OSError``."""
        seen, room = self._machine.look(), os.statvfs(self._room)
        return HostSample(
            at=time.time(),
            cpu=seen.cpu,
            iowait=seen.iowait,
            available=seen.memory_available,
            room_used=(room.f_blocks - room.f_bfree) * room.f_frsize,
            cpu_pressure=_some(seen.cpu_pressure),
            io_pressure=_some(seen.io_pressure),
            memory_pressure=_some(seen.memory_pressure),
        )


def _some(pressure: Pressure) -> float | None:
    return pressure.some if pressure.counted else None
