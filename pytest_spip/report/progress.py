"""The line that says how far a run is."""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from pytest_spip.model import Builds

__all__ = ["Progress", "view"]

BAR = 40
"""Columns of the bar at most."""
LOW = 12
"""Lines of a terminal below which one line has to do."""
NEWEST = 3
"""Failures that are shown while a run goes on."""


@dataclasses.dataclass(slots=True)
class Progress:
    """Counts while a run goes on. The line is a pure function of the counts and the time that has passed.

    ``bad`` are all that a person has to look at, ``errors`` those among them that say nothing about a package. ``builds``
    returns what is being built just then, ``others`` how many combinations other hosts have judged. ``newest`` are the last
    failures, a line each, the newest last.
    """

    planned: int = 0
    provisioned: int = 0
    done: int = 0
    bad: int = 0
    built: int = 0
    errors: int = 0
    began: float = dataclasses.field(default_factory=time.monotonic)
    builds: Callable[[], Builds] = Builds
    others: Callable[[], int] = int
    newest: deque[str] = dataclasses.field(default_factory=lambda: deque(maxlen=NEWEST))

    def line(self, now: float, *, builds: bool = True) -> str:
        """Return ``120/329 done (4 failed), 200 provisioned, 31 built, 64.2/s, ETA 3 s``, with what is being built if asked to."""
        parts = [f"{self.total}/{self.planned} done" + (f" ({self.bad} failed)" if self.bad else "")]
        if elsewhere := self.others():
            parts.append(f"{elsewhere} by other hosts")
        if self.provisioned + elsewhere < self.planned:
            parts.append(f"{self.provisioned} provisioned")
        if self.built:
            parts.append(f"{self.built} built")
        parts += self.building(now) if builds else ()
        eta = self.eta(now)
        if eta is not None:
            parts += [f"{self.rate(now):.1f}/s", f"ETA {eta:.0f} s"]
        return ", ".join(parts)

    @property
    def total(self) -> int:
        """What is done, here and by other hosts."""
        return min(self.done + self.others(), self.planned)

    def building(self, now: float) -> list[str]:
        """Return what is being built, and how much waits for that."""
        return list(_building(self.builds(), now))

    def rate(self, now: float) -> float:
        """Return combinations a second since the beginning."""
        return self.total / self.seconds(now)

    def eta(self, now: float) -> float | None:
        """Return the seconds still to go, or None before anything is done.

        Whatever is slower, provisioning or running, decides when it ends.
        """
        slowest = min(self.done, self.provisioned) + self.others() or self.done
        return self.seconds(now) * (self.planned - slowest) / slowest if slowest else None

    def seconds(self, now: float) -> float:
        """Return the seconds since the beginning, never quite 0."""
        return max(now - self.began, 1e-6)


def view(
    progress: Progress, now: float, running: Sequence[tuple[str, str, float]], width: int, height: int
) -> list[tuple[str, str]]:
    """Return what a terminal of so many columns and lines shows while a run goes on: lines with their style.

    That is the line of progress, a bar, what workers run, the longest first, and the newest failures. ``running`` are triples
    of worker, combination, and the instant since which it is known to run.
    """
    if height < LOW:
        return [(_cut(f"spip: {progress.line(now)}", width), "")]
    most = max(height // 3 - 2 - len(progress.newest), 1)
    longest = sorted(running, key=lambda one: one[2])
    lines = [(f"spip: {progress.line(now, builds=False)}", ""), (_bar(progress, width), "")]
    if building := progress.building(now):
        lines.append((f"  {', '.join(building)}", "dim"))
    names = max((len(worker) for worker, _, _ in longest[:most]), default=0)
    lines += [(f"  {worker:<{names}}  {what}{_for(now - since)}", "dim") for worker, what, since in longest[:most]]
    if len(longest) > most:
        lines.append((f"  … and {len(longest) - most} more", "dim"))
    lines += [(f"  {text}", "red") for text in reversed(tuple(progress.newest))]
    return [(_cut(text, width), style) for text, style in lines]


def _for(seconds: float) -> str:
    return f"  {seconds:.0f} s" if seconds >= 1 else ""


def _bar(progress: Progress, width: int) -> str:
    share = progress.total / progress.planned if progress.planned else 0.0
    columns = max(min(BAR, width - 14), 1)
    full = int(share * columns)
    return f"  [{'#' * full}{'.' * (columns - full)}] {share:4.0%}"


def _cut(text: str, width: int) -> str:
    """Return what fits a line of a terminal, and nothing that would move its cursor."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in text)
    return plain if len(plain) < width else f"{plain[: max(width - 2, 0)]}…"


def _building(builds: Builds, now: float) -> Iterator[str]:
    """Yield ``building numpy 2.0.2 py313 for 247 s and 1 more`` and ``12 wait for a build``."""
    if builds.running:
        (what, since), *others = builds.running
        more = f" and {len(others)} more" if others else ""
        yield f"building {what} for {max(now - since, 0):.0f} s{more}"
    if builds.left:
        yield f"{builds.left} {'waits' if builds.left == 1 else 'wait'} for a build"
