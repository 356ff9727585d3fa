"""The line that says how far a run is."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator

from pytest_spip.model import Builds

__all__ = ["Progress"]


@dataclasses.dataclass(slots=True)
class Progress:
    """Counts while a run goes on. The line is a pure function of the counts and the time that has passed.

    ``bad`` are all that a person has to look at, ``errors`` those among them that say nothing about a package. ``builds``
    returns what is being built just then.
    """

    planned: int = 0
    provisioned: int = 0
    done: int = 0
    bad: int = 0
    built: int = 0
    errors: int = 0
    began: float = dataclasses.field(default_factory=time.monotonic)
    builds: Callable[[], Builds] = Builds

    def line(self, now: float) -> str:
        """Return ``120/329 done (4 failed), 200 provisioned, 31 built, 64.2/s, ETA 3 s``."""
        parts = [f"{self.done}/{self.planned} done" + (f" ({self.bad} failed)" if self.bad else "")]
        if self.provisioned < self.planned:
            parts.append(f"{self.provisioned} provisioned")
        if self.built:
            parts.append(f"{self.built} built")
        parts += _building(self.builds(), now)
        eta = self.eta(now)
        if eta is not None:
            parts += [f"{self.rate(now):.1f}/s", f"ETA {eta:.0f} s"]
        return ", ".join(parts)

    def rate(self, now: float) -> float:
        """Return combinations a second since the beginning."""
        return self.done / self.seconds(now)

    def eta(self, now: float) -> float | None:
        """Return the seconds still to go, or None before anything is done.

        Whatever is slower, provisioning or running, decides when it ends.
        """
        slowest = min(self.done, self.provisioned) or self.done
        return self.seconds(now) * (self.planned - slowest) / slowest if slowest else None

    def seconds(self, now: float) -> float:
        """Return the seconds since the beginning, never quite 0."""
        return max(now - self.began, 1e-6)


def _building(builds: Builds, now: float) -> Iterator[str]:
    """Yield ``building numpy 2.0.2 py313 for 247 s and 1 more`` and ``12 wait for a build``."""
    if builds.running:
        (what, since), *others = builds.running
        more = f" and {len(others)} more" if others else ""
        yield f"building {what} for {max(now - since, 0):.0f} s{more}"
    if builds.left:
        yield f"{builds.left} {'waits' if builds.left == 1 else 'wait'} for a build"
