"""Which processors workers keep to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_spip.common.machine import Cpu
from pytest_spip.dispatch.pinning import Pins, pin_plan
from tests.support.supply import steady

Sets = list[set[int]]


def topology(nodes: int, cores: int, threads: int) -> list[Cpu]:
    """Return a machine numbered as Linux does: first threads of all cores, node by node, then their second threads."""
    every = nodes * cores
    return [Cpu(core + thread * every, core, core // cores) for thread in range(threads) for core in range(every)]


LAPTOP = topology(1, 4, 2)  # cores are {0, 4}, {1, 5}, {2, 6}, {3, 7}
SERVER = topology(2, 2, 2)  # cores are {0, 4}, {1, 5} on node 0, {2, 6}, {3, 7} on node 1


@pytest.mark.parametrize(
    ("cpus", "workers", "plan"),
    [
        (LAPTOP, 0, []),
        (LAPTOP, 1, [set(range(8))]),
        (LAPTOP, 2, [{0, 2, 4, 6}, {1, 3, 5, 7}]),
        (LAPTOP, 3, [{0, 3, 4, 7}, {1, 5}, {2, 6}]),
        (LAPTOP, 4, [{0, 4}, {1, 5}, {2, 6}, {3, 7}]),
        (LAPTOP, 5, [{0}, {1, 5}, {2, 6}, {3, 7}, {4}]),
        (LAPTOP, 8, [{0}, {1}, {2}, {3}, {4}, {5}, {6}, {7}]),
        (LAPTOP, 10, [{0}, {1}, {2}, {3}, {4}, {5}, {6}, {7}, {0}, {1}]),
        (SERVER, 1, [{0, 1, 4, 5}]),
        (SERVER, 2, [{0, 1, 4, 5}, {2, 3, 6, 7}]),
        (SERVER, 3, [{0, 4}, {2, 3, 6, 7}, {1, 5}]),
        (SERVER, 4, [{0, 4}, {2, 6}, {1, 5}, {3, 7}]),
        (SERVER, 6, [{0}, {2}, {1, 5}, {3, 7}, {4}, {6}]),
        (SERVER, 9, [{0}, {2}, {1}, {3}, {4}, {6}, {5}, {7}, {0}]),
        (SERVER[:3], 3, [{0}, {2}, {1}]),
        ([Cpu(0, 0, 0), Cpu(1, 0, 0), Cpu(2, 2, 0), Cpu(3, 2, 0)], 2, [{0, 1}, {2, 3}]),
        ([Cpu(5, 5, 3)], 3, [{5}, {5}, {5}]),
        ([], 2, [set(), set()]),
    ],
)
def test_plan(cpus: list[Cpu], workers: int, plan: Sets) -> None:
    """Cores come first, then their threads, then places are shared; workers alternate between nodes and stay in one."""
    assert list(pin_plan(workers, cpus)) == plan


@steady
@given(st.integers(1, 40), st.integers(1, 3), st.integers(1, 5), st.integers(1, 3), st.randoms())
def test_plans(workers: int, nodes: int, cores: int, threads: int, chance: object) -> None:
    """On any machine each worker has processors of one node; none is shared before all are taken; shares are even."""
    every = topology(nodes, cores, threads)
    cpus = chance.sample(every, chance.randint(1, len(every)))  # type: ignore[attr-defined]
    plan = pin_plan(workers, cpus)
    node = {cpu.number: cpu.node for cpu in cpus}
    assert len(plan) == workers
    assert all(len({node[number] for number in numbers}) == 1 for numbers in plan)
    holders = [sum(cpu.number in numbers for numbers in plan) for cpu in cpus]
    assert max(holders) == -(-workers // len(cpus)) or workers < len(cpus)
    assert max(holders) <= 1 or min(holders) >= workers // len(cpus)


@steady
@given(st.integers(1, 40), st.integers(1, 3), st.integers(1, 5), st.integers(1, 3))
def test_cores_before_threads(workers: int, nodes: int, cores: int, threads: int) -> None:
    """Two workers share a core only when there are more workers than cores."""
    cpus = topology(nodes, cores, threads)
    core = {cpu.number: cpu.core for cpu in cpus}
    users = [{core[number] for number in numbers} for numbers in pin_plan(workers, cpus)]
    assert workers > nodes * cores or sum(map(len, users)) == len(set().union(*users))


def test_a_successor_takes_the_free_place() -> None:
    """A worker that comes for one that died gets its processors; more workers than places share them from the first on."""
    pins = Pins([frozenset({0}), frozenset({1}), frozenset({2})])
    assert [pins.take(name) for name in ("gw0", "gw1", "gw2")] == [{0}, {1}, {2}]
    pins.give_back("gw1")
    pins.give_back("gw1")
    pins.give_back("sandbox_uid")
    assert [pins.take(name) for name in ("gw3", "gw4", "gw5")] == [{1}, {0}, {1}]
