"""The state of a run at one instant, as a line of text and as plain data: ``--spip-stats``."""

from __future__ import annotations

import dataclasses
from typing import Any

from pytest_spip.common.machine import Snapshot
from pytest_spip.report.progress import Progress

__all__ = ["StatsLine", "stats_line"]


@dataclasses.dataclass(frozen=True, slots=True)
class StatsLine:
    """What ``docs/reference/progress.md`` says of each key. ``at`` is ISO 8601 in UTC; seconds, bytes, shares from 0 to 1.

    ``recent_per_second`` is the rate since the line before; ``eta`` is None before anything is done.
    """

    at: str
    seconds: float
    planned: int
    done: int
    failed: int
    errors: int
    per_second: float
    recent_per_second: float
    eta: float | None
    busy: int
    idle: int
    cpu: float
    iowait: float
    memory_used: int
    memory_available: int

    @property
    def text(self) -> str:
        """The facts in one line.

        ``120/329 done, 64.2/s, 70.1/s of late, ETA 3 s, 7 busy, 1 idle, CPU 97%, iowait 0.3%, memory 3.1 GiB used, 12.4 GiB
        available, 4 failed, 0 errors``.
        """
        return ", ".join(
            [
                f"{self.done}/{self.planned} done",
                f"{self.per_second:.1f}/s",
                f"{self.recent_per_second:.1f}/s of late",
                "ETA unknown" if self.eta is None else f"ETA {self.eta:.0f} s",
                f"{self.busy} busy",
                f"{self.idle} idle",
                f"CPU {self.cpu:.0%}",
                f"iowait {self.iowait:.1%}",
                f"memory {_gib(self.memory_used)} GiB used, {_gib(self.memory_available)} GiB available",
                f"{self.failed} failed",
                f"{self.errors} errors",
            ]
        )

    def to_plain(self) -> dict[str, Any]:
        """Return the same facts for JSON, by field; seconds, rates and shares rounded to what means something."""
        return {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in dataclasses.asdict(self).items()
        }


def stats_line(
    progress: Progress,
    now: float,
    before: tuple[float, int],
    *,
    at: str,
    workers: tuple[int, int],
    machine: Snapshot,
) -> StatsLine:
    """Return the line for an instant, ``now`` on ``progress``'s clock.

    ``before`` is when the line before was made, on the same clock, and how many combinations were done then. ``workers`` are
    how many are busy and idle.
    """
    then, done = before
    busy, idle = workers
    return StatsLine(
        at=at,
        seconds=progress.seconds(now),
        planned=progress.planned,
        done=progress.done,
        failed=progress.bad - progress.errors,
        errors=progress.errors,
        per_second=progress.rate(now),
        recent_per_second=max(progress.done - done, 0) / max(now - then, 1e-6),
        eta=progress.eta(now),
        busy=busy,
        idle=idle,
        cpu=machine.cpu,
        iowait=machine.iowait,
        memory_used=machine.memory_used,
        memory_available=machine.memory_available,
    )


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f}"
