"""Who provisions what next: quick work flows, builds take turns, the smallest first."""

from __future__ import annotations

import threading

from pytest_spip.model import Combo
from pytest_spip.provision.lanes import BIG, BuildNeeded, Lanes
from tests.support.machine import eventually
from tests.support.rooms import combo


def lanes(*combos: Combo) -> Lanes:
    """Return lanes with combinations that wait for their first look."""
    return Lanes(iter(combos), len(combos))


def staging(made: Lanes, *sizes: tuple[str, int]) -> None:
    """Have what comes next in the quick lane need builds, by key and size."""
    for key, size in sizes:
        work = made.next_quick()
        assert isinstance(work, Combo)
        made.defer(work, BuildNeeded(key, size))


def test_smallest_first() -> None:
    """Builds begin in the order of their sdists' sizes, what came first where these are equal; one of no known size is big."""
    made = lanes(*map(combo, range(5)))
    staging(made, ("a", 0), ("b", 300), ("c", 20), ("d", 20), ("e", BIG - 1))
    turns = [made.next_build(small=False) for _ in range(5)]
    assert [turn[0] for turn in turns if turn] == ["c", "d", "b", "e", "a"]


def test_one_build_for_all() -> None:
    """Of those that need one build the first has it made; all others come back to the quick lane when it is done."""
    made = lanes(*map(combo, range(4)))
    staging(made, ("a", 1), ("a", 1), ("b", 1), ("a", 1))
    assert made.next_build(small=False) == ("a", combo(0))
    assert made.next_build(small=False) == ("b", combo(2))
    assert made.waiting == 2
    made.built("a")
    assert [made.next_quick() for _ in range(2)] == [combo(1), combo(3)]
    assert made.waiting == 0


def test_small_builds_alone() -> None:
    """Who takes small builds alone leaves big ones lie, and ends when all is done."""
    made = lanes(combo(0), combo(1))
    staging(made, ("a", BIG))
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.extend([made.next_build(small=True), made.next_build(small=True)]))
    thread.start()
    staging(made, ("b", 1))
    assert eventually(lambda: made.waiting == 1)
    assert made.next_build(small=False) == ("a", combo(0))
    made.done(2)
    thread.join(30)
    assert found == [("b", combo(1)), None]


def test_end() -> None:
    """When all is done with, both lanes end; so they do when they are stopped."""
    made = lanes(combo(0))
    assert made.next_quick() == combo(0)
    made.done(1)
    assert (made.next_quick(), made.next_build(small=False), made.next_build(small=True)) == (None, None, None)
    other = lanes(combo(0))
    other.stop()
    assert (other.next_quick(), other.next_build(small=False)) == (None, None)


def test_stopped_while_something_is_finished() -> None:
    """What is still being finished when all is stopped keeps nobody waiting."""
    made = lanes(*map(combo, range(2)))
    assert made.next_quick() == combo(0)
    made.stop()
    made.done(1)
    assert (made.next_quick(), made.next_build(small=True)) == (None, None)
