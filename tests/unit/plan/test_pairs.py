"""Few rows that hold every pair: what a cross is sampled by."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_spip.plan.pairs import count_pairs, pairwise
from tests.support.supply import steady

Row = tuple[int, ...]
Value = tuple[int, int]
"""Axis, and place on it."""


def met(rows: Sequence[Row]) -> set[tuple[Value, Value]]:
    """Return the pairs of values that rows hold."""
    return {pair for row in rows for pair in itertools.combinations(enumerate(row), 2)}


def everything(sizes: Sequence[int]) -> list[Row]:
    """Return all rows that there are."""
    return list(itertools.product(*map(range, sizes)))


sizes = st.lists(st.integers(1, 5), min_size=2, max_size=5)


@steady
@given(sizes, st.data())
def test_every_pair_meets(sizes: list[int], data: st.DataObject) -> None:
    """All values of different axes meet; those that can be tried together do in a row that can be tried as a whole."""
    values = [(axis, place) for axis, size in enumerate(sizes[:-1]) for place in range(size)]
    refused = data.draw(st.sets(st.tuples(st.sampled_from(values), st.integers(0, sizes[-1] - 1))))

    def fits(row: Row) -> bool:
        return not any((value, row[-1]) in refused for value in enumerate(row[:-1]))

    rows = pairwise(sizes, lambda axis, place, python: ((axis, place), python) not in refused)
    assert met(rows) == met(everything(sizes))
    assert met(list(filter(fits, rows))) == met(list(filter(fits, everything(sizes))))
    assert rows == sorted(set(rows))
    assert len(rows) <= min(math.prod(sizes), count_pairs(sizes))


@steady
@given(sizes)
def test_rows_are_the_same_everywhere(sizes: list[int]) -> None:
    """Equal input gives equal rows: every worker and every later session sees one plan."""
    assert pairwise(sizes, lambda *_: True) == pairwise(sizes, lambda *_: True)


@pytest.mark.parametrize(
    ("sizes", "most"),
    [
        ((3, 4), 12),
        ((10, 10, 6), 105),
        ((12, 10, 5), 122),
        ((5, 5, 5, 5), 34),
        ((40, 30, 6), 1204),
        ((1, 1, 1), 1),
    ],
)
def test_rows_are_few(sizes: tuple[int, ...], most: int) -> None:
    """There are hardly more rows than the two longest axes have pairs, fewer than which there cannot be."""
    assert len(pairwise(sizes, lambda *_: True)) <= most


def test_axis_without_values() -> None:
    """Where one axis has nothing there is nothing to meet."""
    assert pairwise((3, 0, 2), lambda *_: True) == []


def test_pairs_are_counted() -> None:
    """Pairs are those of values of different axes."""
    assert count_pairs((3, 4, 2)) == 12 + 6 + 8 == len(met(everything((3, 4, 2))))
