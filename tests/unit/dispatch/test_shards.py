"""Parts of a plan: each unit in one of them, balanced, and the same wherever the same is known."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from pytest_spip.dispatch.shards import Part, part_of
from tests.support.supply import steady

costs = st.lists(st.floats(0, 100, allow_nan=False), max_size=60)


def parts(values: list[float]) -> list[Part]:
    """Return units of these costs, six of each group."""
    return [Part(f"demo[{place}]", f"group {place // 6}", cost) for place, cost in enumerate(values)]


@steady
@given(costs, st.integers(1, 9))
def test_each_unit_is_in_one_part(values: list[float], count: int) -> None:
    """All parts together are the plan, and none has what another has."""
    found = [part_of(parts(values), number, count) for number in range(1, count + 1)]
    assert sorted(place for part in found for place in part) == list(range(len(values)))


def test_parts_cost_the_same() -> None:
    """Whatever the costs are, as long as no unit is a large part of all, parts differ from their mean by 5 percent at most."""
    chance = random.Random(7)
    for count in (2, 3, 5, 12):
        for _ in range(20):
            values = [chance.choice((0.01, 0.05, 0.2, chance.expovariate(1))) for _ in range(600)]
            units = parts(values)
            sums = [sum(values[place] for place in part_of(units, number, count)) for number in range(1, count + 1)]
            mean = sum(values) / count
            assert max(abs(each - mean) for each in sums) <= 0.05 * mean, (count, sums)


def test_few_large_units_are_dealt_out() -> None:
    """Units that are large parts of all go one to each."""
    assert {tuple(part_of(parts([9.0, 9.0, 9.0]), number, 3)) for number in (1, 2, 3)} == {(0,), (1,), (2,)}
    assert part_of([], 1, 2) == frozenset()


def test_order_does_not_matter() -> None:
    """The same units in another order are parted alike."""
    units = parts([0.1 * (place % 7 + 1) for place in range(100)])
    mixed = units[::-1]
    for number in (1, 2, 3):
        assert {units[place] for place in part_of(units, number, 3)} == {
            mixed[place] for place in part_of(mixed, number, 3)
        }


def test_a_few_more_units_move_few() -> None:
    """A release that is new leaves most of the others where they were."""
    units = parts([0.05] * 600)
    more = [*units, *(Part(f"new[{place}]", "new", 0.05) for place in range(6))]
    before = {units[place]: number for number in range(1, 6) for place in part_of(units, number, 5)}
    after = {more[place]: number for number in range(1, 6) for place in part_of(more, number, 5)}
    assert sum(before[unit] != after[unit] for unit in units) <= 24


def test_groups_stay_together() -> None:
    """What shares a release is in one part, but at the cuts."""
    units = parts([0.05] * 600)
    groups = [{units[place].group for place in part_of(units, number, 4)} for number in (1, 2, 3, 4)]
    assert sum(map(len, groups)) <= 100 + 3
