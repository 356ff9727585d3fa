"""How many workers may be given work: by memory and pressure, without flapping, never outside its bounds."""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_spip.common.machine import Machine, Pressure, Snapshot
from pytest_spip.dispatch.autoscale import (
    PATIENCE,
    PROFILES,
    REST,
    Load,
    Policy,
    State,
)
from pytest_spip.dispatch.concurrency import ConcurrencyController
from pytest_spip.dispatch.peaks import DEFAULT_PEAK, seen_peak
from pytest_spip.settings import make_settings
from tests.support.machine import eventually
from tests.support.supply import steady

MIB, GIB = 1 << 20, 1 << 30
IDLE = Snapshot(processors=16, memory_total=64 * GIB, memory_available=60 * GIB)
BALANCED = PROFILES["balanced"]
POLICY = Policy(BALANCED, minimum=1, maximum=32)


def having(**changes: object) -> Snapshot:
    """Return an idle machine with changes; a number for a pressure is what some tasks wait."""
    changes = {
        name: Pressure(some) if isinstance(some, float) and "pressure" in name else some
        for name, some in changes.items()
    }
    return dataclasses.replace(IDLE, **changes)  # type: ignore[arg-type]


def run(policy: Policy, state: State, *looks: Snapshot, load: Load | None = None) -> tuple[State, list[int]]:
    """Return the state after some looks, and the numbers that each allowed."""
    numbers = []
    for snapshot in looks:
        state, allowed = policy.decide(state, snapshot, load or Load(state.allowed))
        numbers.append(allowed)
    return state, numbers


@pytest.mark.parametrize(
    ("minimum", "maximum", "processors", "first"), [(1, 32, 16, 16), (1, 8, 16, 8), (4, 32, 2, 4), (1, 1, 16, 1)]
)
def test_beginning(minimum: int, maximum: int, processors: int, first: int) -> None:
    """It begins with a worker for each processor, within the bounds."""
    assert Policy(BALANCED, minimum, maximum).begin(having(processors=processors)).allowed == first


# -- moving -------------------------------------------------------------------------------------------------------------

STALLS = ({"memory_pressure": 0.11}, {"io_pressure": 0.41}, {"iowait": 0.21})
BETWEEN = ({"memory_pressure": 0.10}, {"io_pressure": 0.40}, {"iowait": 0.20}, {"io_pressure": 0.21})
CALM: tuple[dict[str, float], ...] = (
    {},
    {"memory_pressure": 0.05},
    {"io_pressure": 0.20},
    {"iowait": 0.10},
    {"cpu_pressure": 0.75},
)


@pytest.mark.parametrize("stall", STALLS)
def test_strain_halves(stall: dict[str, object]) -> None:
    """What strains the machine for three looks halves the number, which then rests until averages have followed."""
    _, numbers = run(POLICY, State(32), *[having(**stall)] * 80)
    halved = [32] * (PATIENCE - 1) + [16] * (REST + 1) + [8] * (REST + 1) + [4] * (REST + 1) + [2] * (REST + 1)
    assert numbers[: len(halved)] == halved
    assert numbers[-1] == 1


@pytest.mark.parametrize("stall", BETWEEN)
def test_between_calm_and_strain_nothing_moves(stall: dict[str, object]) -> None:
    """Within a band the number stays."""
    assert set(run(POLICY, State(16), *[having(**stall)] * 50)[1]) == {16}


@pytest.mark.parametrize("calm", CALM)
def test_calm_adds(calm: dict[str, float]) -> None:
    """After three calm looks the number rises by a sixteenth of the maximum, up to it."""
    _, numbers = run(POLICY, State(26), *[having(**calm)] * 15)
    assert numbers == [26, 26, 28, 28, 28, 30, 30, 30, 32, 32, 32, 32, 32, 32, 32]


def test_one_look_is_none() -> None:
    """Neither a moment of strain nor one of calm moves the number."""
    strained, calm, between = having(iowait=0.9), IDLE, having(iowait=0.15)
    assert set(run(POLICY, State(16), *[strained, strained, calm, calm, between] * 10)[1]) == {16}


@pytest.mark.parametrize(("allowed", "expected"), [(32, 16), (24, 16), (17, 16), (16, 16), (8, 10), (64, 32)], ids=str)
def test_short_processors(allowed: int, expected: int) -> None:
    """When only processors are short, the number falls to theirs at the lowest, and below it rises all the same."""
    policy = Policy(BALANCED, 1, 64) if allowed == 64 else POLICY
    assert run(policy, State(allowed), *[having(cpu_pressure=0.95)] * PATIENCE)[1][-1] == expected


# -- memory -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "available", "load", "expected"),
    [
        # of 16 GiB the reserve is 2.4; what is above it holds so many of 256 MiB, or of 1 GiB
        (State(32), 16 * GIB, Load(), 32),
        (State(32), 6 * GIB, Load(), 14),
        (State(32), 6 * GIB, Load(peak=GIB), 3),
        (State(32), 2 * GIB, Load(), 1),
        # what the busy ones hold is theirs
        (State(32, most=12 * GIB), 4 * GIB, Load(busy=8, peak=GIB), 9),
        (State(32, most=8 * GIB), 6 * GIB, Load(busy=8, peak=GIB), 5),
        (State(32, most=12 * GIB), 4 * GIB, Load(busy=2, peak=GIB), 3),
        # a peak that nobody believes
        (State(32), 3 * GIB, Load(peak=0), 32),
        (State(32), int(2.4 * GIB) + 65 * MIB, Load(peak=1), 4),
    ],
)
def test_memory_admits(state: State, available: int, load: Load, expected: int) -> None:
    """So many as fit at the peak of a combination beside the reserve may work, at once when they become fewer."""
    snapshot = having(memory_total=16 * GIB, memory_available=available)
    assert run(POLICY, state, snapshot, load=load)[1] == [expected]


def test_memory_does_not_flap() -> None:
    """With as much memory as the workers themselves leave, which varies a little, the number is found and kept."""
    state, numbers = POLICY.begin(IDLE), []
    for look in range(200):
        held = state.allowed * 700 * MIB + (look * 37 % 11) * 10 * MIB
        snapshot = having(memory_total=16 * GIB, memory_available=14 * GIB - held)
        state, allowed = POLICY.decide(state, snapshot, Load(state.allowed, GIB))
        numbers.append(allowed)
    assert set(numbers[20:]) == {numbers[-1]}
    assert 9 <= numbers[-1] <= 12


# -- always -------------------------------------------------------------------------------------------------------------

shares = st.floats(0, 1)
pressures = st.builds(Pressure, shares, shares)
snapshots = st.builds(
    Snapshot,
    processors=st.integers(1, 256),
    memory_total=st.just(64 * GIB),
    memory_available=st.integers(0, 64 * GIB),
    cpu_pressure=pressures,
    memory_pressure=pressures,
    io_pressure=pressures,
    cpu=shares,
    iowait=shares,
)
loads = st.builds(Load, st.integers(0, 256), st.integers(0, 8 * GIB))
profiles = st.sampled_from(sorted(PROFILES))


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Draw a policy with bounds in order."""
    minimum = draw(st.integers(1, 128))
    return Policy(PROFILES[draw(profiles)], minimum, draw(st.integers(minimum, 256)))


@steady
@given(policies(), st.lists(st.tuples(snapshots, loads), min_size=1, max_size=60))
def test_within_bounds(policy: Policy, looks: list[tuple[Snapshot, Load]]) -> None:
    """Whatever is seen, the number stays within minimum and maximum, and is what the state says."""
    state = policy.begin(looks[0][0])
    for snapshot, load in looks:
        state, allowed = policy.decide(state, snapshot, load)
        assert policy.minimum <= allowed <= policy.maximum
        assert allowed == state.allowed


@steady
@given(policies(), st.lists(st.tuples(snapshots, loads), max_size=8), snapshots, loads, st.integers(0, 64 * GIB))
def test_more_memory_never_allows_less(
    policy: Policy, before: list[tuple[Snapshot, Load]], snapshot: Snapshot, load: Load, other: int
) -> None:
    """From any state, with all else equal, more available memory allows as many workers or more."""
    state = policy.begin(snapshot)
    for seen, busy in before:
        state, _ = policy.decide(state, seen, busy)
    less, more = sorted([snapshot.memory_available, other])
    allowed = [
        policy.decide(state, dataclasses.replace(snapshot, memory_available=size), load)[1] for size in (less, more)
    ]
    assert allowed == sorted(allowed)


@steady
@given(policies(), snapshots, loads)
def test_a_machine_that_does_not_change(policy: Policy, snapshot: Snapshot, load: Load) -> None:
    """While nothing changes the number moves in one direction only, after a first look, and comes to rest."""
    state, _ = policy.decide(policy.begin(snapshot), snapshot, load)
    numbers = run(policy, state, *[snapshot] * 200, load=load)[1]
    assert numbers in (sorted(numbers), sorted(numbers, reverse=True))
    assert len(set(numbers[-20:])) == 1


@pytest.mark.parametrize("name", ["conservative", "balanced"])
def test_profiles_are_in_order(name: str) -> None:
    """Each profile holds back less than the one before: fewer reserves, higher limits, more workers."""
    order = list(PROFILES)
    one, next_one = PROFILES[name], PROFILES[order[order.index(name) + 1]]
    bands = [(getattr(one, field), getattr(next_one, field)) for field in ("memory", "io", "iowait", "cpu")]
    assert all(low.calm < high.calm and low.strained < high.strained for low, high in bands)
    assert (one.share, one.threads, -one.reserve) < (next_one.share, next_one.threads, -next_one.reserve)
    assert all(band.calm < band.strained for pair in bands for band in pair)


@pytest.mark.parametrize("name", PROFILES)
def test_option_knows_the_profiles(name: str, tmp_path: Path) -> None:
    """Every profile can be named on the command line."""
    assert make_settings({"profile": name}, tmp_path).profile == name


# -- peaks --------------------------------------------------------------------------------------------------------------


def test_peaks() -> None:
    """The highest peak of late counts: a higher one at once, lower ones as they go on; none is no news."""
    assert seen_peak(DEFAULT_PEAK, 0) == DEFAULT_PEAK
    assert seen_peak(DEFAULT_PEAK, GIB) == GIB
    peak = GIB
    for _ in range(64):
        peak = seen_peak(peak, 32 * MIB)
    assert 32 * MIB + (GIB - 32 * MIB) * math.exp(-1) == pytest.approx(peak, rel=0.02)


# -- the governor -------------------------------------------------------------------------------------------------------


class Scenes:
    """A machine that shows one snapshot after another, the last for ever; a scene that is an error is raised."""

    def __init__(self, *scenes: Snapshot | Exception) -> None:
        self._scenes = iter(scenes)
        self._scene: Snapshot | Exception = IDLE
        self.exhausted = threading.Event()

    def look(self) -> Snapshot:
        """Return what is to be seen."""
        try:
            self._scene = next(self._scenes)
        except StopIteration:
            self.exhausted.set()
        if isinstance(self._scene, Exception):
            raise self._scene
        return self._scene


@pytest.fixture
def admitted() -> Iterator[list[int]]:
    """Return a list for numbers, and see that no governor outlives its test."""
    yield []
    assert not [thread for thread in threading.enumerate() if thread.name == "concurrency"]


def test_governor_tells_changes(admitted: list[int]) -> None:
    """The first number is admitted before anything begins, and from then on each that differs."""
    scenes = Scenes(IDLE, IDLE, *[having(memory_available=size * GIB) for size in (60, 12, 12, 11, 11)])
    concurrency = ConcurrencyController(POLICY, scenes, admitted.append, period=0.001)
    concurrency.start()
    assert admitted[0] == 16
    assert scenes.exhausted.wait(10)
    concurrency.stop()
    concurrency.stop()
    assert admitted == [16, 9, 5]


def test_governor_survives(admitted: list[int]) -> None:
    """A look that fails, or an admission that does, changes nothing and ends nothing; the number is told again."""
    scenes = Scenes(IDLE, OSError("gone"), IDLE, IDLE)
    refusals = iter([RuntimeError("closing")])

    def set_limit(number: int) -> None:
        for refusal in refusals:
            raise refusal
        admitted.append(number)

    concurrency = ConcurrencyController(Policy(BALANCED, 1, 16), scenes, set_limit, period=0.001)
    concurrency.start()
    assert eventually(lambda: admitted == [16])
    concurrency.stop()


def test_governor_ends_promptly(admitted: list[int]) -> None:
    """It does not sit out its period when it is stopped, by the thread that started it or by its own, nor before it began."""
    concurrency = ConcurrencyController(POLICY, Machine(), admitted.append, period=3600)
    concurrency.stop()
    second = ConcurrencyController(POLICY, Machine(), admitted.append, period=3600)
    second.start()
    second.stop()
    assert len(admitted) == 1
    scenes = Scenes(IDLE, IDLE, having(memory_available=0))
    third = ConcurrencyController(POLICY, scenes, lambda number: third.stop() if number == 1 else None, period=0.001)
    third.start()
    assert eventually(lambda: not any(thread.name == "concurrency" for thread in threading.enumerate()))
