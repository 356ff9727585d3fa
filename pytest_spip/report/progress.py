"""The line that says how far a run is."""

from __future__ import annotations

import dataclasses
import time

__all__ = ["Progress"]


@dataclasses.dataclass(slots=True)
class Progress:
    """Counts while a run goes on. ``line`` is a pure function of the counts and the time that has passed."""

    planned: int = 0
    provisioned: int = 0
    done: int = 0
    bad: int = 0
    built: int = 0
    began: float = dataclasses.field(default_factory=time.monotonic)

    def line(self, now: float) -> str:
        """Return ``120/329 done (4 failed), 200 provisioned, 31 built, 64.2/s, ETA 3 s``."""
        parts = [f"{self.done}/{self.planned} done" + (f" ({self.bad} failed)" if self.bad else "")]
        if self.provisioned < self.planned:
            parts.append(f"{self.provisioned} provisioned")
        if self.built:
            parts.append(f"{self.built} built")
        seconds = max(now - self.began, 1e-6)
        if self.done:
            parts += [f"{self.done / seconds:.1f}/s", f"ETA {self._eta(seconds):.0f} s"]
        return ", ".join(parts)

    def _eta(self, seconds: float) -> float:
        """Whatever is slower, provisioning or running, decides when it ends."""
        slowest = min(self.done, self.provisioned) or self.done
        return seconds * (self.planned - slowest) / slowest
