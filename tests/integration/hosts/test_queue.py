"""The contract of the queue, on each engine: what is handed out to whom, and what counts."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, delete

from pytest_spip.errors import QueueUnreachable
from pytest_spip.hosts import schema
from pytest_spip.hosts.queue import ATTEMPTS, BATCH, Counts, Queue
from pytest_spip.hosts.schema import TaskState
from tests.support.queues import Hosts, answer, answers, losing_answers, plan


def test_nothing_is_published_at_first(hosts: Hosts) -> None:
    """Before somebody publishes a plan there is none, nothing is handed out, and nothing is done."""
    queue = hosts.queue()
    assert queue.look() is None
    assert queue.plan() == b""
    assert queue.claim(5) == []
    assert queue.counts() == Counts(0, 0, 0)


def test_plan_is_published_once(hosts: Hosts) -> None:
    """Of hosts that race one publishes; all see that plan, and each combination is there once."""
    queues = [hosts.queue(f"agent-{number}") for number in range(6)]
    together = threading.Barrier(len(queues))

    def publish(numbered: tuple[int, Queue]) -> tuple[str, bool, int]:
        number, queue = numbered
        together.wait(20)
        published = queue.publish(plan(50, f"plan-{number % 2}"))
        return published.hash, published.is_ours, published.size

    with ThreadPoolExecutor(len(queues)) as pool:
        found = list(pool.map(publish, enumerate(queues)))
    assert len({name for name, _, _ in found}) == 1
    assert sorted(is_ours for _, is_ours, _ in found) == [False] * 5 + [True]
    assert {size for _, _, size in found} == {50}
    assert hosts.states() == dict.fromkeys(range(50), TaskState.READY)
    assert queues[0].plan() == found[0][0].encode()


def test_other_plan_is_returned_as_it_stands(hosts: Hosts) -> None:
    """Whoever comes late with another plan is shown the one that counts."""
    first, second = hosts.pair(3)
    published = second.publish(plan(7, "another"))
    assert (published.hash, published.size, published.facts, published.is_ours) == ("plan", 3, {"name": "plan"}, False)
    assert second.look() == first.look() == published
    assert first.counts().size == second.counts().size == 3


def test_runs_do_not_meet(hosts: Hosts) -> None:
    """Runs of one database know nothing of each other."""
    first, other = hosts.queue(), hosts.queue("other", run="other")
    first.publish(plan(3))
    other.publish(plan(2, "another"))
    assert sorted(other.claim(9)) == [0, 1]
    assert other.complete(answers([0, 1])) == {0, 1}
    assert first.counts() == Counts(3, 0, 0)
    assert sorted(first.claim(9)) == [0, 1, 2]
    hosts.expire(other)
    assert first.reap() == 0


def test_claims_are_disjoint_and_in_order(hosts: Hosts) -> None:
    """Combinations are handed out in the order of the plan, each to one agent."""
    first, second = hosts.pair(10)
    assert first.claim(4) == [9, 8, 7, 6]
    assert second.claim(4) == [5, 4, 3, 2]
    assert first.claim(4) == [1, 0]
    assert second.claim(4) == []
    assert first.claim(0) == []


def test_agents_race_for_all(hosts: Hosts) -> None:
    """Agents that claim and complete at the same time share everything, each its part, and record each result once."""
    queues = [hosts.queue(f"agent-{number}") for number in range(4)]
    queues[0].publish(plan(400))
    together = threading.Barrier(len(queues))

    def work(queue: Queue) -> list[int]:
        mine: list[int] = []
        together.wait(20)
        while claimed := queue.claim(8):
            assert claimed == sorted(claimed, reverse=True)
            assert queue.complete(answers(claimed)) == set(claimed)
            mine += claimed
        return mine

    with ThreadPoolExecutor(len(queues)) as pool:
        parts = list(pool.map(work, queues))
    assert sorted(ordinal for part in parts for ordinal in part) == list(range(400))
    assert queues[0].counts() == Counts(400, 400, 0)
    by_agent = {
        name: [one for one, agent, _ in queues[0].results() if agent == name] for _, name, _ in queues[0].results()
    }
    assert by_agent == {queue.agent.id: sorted(part) for queue, part in zip(queues, parts, strict=True) if part}


def test_claim_passes_over_what_another_is_taking(hosts: Hosts) -> None:
    """A claim does not wait for another one that is under way; it takes the next combinations."""
    first, second = hosts.pair(4)
    if not first.database.is_postgresql:
        pytest.skip("SQLite has one writer at a time")
    first.claim(1)
    with first.database._engine.connect() as connection, connection.begin():
        assert first._take(connection, 2) == [2, 1]
        assert second.claim(9) == [0]


def test_lost_answer_of_a_claim(hosts: Hosts) -> None:
    """What was claimed by a transaction whose answer was lost is given to the agent by the next one, first."""
    first, second = hosts.pair(10)
    first.database.patience = 0
    assert first.claim(2) == [9, 8]
    with losing_answers(first.database, 1):
        assert first.claim(2, held=[9, 8]) == [7, 6]  # tried again at once
    with losing_answers(first.database, 2), pytest.raises(QueueUnreachable):
        first.claim(2, held=[9, 8, 7, 6])
    assert second.claim(2) == [3, 2]
    assert first.claim(3, held=[9, 8, 7, 6]) == [5, 4, 1]
    assert first.claim(3, held=[9, 8, 7, 6, 5, 4, 1]) == [0]


def test_lost_answer_of_the_first_claim(hosts: Hosts) -> None:
    """The lease that was opened by a transaction whose answer was lost is found again."""
    first, second = hosts.pair(4)
    first.database.patience = 0
    with losing_answers(first.database, 2), pytest.raises(QueueUnreachable):
        first.claim(3)
    assert second.claim(9) == [0]
    assert first.heartbeat({}) is True
    assert first.claim(3) == [3, 2, 1]


def test_results_are_recorded_once(hosts: Hosts) -> None:
    """A result counts once, however often it is handed in; what is not held does not count."""
    first, second = hosts.pair(5)
    first.claim(3)
    assert first.complete([answer(4), answer(3, failing=True), answer(0)]) == {4, 3}
    assert first.complete(answers([4, 3])) == {4, 3}, "it is safe to repeat"
    assert second.complete(answers([4, 2])) == set(), "they are not this agent's"
    assert first.complete([]) == set()
    assert first.counts() == second.counts() == Counts(5, 2, 1)
    assert first.results() == [(3, "first", '{"ordinal": 3}'), (4, "first", '{"ordinal": 4}')]


def test_lost_answer_of_a_completion(hosts: Hosts) -> None:
    """A result counts whose transaction's answer was lost, also when the lease was lost before it was asked again."""
    first, second = hosts.pair(3)
    first.database.patience = 0
    first.claim(2)
    with losing_answers(first.database, 1):
        assert first.complete(answers([2])) == {2}
    with losing_answers(first.database, 2), pytest.raises(QueueUnreachable):
        first.complete(answers([1]))
    hosts.lose(first, second)
    assert first.complete(answers([1])) == {1}
    assert first.heartbeat({}) is False
    assert first.complete(answers([1])) == {1}, "under another lease as well"
    assert first.counts() == Counts(3, 2, 0)


def test_completion_reads_its_own_tasks_alone(hosts: Hosts) -> None:
    """What others hold is not read for a completion, though the database has seen no task run yet when it plans that."""
    first, _ = hosts.pair(2000)
    if not first.database.is_postgresql:
        pytest.skip("SQLite has no plans by statistics here")
    first.claim(1000)

    def explained(connection: Connection) -> str:
        statement = delete(schema.task).where(first._mine(connection, range(50))).compile(connection)
        found = connection.exec_driver_sql(f"EXPLAIN {statement}", dict(statement.params))
        return "".join(found.scalars())

    plan_of_it = first.database.run(explained)
    assert "spip_task_pkey" in plan_of_it
    assert "spip_task_running" not in plan_of_it


def test_late_results_are_refused(hosts: Hosts) -> None:
    """Once a lease is lost its results are not recorded, whether somebody else holds the combinations or nobody."""
    first, second = hosts.pair(2)
    first.claim(2)
    hosts.lose(first, second)
    assert second.claim(1) == [1]
    assert first.complete(answers([1, 0])) == set()
    assert second.complete(answers([1])) == {1}
    assert first.complete(answers([1])) == set(), "another agent's counts"
    assert [agent for _, agent, _ in first.results()] == ["second"]


def test_lease_ends_by_the_clock_of_the_database(hosts: Hosts) -> None:
    """A lease that has expired is closed by whoever reaps, and what it held is ready; one that lives is left alone."""
    first, second = hosts.pair(3)
    first.claim(2)
    assert second.reap() == 0
    hosts.expire(first)
    assert second.claim(5) == [0]
    assert second.reap() == 2
    assert second.reap() == 0
    assert second.claim(5, held=[0]) == [2, 1]


def test_expired_lease_is_kept_unless_it_is_closed(hosts: Hosts) -> None:
    """An agent that comes late goes on with its lease if nobody has closed it."""
    first, second = hosts.pair(3)
    first.claim(2)
    lease = first.lease
    hosts.expire(first)
    assert first.complete(answers([2])) == {2}
    assert first.heartbeat({}) is True
    assert second.reap() == 0
    hosts.expire(first)
    assert first.claim(5, held=[1]) == [0]
    assert (second.reap(), first.lease) == (0, lease)


def test_lost_lease_is_told_once(hosts: Hosts) -> None:
    """A heartbeat tells that the lease was lost; after that the agent may go on with another."""
    first, second = hosts.pair(3)
    assert first.heartbeat({"workers": 2}) is True, "it holds nothing yet"
    first.claim(2)
    assert first.heartbeat({}) is True
    hosts.lose(first, second)
    assert [first.heartbeat({}), first.heartbeat({})] == [False, True]
    assert hosts.rows("SELECT until > 1, state FROM spip_agent WHERE id = 'first'") == [(True, "{}")]


def test_lost_lease_is_told_although_an_answer_was_lost(hosts: Hosts) -> None:
    """That a lease was lost is told also when the heartbeat that finds it out must be repeated."""
    first, second = hosts.pair(3)
    first.claim(2)
    hosts.lose(first, second)
    with losing_answers(first.database, 1):
        assert first.heartbeat({}) is False


def test_reclaim(hosts: Hosts) -> None:
    """After a lease was lost the agent may have again what nobody else has taken, and keeps what it has."""
    first, second = hosts.pair(5)
    held = first.claim(4)
    hosts.lose(first, second)
    assert second.claim(1) == [4]
    assert first.heartbeat({}) is False
    assert sorted(first.reclaim([*held, 77])) == [1, 2, 3]
    assert sorted(first.reclaim(held)) == [1, 2, 3]
    assert first.heartbeat({}) is True
    assert first.complete(answers(held)) == {1, 2, 3}
    assert second.complete(answers([4])) == {4}


def test_reclaim_of_a_part_does_not_hide_the_loss(hosts: Hosts) -> None:
    """Where a reclaim finds that the lease was lost, the next heartbeat still tells of it, once."""
    first, second = hosts.pair(5)
    first.claim(4)
    hosts.lose(first, second)
    assert first.complete(answers([4])) == set()
    assert first.reclaim([4]) == [4]
    assert [first.heartbeat({}), first.heartbeat({})] == [False, True]
    assert sorted(first.reclaim([4, 3, 2, 1])) == [1, 2, 3, 4]


def test_claim_keeps_what_was_held_under_a_lost_lease(hosts: Hosts) -> None:
    """A claim that finds the lease lost takes back what is held and still free, and does not hand that out as new."""
    first, second = hosts.pair(6)
    held = first.claim(3)
    hosts.lose(first, second)
    assert first.claim(1, held=held) == [2]
    assert first.heartbeat({}) is True, "nothing was lost"
    hosts.lose(first, second)
    assert second.reclaim([5]) == [5]
    assert first.claim(2, held=[*held, 2]) == [1, 0]
    assert [first.heartbeat({}), first.heartbeat({})] == [False, True]
    assert first.complete(answers(range(6))) == {4, 3, 2, 1, 0}


def test_give_back(hosts: Hosts) -> None:
    """What an agent gives back others may have; of what it does not hold nothing changes."""
    first, second = hosts.pair(5)
    first.claim(3)
    first.give_back([4, 2, 1, 0])
    assert second.claim(9) == [4, 2, 1, 0]
    first.give_back([4])
    assert second.complete(answers([4])) == {4}
    assert first.complete(answers([3, 2])) == {3}
    assert hosts.rows("SELECT max(attempt) FROM spip_task") == [(0,)]
    hosts.lose(second, first)
    second.give_back([2])
    assert sorted(first.claim(9)) == [0, 1, 2]


def test_much_is_given_back(hosts: Hosts) -> None:
    """More can be given back, and reclaimed, than one transaction takes."""
    first, second = hosts.pair(2 * BATCH + 1)
    held = first.claim(2 * BATCH + 1)
    assert len(held) == 2 * BATCH + 1
    hosts.lose(first, second)
    assert sorted(first.reclaim(held)) == sorted(held)
    first.give_back(held)
    assert set(hosts.states().values()) == {TaskState.READY}


def test_leave(hosts: Hosts) -> None:
    """Whoever leaves gives everything back, without blame, and is gone; it may come again."""
    first, second = hosts.pair(4)
    first.claim(3)
    first.complete(answers([3]))
    first.leave({"cpu": 0.5})
    assert hosts.rows("SELECT has_left, digest FROM spip_agent WHERE id = 'first'") == [(True, '{"cpu": 0.5}')]
    assert second.claim(9) == [2, 1, 0]
    assert hosts.rows("SELECT max(attempt) FROM spip_task") == [(0,)]
    assert first.complete(answers([2])) == set()
    first.leave({})
    first.enter()
    assert hosts.rows("SELECT has_left FROM spip_agent WHERE id = 'first'") == [(False,)]
    second.give_back([0])
    assert first.claim(9) == [0]


def test_combination_over_which_hosts_are_lost(hosts: Hosts) -> None:
    """After so many lost hosts a combination is handed out no more; whoever gives it up takes it, and records why."""
    first, second = hosts.pair(2)
    for number in range(ATTEMPTS):
        victim = hosts.queue(f"victim-{number}")
        assert 1 in victim.claim(2)
        victim.give_back([0])
        assert first.lost() == []
        hosts.lose(victim, first)
    assert first.lost() == [1]
    assert second.claim(9) == [0]
    assert first.reclaim(first.lost()) == [1]
    assert second.reclaim([1]) == []
    assert first.complete([answer(1, failing=True, outcome="crashed", reason="worker-lost")]) == {1}
    assert second.complete(answers([0])) == {0}
    assert first.counts() == Counts(2, 2, 1)
    assert first.counts().is_done


def test_a_last_chance_is_given_alone(hosts: Hosts) -> None:
    """What was held beside a combination that ends its hosts is not given up with it."""
    first, second = hosts.pair(6)
    for number in range(ATTEMPTS - 1):
        victim = hosts.queue(f"victim-{number}")
        assert victim.claim(4) == [5, 4, 3, 2]
        hosts.lose(victim, first)
    assert second.claim(9) == [1, 0, 5]
    assert first.claim(9) == [4]
    hosts.lose(first, second)
    assert second.lost() == [4]
    assert second.complete(answers([5, 1, 0])) == {5, 1, 0}
    assert [second.claim(9), second.claim(9), second.claim(9)] == [[3], [2], []]


def test_results_come_by_pages(hosts: Hosts) -> None:
    """Results are read in the order of their combinations, a page at a time."""
    first, second = hosts.pair(7)
    for queue in (first, second):
        assert len(queue.complete(answers(queue.claim(3)))) == 3
    pages, after = [], -1
    while page := first.results(after, limit=4):
        pages.append([ordinal for ordinal, _, _ in page])
        after = page[-1][0]
    assert pages == [[1, 2, 3, 4], [5, 6]]
