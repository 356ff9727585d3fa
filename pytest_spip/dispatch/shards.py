"""Which part of a plan one of several jobs runs: balanced by cost, and the same in every job that knows the same. Pure."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

__all__ = ["Part", "part_of"]

HEAVY = 1 / 40
"""Share of a job's work from which one unit is dealt out by itself: lighter ones even out what is left."""


class Part(NamedTuple):
    """A unit of work: ``key`` is its own, units of one ``group`` are better kept together, ``cost`` is in seconds."""

    key: str
    group: str
    cost: float


def part_of(units: Sequence[Part], number: int, count: int) -> frozenset[int]:
    """Return the places of the units that the job ``number`` of ``count`` runs, counted from 1; each unit is in one job's.

    Heavy units go to whoever has least so far. Light ones are laid out in an order that only their names decide, and cut into
    stretches that fill up what is left: a unit more or less moves few others.
    """
    total = sum(unit.cost for unit in units)
    mean = total / count
    loads = [0.0] * count
    chosen: set[int] = set()
    heavy = [place for place, unit in enumerate(units) if unit.cost > mean * HEAVY]
    for place in sorted(heavy, key=lambda place: (-units[place].cost, units[place].key)):
        job = min(range(count), key=loads.__getitem__)
        loads[job] += units[place].cost
        chosen |= {place} if job == number - 1 else set()
    light = sorted(set(range(len(units))).difference(heavy), key=lambda place: _order(units[place]))
    room = [max(mean - load, 0.0) for load in loads]
    chosen.update(_stretch(light, units, room, number - 1))
    return frozenset(chosen)


def _stretch(light: Sequence[int], units: Sequence[Part], room: Sequence[float], job: int) -> list[int]:
    """Return the light units whose middle lies in a job's part of the way."""
    left = sum(units[place].cost for place in light)
    scale = left / sum(room) if sum(room) else 0.0
    bounds = [bound * scale for bound in accumulate(room[:-1])]
    found, walked = [], 0.0
    for place in light:
        middle = walked + units[place].cost / 2
        walked += units[place].cost
        if bisect_right(bounds, middle) == job:
            found.append(place)
    return found


def _order(unit: Part) -> tuple[bytes, str, str]:
    return hashlib.sha256(unit.group.encode()).digest(), unit.group, unit.key
