"""What the scheduler prefers: longest first, known interpreters, chunks that shrink, and stealing at the end."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import pairwise

import pytest

from pytest_spip.dispatch.messages import (
    Command,
    Event,
    Finished,
    Listed,
    Quarantine,
    Ready,
    Run,
    Steal,
    Stolen,
    Stop,
    Unit,
    WorkerJoined,
    WorkerLeft,
    WorkerLimit,
)
from pytest_spip.dispatch.scheduler import LARGEST_CHUNK, LARGEST_COST, WARM_UP, Scheduler

CHEAP = Unit("a", 1 / 128)  # a sum of such is exact


def begun(units: Mapping[int, Unit], workers: Sequence[str], *, keeps: int = 0) -> tuple[Scheduler, list[Command]]:
    """Return a scheduler that all workers have joined and that knows the units, and what it did at once."""
    scheduler = Scheduler(keeps=keeps)
    for worker in workers:
        assert scheduler.handle(WorkerJoined(worker)) == []
    return scheduler, scheduler.handle(Listed(units))


@dataclasses.dataclass
class Played:
    """What came of a session that was played to its end: who was given which chunks, and who ran what in order."""

    chunks: list[tuple[str, tuple[int, ...]]]
    ran: list[tuple[str, int]]


def play(units: Mapping[int, Unit], workers: Sequence[str]) -> Played:
    """Play a session in which all is ready, workers take turns, and give back whatever they are asked for."""
    chunks: list[tuple[str, tuple[int, ...]]] = []
    ran: list[tuple[str, int]] = []
    scheduler = Scheduler()
    events: list[Event] = [*map(WorkerJoined, workers), Listed(units)]
    while events:
        commands = scheduler.handle(events.pop(0))
        chunks += [(command.worker, command.units) for command in commands if isinstance(command, Run)]
        events = [Stolen(each.worker, each.units) for each in commands if isinstance(each, Steal)] + events
        if not events:
            held = [(worker, scheduler.pending(worker)) for worker in workers]
            ran += [(worker, units[0]) for worker, units in held if units]
            events += [Finished(worker, units[0]) for worker, units in held if units]
    assert scheduler.done
    return Played(chunks, ran)


def of(worker: str, played: Played) -> list[tuple[str, int]]:
    """Return what one worker ran, in order."""
    return [each for each in played.ran if each[0] == worker]


# -- chunks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
@pytest.mark.parametrize("units", [1, 2, 7, 100, 1000, 5000])
@pytest.mark.parametrize("cost", [0.001, 0.01, 1.0, 50.0])
def test_every_unit_runs_once(units: int, workers: int, cost: float) -> None:
    """Whatever units cost, each is run once, and no chunk is larger than a message should be."""
    played = play({unit: Unit("a", cost) for unit in range(units)}, [f"gw{number}" for number in range(workers)])
    assert sorted(unit for _, unit in played.ran) == list(range(units))
    assert max(len(chunk) for _, chunk in played.chunks) <= LARGEST_CHUNK


@pytest.mark.parametrize(
    ("cost", "count", "first"),
    [(0.01, 5000, LARGEST_CHUNK), (1.0, 5000, 30), (20.0, 5000, 1), (100.0, 5000, 1), (1.0, 40, 10), (1.0, 3, 1)],
)
def test_chunks_are_sized_by_cost(cost: float, count: int, first: int) -> None:
    """A chunk has at most 64 units, 30 seconds of work, and half of a fair share, but one unit at least."""
    _, commands = begun({unit: Unit("a", cost) for unit in range(count)}, ["gw0", "gw1"])
    assert next(len(command.units) for command in commands if isinstance(command, Run)) == first
    assert first == 1 or first * cost <= LARGEST_COST


def test_chunks_shrink() -> None:
    """Chunks shrink as the work does, down to one."""
    sizes = [len(chunk) for _, chunk in play({unit: Unit("a", 1.0) for unit in range(200)}, ["gw0", "gw1"]).chunks]
    assert sizes[0] == 30
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-2:] == [1, 1]


def test_workers_are_given_more_before_they_run_dry() -> None:
    """A worker is given more when what it holds takes less than a tenth of a second, and not sooner."""
    scheduler, commands = begun(dict.fromkeys(range(1000), CHEAP), ["gw0"])
    assert commands == [Run("gw0", tuple(range(64)))]
    answers = [scheduler.handle(Finished("gw0", unit)) for unit in range(52)]
    assert [place for place, answer in enumerate(answers) if answer] == [51]
    assert answers[51] == [Run("gw0", tuple(range(64, 116)))]


def test_a_long_unit_is_followed_by_another_while_there_is_plenty() -> None:
    """A worker knows its next unit before it ends this one, unless too little is left to be spread."""
    units = {unit: Unit("a", 10.0) for unit in range(9)}
    scheduler, commands = begun(units, ["gw0"])
    assert commands == [Run("gw0", (0, 1, 2))]
    assert scheduler.handle(Finished("gw0", 0)) == []
    assert scheduler.handle(Finished("gw0", 1)) == [Run("gw0", (3, 4))]


def test_cheap_units_are_split_evenly_at_the_end() -> None:
    """What is little is spread over all who are idle, and not given to the first."""
    _, commands = begun(dict.fromkeys(range(8), CHEAP), ["gw0", "gw1", "gw2", "gw3"])
    assert sorted(len(command.units) for command in commands if isinstance(command, Run)) == [2, 2, 2, 2]


# -- order --------------------------------------------------------------------------------------------------------------


def test_longest_first() -> None:
    """One worker runs a group's units from the longest to the shortest, equal ones in the plan's order."""
    costs = [1.0, 3.0, 2.0, 3.0, 1.0]
    played = play({unit: Unit("a", cost) for unit, cost in enumerate(costs)}, ["gw0"])
    assert [unit for _, unit in played.ran] == [1, 3, 2, 0, 4]


def test_what_decides_the_makespan_goes_out_first() -> None:
    """A unit longer than a worker's fair share goes out first, also to those who do not know its group."""
    units = {unit: Unit("a", 1.0) for unit in range(20)} | {20: Unit("b", 60.0)}
    scheduler, commands = begun(units, ["gw0", "gw1"])
    assert commands[0] == Run("gw1", (20,))
    assert scheduler.handle(Finished("gw1", 20))[0] == Run("gw1", (5, 6, 7))


def test_a_new_group_must_be_worth_it() -> None:
    """At the end a worker keeps to the group that it knows, unless another's unit is too long even for who must meet it."""
    for cost, first in [(1.1, 1), (1.3, 2)]:
        scheduler, commands = begun({0: Unit("a", 9.0), 1: Unit("a", 1.0), 2: Unit("b", cost)}, ["gw0"])
        assert commands == [Run("gw0", (0,))]
        assert scheduler.handle(Finished("gw0", 0)) == [Run("gw0", (first,))]


def test_workers_keep_to_a_group() -> None:
    """Workers spread over the interpreters and keep to theirs while it lasts, so that each meets as few as can be."""
    groups = ["py310", "py311", "py312", "py313"] * 200
    played = play({unit: Unit(group, 0.016) for unit, group in enumerate(groups)}, ["gw0", "gw1", "gw2", "gw3"])
    firsts = {worker: groups[chunk[0]] for worker, chunk in reversed(played.chunks)}
    assert len(set(firsts.values())) == 4
    met = {worker: [groups[unit] for name, unit in played.ran if name == worker] for worker in firsts}
    changes = [before != after for labels in met.values() for before, after in pairwise(labels)]
    assert sum(changes) <= 8


def test_groups_come_to_an_end_together() -> None:
    """A worker leaves its group for one that would need longer even with its help, while meeting it still pays."""
    units = {unit: Unit("a" if unit < 40 else "b", 1.0) for unit in range(120)}
    played = play(units, ["gw0", "gw1"])
    last = {
        group: max(place for place, (_, unit) in enumerate(played.ran) if units[unit].group == group) for group in "ab"
    }
    assert min(last.values()) > 75
    assert sum(units[first[1]].group != units[then[1]].group for first, then in pairwise(of("gw0", played))) <= 2


def test_little_is_left_to_those_who_know_it() -> None:
    """A worker that has met another group waits rather than meet one for less than that takes."""
    scheduler, brief = Scheduler(), Unit("a", 1 / 256)
    scheduler.handle(Listed(dict.fromkeys(range(48), brief) | {48: Unit("b", 9.0), 49: brief}, frozenset({48, 49})))
    (first,) = scheduler.handle(WorkerJoined("gw0"))
    assert isinstance(first, Run)
    left = range(len(first.units), 48)
    assert 0 < len(left) / 256 < WARM_UP
    scheduler.handle(Ready([48]))
    assert scheduler.handle(WorkerJoined("gw1")) == [Run("gw1", (48,))]
    assert [scheduler.handle(Finished("gw1", 48)), scheduler.ready] == [[], len(left)]
    (new,) = scheduler.handle(WorkerJoined("gw2"))
    assert isinstance(new, Run)
    assert new.units[0] == left[0], "who is new has nothing better"


def test_work_that_was_left_goes_to_anybody() -> None:
    """When all who were at a group are gone their work goes to whoever is idle, however little it is."""
    scheduler, commands = begun({0: Unit("b", 9.0), 1: Unit("a", 0.08), 2: Unit("a", 0.08)}, ["gw0", "gw1", "gw2"])
    assert commands == [Run("gw2", (0,)), Run("gw1", (1,)), Run("gw0", (2,))]
    assert scheduler.handle(Finished("gw2", 0)) == []
    assert [scheduler.handle(WorkerLeft("gw0")), scheduler.ready] == [[], 1]
    assert scheduler.handle(WorkerLeft("gw1"))[0] == Run("gw2", (1,))


def test_what_trickles_in_goes_to_those_who_know_it() -> None:
    """Of many idle workers one that has met the unit's group gets it."""
    units = {unit: Unit("ab"[unit % 2], 1.0) for unit in range(8)}
    scheduler = Scheduler()
    for worker in ("gw0", "gw1", "gw2"):
        scheduler.handle(WorkerJoined(worker))
    scheduler.handle(Listed(units, frozenset(units)))
    for unit, worker in [(0, "gw2"), (1, "gw1")]:
        assert scheduler.handle(Ready([unit])) == [Run(worker, (unit,))]
    assert [scheduler.handle(Finished("gw2", 0)), scheduler.handle(Finished("gw1", 1))] == [[], []]
    for unit in range(2, 8):
        assert scheduler.handle(Ready([unit])) == [Run(["gw2", "gw1"][unit % 2], (unit,))]
        scheduler.handle(Finished(["gw2", "gw1"][unit % 2], unit))


def test_work_begins_with_the_first_worker() -> None:
    """The first worker is given work before any other has come, and leaves some for them."""
    scheduler = Scheduler()
    assert scheduler.handle(Listed(dict.fromkeys(range(100), Unit("a", 1.0)))) == []
    assert scheduler.handle(WorkerJoined("gw0")) == [Run("gw0", tuple(range(30)))]
    assert scheduler.handle(WorkerJoined("gw1")) == [Run("gw1", tuple(range(30, 47)))]


# -- the tail -----------------------------------------------------------------------------------------------------------


def test_idle_workers_take_from_the_one_with_most_to_do() -> None:
    """When nothing is ready an idle worker gets about half of what another has before it, from the end of it."""
    scheduler, _ = begun({unit: Unit("a", 1.0) for unit in range(9)}, ["gw0"])
    assert scheduler.pending("gw0") == (0, 1, 2, 3)
    scheduler.handle(WorkerJoined("gw1"))
    scheduler.handle(WorkerJoined("gw2"))
    scheduler.handle(WorkerJoined("gw3"))
    assert scheduler.handle(WorkerJoined("gw4")) == [Run("gw4", (7,))]
    assert scheduler.handle(WorkerJoined("gw5")) == [Run("gw5", (8,))]
    assert scheduler.handle(WorkerJoined("gw6")) == [Steal("gw0", (2, 3))]
    assert scheduler.pending("gw0") == (0, 1, 2, 3), "its own until it gives them back"
    assert scheduler.handle(Stolen("gw0", [2, 3])) == [Run("gw6", (2,))]
    assert scheduler.pending("gw0") == (0, 1)


def test_who_gave_some_back_is_asked_again() -> None:
    """Who was passed over while it was being asked, and kept some of its units, is asked for them by the next idle worker."""
    scheduler, _ = begun({unit: Unit("a", 1.0) for unit in range(9)}, ["gw0"])
    for number in range(1, 6):
        scheduler.handle(WorkerJoined(f"gw{number}"))
    assert scheduler.handle(WorkerJoined("gw6")) == [Steal("gw0", (2, 3))]
    assert scheduler.handle(WorkerJoined("gw7")) == []
    assert scheduler.handle(Stolen("gw0", [3])) == [Run("gw7", (3,)), Steal("gw0", (2,))]


def test_what_runs_is_not_taken() -> None:
    """From a worker that holds one unit nothing is taken, and from one of xdist's not the one after it either."""
    scheduler, _ = begun({0: Unit("a", 50.0)}, ["gw0"])
    assert scheduler.handle(WorkerJoined("gw1")) == []
    scheduler, _ = begun({0: Unit("a", 50.0), 1: Unit("a", 50.0)}, ["gw0"], keeps=1)
    assert scheduler.pending("gw0") == (0, 1)
    assert scheduler.handle(WorkerJoined("gw1")) == [Stop("gw1")]


def test_who_refused_is_asked_again_when_it_has_gone_on() -> None:
    """A worker that gave nothing back is not asked again and again, but when it has finished something."""
    scheduler, _ = begun({unit: Unit("a", 1.0) for unit in range(60)}, ["gw0"])
    held = scheduler.pending("gw0")
    scheduler.handle(Ready([]))
    for unit in range(len(held), 60):
        scheduler.handle(Finished("gone", unit))
    assert scheduler.handle(WorkerJoined("gw1")) == [Steal("gw0", held[-15:])]
    assert [scheduler.handle(WorkerLimit(None)), scheduler.handle(Stolen("gw0", []))] == [[], []]
    assert scheduler.handle(Finished("gw0", held[0])) == [Steal("gw0", held[-14:])]


@pytest.mark.parametrize(("knows", "answer"), [("a", [Steal("gw0", (1,))]), ("b", [])])
def test_little_is_not_taken_for_those_who_must_meet_its_group(knows: str, answer: list[Command]) -> None:
    """Less work than it takes to meet a group stays where it is, unless somebody who knows the group is idle."""
    scheduler = Scheduler()
    scheduler.handle(Listed({0: CHEAP, 1: CHEAP, 2: Unit(knows, 9.0)}, frozenset({2})))
    assert scheduler.handle(WorkerJoined("gw0")) == [Run("gw0", (0, 1))]
    scheduler.handle(Ready([2]))
    scheduler.handle(WorkerJoined("gw1"))
    assert scheduler.pending("gw1") == (2,)
    assert scheduler.handle(Finished("gw1", 2)) == answer


def test_whoever_keeps_a_unit_is_stopped_to_run_it() -> None:
    """A worker of xdist's is stopped when nothing more can come; one of ours only when all is done."""
    units = {0: Unit("a", 1.0), 1: Unit("a", 1.0)}
    scheduler, commands = begun(units, ["gw0", "gw1"], keeps=1)
    assert commands == [Run("gw1", (0, 1)), Stop("gw0")]
    assert scheduler.handle(Finished("gw1", 0)) == [Stop("gw1")]
    assert [scheduler.handle(Finished("gw1", 1)), scheduler.done] == [[], True]
    scheduler, commands = begun(units, ["gw0", "gw1"])
    assert commands == [Run("gw1", (0,)), Run("gw0", (1,))]
    assert scheduler.handle(Finished("gw1", 0)) == []
    assert scheduler.handle(Finished("gw0", 1)) == [Stop("gw1"), Stop("gw0")]


def test_nothing_to_do_is_done() -> None:
    """A session without units is over as soon as that is known, and workers are stopped."""
    scheduler = Scheduler()
    assert scheduler.handle(WorkerJoined("gw0")) == []
    assert not scheduler.done
    assert scheduler.handle(Listed({})) == [Stop("gw0")]
    assert scheduler.handle(WorkerJoined("gw1")) == [Stop("gw1")]
    assert scheduler.done


# -- deaths -------------------------------------------------------------------------------------------------------------


def test_lost_work_is_run_first_by_others() -> None:
    """What a dead worker held goes to others, in its order and before the rest; what it ran goes alone, and first."""
    scheduler, _ = begun(dict.fromkeys(range(100), CHEAP), ["gw0"])
    assert scheduler.pending("gw0") == tuple(range(50))
    scheduler.handle(Finished("gw0", 0))
    assert scheduler.handle(WorkerLeft("gw0", crashed=True)) == []
    assert scheduler.pending("gw0") == ()
    assert scheduler.handle(WorkerJoined("gw1")) == [Run("gw1", (1,))]
    (rest,) = scheduler.handle(Finished("gw1", 1))
    assert rest == Run("gw1", tuple(range(2, 51)))


def test_a_worker_that_is_sent_away_blames_nobody() -> None:
    """When a worker leaves without a crash what it ran is as innocent as the rest."""
    scheduler, _ = begun(dict.fromkeys(range(4), CHEAP), ["gw0"])
    assert scheduler.pending("gw0") == (0, 1, 2, 3)
    scheduler.handle(WorkerLeft("gw0"))
    assert scheduler.handle(WorkerJoined("gw1")) == [Run("gw1", (0, 1, 2, 3))]


def test_a_unit_that_was_not_begun_is_innocent() -> None:
    """A worker of xdist's has not begun the last unit that it holds, and cannot have died over it."""
    scheduler = Scheduler(keeps=1)
    scheduler.handle(Listed(dict.fromkeys(range(2), CHEAP), frozenset({1})))
    assert scheduler.handle(WorkerJoined("gw0")) == [Run("gw0", (0,))]
    scheduler.handle(WorkerLeft("gw0", crashed=True))
    scheduler.handle(Ready([1]))
    assert scheduler.handle(WorkerJoined("gw1")) == [Run("gw1", (0, 1))]


def test_two_deaths_mean_quarantine() -> None:
    """A unit blamed for two deaths is given up and counts as done, until somebody wants it run again."""
    scheduler, _ = begun({0: CHEAP, 1: CHEAP}, ["gw0"])
    assert scheduler.handle(WorkerLeft("gw0", crashed=True)) == []
    assert scheduler.handle(WorkerJoined("gw1")) == [Run("gw1", (0,))]
    assert scheduler.handle(WorkerLeft("gw1", crashed=True)) == [Quarantine(0)]
    assert scheduler.handle(WorkerJoined("gw2")) == [Run("gw2", (1,))]
    assert [scheduler.done, scheduler.handle(Finished("gw2", 1)), scheduler.done] == [False, [Stop("gw2")], True]
    assert [scheduler.handle(Ready([0])), scheduler.done, scheduler.ready] == [[], False, 1]
    assert scheduler.handle(WorkerJoined("gw3")) == [Run("gw3", (0,))]
    assert scheduler.handle(WorkerLeft("gw3", crashed=True)) == [Quarantine(0)]


def test_a_late_verdict_ends_quarantine() -> None:
    """A verdict that comes after all counts: the unit is not run again, whatever it is blamed for."""
    scheduler, _ = begun({0: CHEAP}, ["gw0"])
    scheduler.handle(WorkerLeft("gw0", crashed=True))
    scheduler.handle(WorkerJoined("gw1"))
    scheduler.handle(WorkerLeft("gw1", crashed=True))
    scheduler.handle(Finished("gw0", 0))
    scheduler.handle(Ready([0]))
    assert [scheduler.done, scheduler.ready] == [True, 0]


# -- admission ----------------------------------------------------------------------------------------------------------


def test_no_more_workers_than_admitted_hold_work() -> None:
    """Of more workers than are admitted the first get work, and the others when more are admitted."""
    scheduler = Scheduler()
    scheduler.handle(WorkerLimit(1))
    scheduler.handle(Listed({unit: Unit("a", 40.0) for unit in range(6)}))
    assert scheduler.handle(WorkerJoined("gw0")) == [Run("gw0", (0,))]
    assert scheduler.handle(WorkerJoined("gw1")) == []
    assert [scheduler.busy, scheduler.ready] == [1, 5]
    assert scheduler.handle(WorkerLimit(2)) == [Run("gw1", (1,))]


def test_fewer_workers_are_admitted_as_they_run_dry() -> None:
    """When fewer are admitted nothing is taken away; those who finish first get nothing more."""
    scheduler, _ = begun({unit: Unit("a", 40.0) for unit in range(6)}, ["gw0", "gw1", "gw2"])
    assert scheduler.busy == 3
    assert scheduler.handle(WorkerLimit(1)) == []
    first, second, third = (scheduler.pending(f"gw{number}")[0] for number in range(3))
    assert scheduler.handle(Finished("gw0", first)) == []
    assert scheduler.handle(Finished("gw1", second)) == []
    assert scheduler.busy == 1
    assert scheduler.handle(Finished("gw2", third)) == [Run("gw2", (3,))]
    assert len(scheduler.handle(WorkerLimit(None))) == 2


# -- what is asked from outside -----------------------------------------------------------------------------------------


def test_waiting_is_what_nobody_was_given() -> None:
    """What waits is neither handed out, finished, nor given up, whether it is ready or not."""
    assert Scheduler().waiting == ()
    scheduler = Scheduler()
    scheduler.handle(Listed(dict.fromkeys(range(4), Unit("a", 1.0)), frozenset({1, 3})))
    assert list(scheduler.waiting) == [0, 1, 2, 3]
    scheduler.handle(WorkerJoined("gw0"))
    assert scheduler.pending("gw0") == (0,)
    assert list(scheduler.waiting) == [1, 2, 3]
    scheduler.handle(Finished("gw0", 0))
    scheduler.handle(Finished("gw1", 1))
    assert list(scheduler.waiting) == [3]


def test_worker_that_joins_again_holds_nothing() -> None:
    """What a worker held that joins under a known name is handed out again, and nobody is blamed for it."""
    scheduler, _ = begun(dict.fromkeys(range(2), CHEAP), ["gw0"])
    held = scheduler.pending("gw0")
    assert held
    assert scheduler.handle(WorkerJoined("gw0")) == [Run("gw0", held)]
    assert scheduler.pending("gw0") == held
    assert scheduler.busy == 1


# -- ends that are easily missed ---------------------------------------------------------------------------------------


def test_waiting_unit_that_was_finished_holds_nobody_up() -> None:
    """A worker that keeps a unit back is stopped when the last waiting unit was finished by somebody who had it before."""
    scheduler = Scheduler(keeps=1)
    scheduler.handle(Listed(dict.fromkeys(range(2), CHEAP), frozenset({1})))
    assert scheduler.handle(WorkerJoined("gw0")) == [Run("gw0", (0,))]
    assert scheduler.handle(Finished("gone", 1)) == [Stop("gw0")]


def test_worker_is_given_more_before_it_runs_dry() -> None:
    """With one unit to run and one that it keeps back it is low, whatever they cost; so is the only one that may work."""
    dear = {unit: Unit("a", 10.0) for unit in range(20)}
    scheduler, commands = begun(dear, ["gw0"], keeps=1)
    assert commands == [Run("gw0", (0, 1, 2))]
    assert any(isinstance(command, Run) for command in scheduler.handle(Finished("gw0", 0)))
    scheduler, commands = begun(dear, ["gw0"])
    assert scheduler.handle(WorkerLimit(1)) == []
    assert scheduler.handle(Finished("gw0", 0)) == []
    assert scheduler.handle(Finished("gw0", 1)) == [Run("gw0", (3, 4))]
    assert scheduler.pending("gw0") == (2, 3, 4)


def test_nothing_is_taken_for_who_may_not_work() -> None:
    """A worker beyond the limit gets nothing of another's; when the limit is lifted it does."""
    scheduler, _ = begun({unit: Unit("a", 1.0) for unit in range(9)}, ["gw0"])
    for number in range(1, 6):
        scheduler.handle(WorkerJoined(f"gw{number}"))
    assert (scheduler.busy, scheduler.ready) == (6, 0)
    assert scheduler.handle(WorkerLimit(6)) == []
    assert scheduler.handle(WorkerJoined("gw6")) == []
    assert scheduler.handle(WorkerLimit(7)) == [Steal("gw0", (2, 3))]
