"""Where a sequence of releases changes from passing to failing, in few runs. Pure."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator
from itertools import pairwise

__all__ = ["Bisection", "Finding", "State"]


class State(enum.Enum):
    """What is known of a place."""

    GOOD = "good"
    BAD = "bad"
    SILENT = "silent"
    """It was tried and says neither: an error, or nothing that can be installed."""


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """A change between two places that are known: the last of one kind and the first of the other."""

    before: int
    after: int
    breaks: bool
    """True where releases fail from ``after`` on, False where they pass."""


class Bisection:
    """Finds the last change in a sequence, the oldest place first.

    The newest place is run, then halves: one change among n places takes 1 + ceil(log2 n) runs. One more run checks the longest
    stretch that was inferred. Where that contradicts, the history has several changes, nothing can be inferred, and every
    place is run.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._states: dict[int, State] = {}
        self._monotonic = True
        self._checked = False

    @property
    def runs(self) -> int:
        """How many places were run."""
        return len(self._states)

    @property
    def monotonic(self) -> bool:
        """Whether nothing that was run contradicts a single change."""
        return self._monotonic

    def wanted(self) -> int | None:
        """Return the place to run next; None when all that can be known is."""
        if not self._monotonic:
            return next((place for place in range(self._size) if place not in self._states), None)
        place = self._newest() if self._target is None else self._between()
        if place is None and not self._checked:
            self._checked = True
            place = self._longest_middle()
        return place

    def learn(self, place: int, state: State) -> None:
        """Take in what a run came to."""
        self._states[place] = state
        known = [one for _, one in self._known()]
        self._monotonic = self._monotonic and sum(one is not other for one, other in pairwise(known)) <= 1

    def inferred(self) -> Iterator[tuple[int, State]]:
        """Yield the places that were not run, and what they must be: what the nearest newer one that was run is.

        Where that is the first after a change it is the nearest older one that decides.
        """
        known = self._known()
        for place in range(self._size):
            if place not in self._states and known:
                newer = next((one for at, one in known if at > place), known[-1][1])
                yield place, newer

    def findings(self) -> list[Finding]:
        """Return the changes between neighbours that are known, the oldest first."""
        return [
            Finding(before, after, breaks=other is State.BAD)
            for (before, one), (after, other) in pairwise(self._known())
            if one is not other
        ]

    def _known(self) -> list[tuple[int, State]]:
        return [(place, self._states[place]) for place in sorted(self._states) if self._speaks(place)]

    def _speaks(self, place: int) -> bool:
        return self._states[place] is not State.SILENT

    @property
    def _target(self) -> State | None:
        """What the newest place that says anything is; None before it is known."""
        newest = self._newest()
        known = self._known()
        return known[-1][1] if newest is None and known else None

    def _newest(self) -> int | None:
        """Return the newest place, while all newer ones are silent."""
        for place in reversed(range(self._size)):
            if place not in self._states:
                return place
            if self._speaks(place):
                return None
        return None

    def _between(self) -> int | None:
        """Return the place that halves the stretch in which the last change lies."""
        target = self._target
        known = self._known()
        high = next(place for place, state in known if state is target)
        low = max((place for place, state in known if state is not target), default=-1)
        return self._middle(low, high)

    def _middle(self, low: int, high: int) -> int | None:
        """Return the place nearest to the middle between two that was not run."""
        free = [place for place in range(low + 1, high) if place not in self._states]
        return min(free, key=lambda place: (abs(2 * place - low - high), place), default=None)

    def _longest_middle(self) -> int | None:
        """Return the middle of the longest stretch that nothing was run of."""
        bounds = [-1, *sorted(self._states), self._size]
        low, high = max(pairwise(bounds), key=lambda pair: pair[1] - pair[0])
        return self._middle(low, high)
