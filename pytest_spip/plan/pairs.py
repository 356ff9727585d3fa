"""Few rows that hold every pair of values: what a cross is sampled by. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

__all__ = ["count_pairs", "pairwise"]


def count_pairs(sizes: Iterable[int]) -> int:
    """Return how many pairs of values of two axes there are; each row of :func:`pairwise` holds one that no other has."""
    return sum(math.prod(pair) for pair in itertools.combinations(sizes, 2))


def pairwise(sizes: Sequence[int], fits: Callable[[int, int, int], bool]) -> list[tuple[int, ...]]:
    """Return few rows in which every two values of different axes meet; a row has the place of a value on each axis.

    ``sizes`` are how many values the axes have, of which the last one is that of the interpreters. ``fits(axis, value,
    interpreter)`` says what can be tried. Two values that can be tried together meet in a row that can be tried as a whole;
    those that cannot meet in others. Equal input gives equal rows, in ascending order.
    """
    if 0 in sizes:
        return []
    cover = _Cover(sizes)
    possible = {
        python: _open(*([one for one in axis if fits(*cover.place(one), place)] for axis in cover.axes[:-1]))
        for place, python in enumerate(cover.axes[-1])
    }
    anything = dict.fromkeys(cover.axes[-1], _open(*cover.axes[:-1]))
    return sorted([*cover.rows(possible), *cover.rows(anything)])


class _Open(NamedTuple):
    """What can be tried on an interpreter: values by axis, and all of them; none when an axis has none."""

    axes: tuple[frozenset[int], ...]
    values: frozenset[int]


def _open(*axes: Iterable[int]) -> _Open:
    values = tuple(map(frozenset, axes))
    return _Open(values, frozenset().union(*values) if all(values) else frozenset())


class _Cover:
    """Which values have met. Values are numbered through all axes, so that a sorted row has them in the axes' order."""

    def __init__(self, sizes: Sequence[int]) -> None:
        starts = [0, *itertools.accumulate(sizes)]
        self.axes = [range(start, end) for start, end in itertools.pairwise(starts)]
        everything = frozenset(range(starts[-1]))
        self._missing = [set(everything.difference(axis)) for axis in self.axes for _ in axis]
        self._used = [0] * starts[-1]

    def place(self, value: int) -> tuple[int, int]:
        """Return a value's axis, and its place on it."""
        number = next(number for number, axis in enumerate(self.axes) if value in axis)
        return number, value - self.axes[number].start

    def rows(self, allowed: Mapping[int, _Open]) -> Iterator[tuple[int, ...]]:
        """Yield rows until all have met that may."""
        for one, other in self._pairs():
            if other in self._missing[one] and (row := self._grown(one, other, allowed)):
                for first, second in itertools.permutations(row, 2):
                    self._missing[first].discard(second)
                for value in row:
                    self._used[value] += 1
                yield tuple(value - axis.start for value, axis in zip(sorted(row), self.axes, strict=True))

    def _pairs(self) -> Iterator[tuple[int, int]]:
        """Yield all pairs: those of the longest axes first, for they decide how many rows there are at least."""
        two = itertools.combinations(self.axes, 2)
        for one, other in sorted(two, key=lambda axes: -len(axes[0]) * len(axes[1])):
            yield from itertools.product(one, other)

    def _grown(self, one: int, other: int, allowed: Mapping[int, _Open]) -> list[int]:
        """Return a row with two values in it, to which each axis adds the value that meets most; none where none may."""
        on_python = other in self.axes[-1]
        row = [one] if on_python else [one, other]
        pythons = [
            python for python in ([other] if on_python else self.axes[-1]) if allowed[python].values.issuperset(row)
        ]
        if not pythons:
            return []
        python = self._best(pythons, row)
        row.append(python)
        for axis, values in zip(self.axes[:-1], allowed[python].axes, strict=True):
            if one not in axis and other not in axis:
                row.append(self._best(values, row))
        return row

    def _best(self, values: Iterable[int], row: Sequence[int]) -> int:
        """Return the value that meets most of a row for the first time; else the one that was used least, or the newest."""

        def merit(value: int) -> tuple[int, int, int]:
            return sum(value in self._missing[met] for met in row), -self._used[value], value

        return max(values, key=merit)
