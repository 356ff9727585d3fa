"""How many workers may be given work: admits by memory, backs off under pressure. Pure: (state, snapshot, load) -> (state, number).

The number rises by steps and falls by halves (additive increase, multiplicative decrease), so that it finds what the
machine bears and gives way quickly. What runs is never touched: a lower number only means that who finishes waits.

Memory admits at most as many as fit what is available, beside a reserve, at the peak that combinations show. Pressure
is what the kernel's stall information says of ten seconds, and the share of I/O wait since the look before. Each has
a band: growth needs all of them at or below ``calm``, one above ``strained`` halves, and in between nothing changes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from pytest_spip.common.machine import Snapshot
from pytest_spip.dispatch.peaks import DEFAULT_PEAK

__all__ = ["PATIENCE", "PROFILES", "REST", "Band", "Load", "Policy", "Profile", "State"]

LEAST_PEAK = 16 << 20
"""Bytes below which no combination is believed: its processes' pages are not all that it holds."""
PATIENCE = 3
"""Looks in a row that must agree before the number moves for calm or for strain; memory that is not there moves it at once."""
REST = 10
"""Looks after halving in which the number stays: the kernel's ten-second averages still tell of what was."""


@dataclasses.dataclass(frozen=True, slots=True)
class Band:
    """Shares (0 to 1) of time: the number may grow at or below ``calm``, and is halved above ``strained``."""

    calm: float
    strained: float


@dataclasses.dataclass(frozen=True, slots=True)
class Profile:
    """A preset. ``share`` of the cores, or of the ``threads``, is what ``-n auto`` starts; ``reserve`` is a share of memory."""

    share: float
    threads: bool
    reserve: float
    memory: Band
    io: Band
    iowait: Band
    cpu: Band


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "conservative": Profile(
            share=0.5,
            threads=False,
            reserve=0.30,
            memory=Band(0.01, 0.05),
            io=Band(0.10, 0.25),
            iowait=Band(0.05, 0.10),
            cpu=Band(0.50, 0.75),
        ),
        "balanced": Profile(
            share=1.0,
            threads=False,
            reserve=0.15,
            memory=Band(0.05, 0.10),
            io=Band(0.20, 0.40),
            iowait=Band(0.10, 0.20),
            cpu=Band(0.75, 0.90),
        ),
        "max": Profile(
            share=1.0,
            threads=True,
            reserve=0.05,
            memory=Band(0.10, 0.20),
            io=Band(0.40, 0.60),
            iowait=Band(0.20, 0.40),
            cpu=Band(0.90, 0.98),
        ),
    }
)


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """What the run does now: workers ``busy``, and the ``peak`` memory of a combination in bytes."""

    busy: int = 0
    peak: int = DEFAULT_PEAK


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """What a policy remembers: the number; the most memory that was ever available, in bytes; and the looks before.

    ``streak`` counts looks in a row that were calm, or below zero strained; ``rest`` those until the number moves again.
    """

    allowed: int
    most: int = 0
    streak: int = 0
    rest: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Policy:
    """Keeps the number of workers that may be given work within ``minimum`` and ``maximum``, both at least 1."""

    profile: Profile
    minimum: int
    maximum: int

    def begin(self, snapshot: Snapshot) -> State:
        """Return the state to begin with: a worker for each processor, if that many may work."""
        return State(self._within(snapshot.processors))

    def decide(self, state: State, snapshot: Snapshot, load: Load) -> tuple[State, int]:
        """Take a look into account and return how many workers may be given work."""
        most = max(state.most, snapshot.memory_available)
        fitting = self._fitting(most, snapshot, load)
        lowered = self._lowered(state.allowed, snapshot)
        streak = _streak(state.streak, calm=self._is_calm(state.allowed, snapshot), strained=lowered < state.allowed)
        moved = self._moved(state, streak, lowered, fitting)
        allowed = self._within(min(moved, int(fitting)))
        settled = 0 if allowed != state.allowed else streak
        rest = REST if moved < state.allowed else max(state.rest - 1, 0)
        return State(allowed, most, settled, rest), allowed

    def _moved(self, state: State, streak: int, lowered: int, fitting: float) -> int:
        """Return where calm or strain moves the number, once they lasted."""
        if state.rest:
            return state.allowed
        if streak <= -PATIENCE:
            return lowered
        if streak >= PATIENCE:
            # Not all that would fit: what is filled to the brim spills with the next look.
            brim = int(fitting - max(state.allowed / 8, 0.5))
            return max(state.allowed, min(state.allowed + max(self.maximum // 16, 1), brim))
        return state.allowed

    def _fitting(self, most: int, snapshot: Snapshot, load: Load) -> float:
        """Return how many combinations fit into memory.

        What the busy ones hold is theirs already: as much as has gone since most was available, but no more than their peaks.
        """
        peak = max(load.peak, LEAST_PEAK)
        ours = min(most, snapshot.memory_available + load.busy * peak)
        return max(ours - self.profile.reserve * snapshot.memory_total, 0) / peak

    def _lowered(self, allowed: int, snapshot: Snapshot) -> int:
        """Return the number to fall to; the same where nothing is strained.

        Processors that are short are no reason to have fewer workers than processors.
        """
        if any(value > band.strained for value, band in self._stalls(snapshot)):
            return self._within(allowed // 2)
        if snapshot.cpu_pressure.some > self.profile.cpu.strained:
            return self._within(max(allowed // 2, min(allowed, snapshot.processors)))
        return allowed

    def _is_calm(self, allowed: int, snapshot: Snapshot) -> bool:
        idle = allowed < snapshot.processors or snapshot.cpu_pressure.some <= self.profile.cpu.calm
        return idle and all(value <= band.calm for value, band in self._stalls(snapshot))

    def _stalls(self, snapshot: Snapshot) -> tuple[tuple[float, Band], ...]:
        return (
            (snapshot.memory_pressure.some, self.profile.memory),
            (snapshot.io_pressure.some, self.profile.io),
            (snapshot.iowait, self.profile.iowait),
        )

    def _within(self, number: int) -> int:
        return max(self.minimum, min(number, self.maximum))


def _streak(streak: int, *, calm: bool, strained: bool) -> int:
    if calm:
        return max(streak, 0) + 1
    return min(streak, 0) - 1 if strained else 0
