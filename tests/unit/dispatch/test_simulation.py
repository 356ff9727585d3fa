"""The simulated machine: what the scheduler makes of many workers, and where the controller sets an end to it."""

from __future__ import annotations

import pytest

pytest.importorskip("benchmarks", reason="benchmarks are not part of the sdist")

from benchmarks.simulation import Machine, drawn, equal, guessed, simulate


def test_one_worker_takes_the_sum() -> None:
    """A worker alone takes what all units take, what it takes to meet their groups, and a message or two."""
    told = simulate(Machine(1, latency=0.01, controller=0.001, meeting=0.5), equal(100, 0.25, groups=2))
    trip = 2 * 0.01 + 0.001
    assert 100 * 0.25 + 2 * 0.5 + trip <= told.makespan + 1e-9 < 100 * 0.25 + 2 * 0.5 + 5 * trip
    assert told.controlling == pytest.approx(0.1)
    assert told.met == pytest.approx(1.0)


@pytest.mark.parametrize("error", [0.0, 0.5])
def test_mixed_costs_come_near_the_ideal(error: float) -> None:
    """128 workers need hardly longer for mixed units than the longest of them, or a fair share, also by rough estimates."""
    units = drawn(10_000, 1.0, 1.0, groups=5)
    told = simulate(Machine(128), units, guessed(units, error))
    assert told.ideal / told.makespan > 0.97


def test_twice_the_workers_take_half_the_time() -> None:
    """While the controller keeps up a doubling loses less than 3 %, meeting groups included."""
    units = equal(50_000, 0.016, groups=5)
    fewer, more = (simulate(Machine(workers, controller=0.0001), units) for workers in (32, 64))
    assert more.rate > 2 * 0.97 * fewer.rate
    assert more.met / more.workers < 0.4, "workers keep to their groups"


def test_the_controller_is_the_ceiling() -> None:
    """However many workers there are, there are no more units per second than the controller can take verdicts."""
    told = simulate(Machine(64, controller=0.001, meeting=0.0), equal(10_000, 0.016, groups=5))
    assert 950 < told.rate <= 1000
    assert told.controller_busy > 0.95


def test_what_estimates_hide_is_stolen() -> None:
    """Units that take far longer than estimated do not keep waiting behind each other while workers are idle."""
    estimates = equal(40, 0.001, groups=1)
    units = estimates | equal(10, 2.0, groups=1)
    told = simulate(Machine(4), units, estimates)
    assert told.stolen > 0
    assert told.makespan < 7, "10 of them, each 2 seconds, on four workers"
