"""Ready units: in which queue they stand, what they cost, and whose they are."""

from __future__ import annotations

import pytest

from pytest_spip.dispatch.backlog import Backlog, Queue
from pytest_spip.dispatch.messages import Unit


@pytest.fixture
def backlog() -> Backlog:
    """Return a backlog of two groups, one of which is tied, with all units ready."""
    backlog = Backlog(
        {
            0: Unit("a", 1.0),
            1: Unit("a", 5.0),
            2: Unit("a", 3.0),
            3: Unit("b", 2.0, tied=True),
            4: Unit("b", 4.0, tied=True),
        }
    )
    for unit in range(5):
        backlog.add(unit)
    return backlog


def test_queue_is_of_anybody_by_default() -> None:
    """A queue is not tied, and nobody's, unless it is said."""
    queue = Queue("a")
    assert (queue.tied, queue.owner, queue.cost, queue.active_workers, len(queue)) == (False, "", 0.0, 0, 0)


def test_longest_comes_first(backlog: Backlog) -> None:
    """Units are taken by their cost; what is left costs what it costs."""
    free, tied = backlog.open
    assert (free.group, tied.group, len(backlog), backlog.cost) == ("a", "b", 5, 15.0)
    assert backlog.longest(free) == 5.0
    assert [backlog.take(free) for _ in range(3)] == [1, 2, 0]
    assert (len(backlog), backlog.cost, free.cost) == (2, 6.0, 0.0)
    assert backlog.open == [tied]


def test_unit_is_discarded(backlog: Backlog) -> None:
    """A unit that is discarded is gone, with its cost, whether it is the longest or not."""
    free = backlog.queue(2)
    assert free.group == "a"
    backlog.discard(2)
    assert (free.cost, len(free), len(backlog), backlog.cost) == (6.0, 2, 4, 12.0)
    backlog.discard(1)
    assert (free.cost, backlog.longest(free)) == (1.0, 1.0)
    assert backlog.take(free) == 0
    backlog.add(2)
    assert (backlog.take(free), free.cost, len(free)) == (2, 0.0, 0)


def test_owned_units_are_counted(backlog: Backlog) -> None:
    """Units of a tied group are their owner's alone, until it has none any more."""
    tied = backlog.queue(3)
    assert (tied.tied, backlog.owned) == (True, 0)
    tied.owner = "gw0"
    assert backlog.owned == 2
    backlog.disown("gw1")
    assert backlog.owned == 2
    backlog.disown("gw0")
    assert (backlog.owned, tied.owner) == (0, "")
