"""Workers: who is active, idle, or stopped, and whom there is something to take from."""

from __future__ import annotations

import pytest

from pytest_spip.dispatch.backlog import Queue
from pytest_spip.dispatch.pool import Worker, WorkerPool


@pytest.fixture
def pool() -> WorkerPool:
    """Return a pool of three idle workers."""
    pool = WorkerPool(keeps=0)
    for name in ("gw0", "gw1", "gw2"):
        pool.join(name)
    return pool


def worker(pool: WorkerPool, name: str) -> Worker:
    """Return a worker that is there."""
    found = pool.get(name)
    assert found
    return found


def give(pool: WorkerPool, name: str, units: range, cost: float = 1.0) -> Worker:
    """Give a worker units."""
    one = worker(pool, name)
    one.held.extend(units)
    one.load += cost * len(units)
    pool.settle(one)
    pool.offer(one)
    return one


def test_counts(pool: WorkerPool) -> None:
    """Each worker is a hand until it is stopped or leaves, and active while it holds something."""
    assert (pool.hands, pool.active, pool.idle_count) == (3, 0, 3)
    busy = give(pool, "gw0", range(2))
    assert (pool.hands, pool.active, pool.idle_count) == (3, 1, 2)
    pool.stop(busy)
    assert (pool.hands, pool.active, busy.stopped) == (2, 1, True)
    assert pool.leave("gw0") is busy
    assert (pool.hands, pool.active) == (2, 0)
    pool.leave("gw1")
    assert (pool.hands, pool.idle_count, pool.leave("gw1")) == (1, 1, None)


def test_queue_counts_who_is_at_it(pool: WorkerPool) -> None:
    """Who is stopped or leaves is at no queue any more."""
    queue, other = Queue("a"), Queue("b")
    for name in ("gw0", "gw1"):
        pool.go_to(worker(pool, name), queue)
    assert queue.active_workers == 2
    pool.go_to(worker(pool, "gw1"), queue)
    assert queue.active_workers == 2
    pool.go_to(worker(pool, "gw1"), other)
    assert (queue.active_workers, other.active_workers) == (1, 1)
    pool.stop(worker(pool, "gw0"))
    pool.leave("gw1")
    assert (queue.active_workers, other.active_workers) == (0, 0)


def test_who_was_asked_and_leaves_answers_nothing(pool: WorkerPool) -> None:
    """Nobody waits for the answer of a worker that has left."""
    one = give(pool, "gw0", range(4))
    pool.ask(one)
    assert (pool.steals, pool.steal_victim()) == (1, None)
    pool.leave("gw0")
    assert pool.steals == 0
    again = give(pool, "gw1", range(4))
    pool.ask(again)
    pool.answered(again)
    pool.answered(again)
    assert (pool.steals, pool.steal_victim()) == (0, again)


def test_idle_worker_who_knows_the_group(pool: WorkerPool) -> None:
    """Who has met a group comes first, then who has met none; of several the one that was idle last."""
    for name, group in (("gw0", "a"), ("gw1", "b")):
        pool.go_to(worker(pool, name), Queue(group))
    assert pool.idle_worker(["b"]).name == "gw1"
    assert pool.idle_worker(["a", "b"]).name == "gw0"
    assert pool.idle_worker(["c"]).name == "gw2"
    assert (pool.awaits("a"), pool.awaits("c")) == (True, False)
    give(pool, "gw2", range(1))
    assert pool.idle_worker(["c"]).name == "gw1"
    give(pool, "gw0", range(1))
    assert (pool.awaits("a"), pool.is_idle("gw0"), pool.is_idle("gw1"), pool.is_idle("gone")) == (
        False,
        False,
        True,
        False,
    )


def test_victim_has_the_greatest_load(pool: WorkerPool) -> None:
    """Of those that hold more than they must have the one with the most is asked; loads that have fallen count as they are."""
    one, two = give(pool, "gw0", range(5), 2.0), give(pool, "gw1", range(6), 1.0)
    assert pool.steal_victim() is one
    one.load = 3.0
    assert pool.steal_victim() is two
    two.declined = True
    assert pool.steal_victim() is one
    one.held.clear()
    one.held.append(0)
    assert pool.steal_victim() is None


def test_one_unit_is_not_taken() -> None:
    """A worker that keeps a unit back is active, and spares anything, from one unit more on."""
    pool = WorkerPool(keeps=1)
    pool.join("gw0")
    one = give(pool, "gw0", range(1))
    assert (pool.active, pool.idle_count) == (0, 1)
    give(pool, "gw0", range(1, 2))
    assert (pool.active, pool.idle_count, pool.steal_victim()) == (1, 0, None)
    give(pool, "gw0", range(2, 3))
    assert pool.steal_victim() is one
    pool.stop(one)
    one.held.clear()
    one.held.append(2)
    pool.settle(one)
    assert pool.active == 1, "told to stop, it runs what it kept back"
