"""What is measured while a run goes on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["CONTROLLER", "HostSample", "Span", "seconds_by_phase"]

CONTROLLER = "controller"
"""Stands for a worker's name in the telemetry of the process that plans and provisions."""


class Span(NamedTuple):
    """A stretch of a process's time: what it was spent on, when it began, and how many seconds it took.

    ``at`` is in seconds since the epoch, so that processes and hosts can be laid beside one another; ``seconds`` are measured
    by a clock that nobody sets. ``ordinal`` is None where no combination was at hand. A tuple, for there are half a million.
    """

    phase: str
    at: float
    seconds: float
    ordinal: int | None = None
    worker: str = ""

    @property
    def end(self) -> float:
        """When it was over."""
        return self.at + self.seconds


def seconds_by_phase(spans: Iterable[Span]) -> dict[str, float]:
    """Return the seconds of each phase, in the order in which they first occur."""
    seconds: dict[str, float] = {}
    for span in spans:
        seconds[span.phase] = seconds.get(span.phase, 0.0) + span.seconds
    return seconds


@dataclasses.dataclass(frozen=True, slots=True)
class HostSample:
    """A machine at one instant, ``at`` seconds since the epoch.

    ``cpu`` and ``iowait`` are shares of the time of the processors that we may use, since the sample before. ``available`` is
    memory, ``room_used`` what is used of the file system that environments live on, in bytes. Pressures are the shares of the
    last ten seconds in which some process waited for processors, disks or memory; None where the kernel does not count them.
    """

    at: float
    cpu: float
    iowait: float
    available: int
    room_used: int
    cpu_pressure: float | None = None
    io_pressure: float | None = None
    memory_pressure: float | None = None
