"""Texts of any kind and length in the queue, on each engine, and files that machines cannot share."""

from __future__ import annotations

import json

import pytest

from pytest_spip.errors import QueueProblem
from pytest_spip.hosts.queue import Counts
from tests.support.queues import Hosts, answer, plan

HOSTILE = [
    "'; DROP TABLE spip_task; --",
    'a"b`c\\d',
    "nul\0nul",
    "\udcff lone \ud800",
    "\x01mark",
    "%s %(run)s :run ?",
    "ß€😀",
    "\r\n\t",
]
LARGE = "x" * 1_000_000


@pytest.mark.parametrize("name", [*HOSTILE, LARGE[:2000]])
def test_names_are_values(hosts: Hosts, name: str) -> None:
    """Whatever the names of runs and agents, and results, hold comes back as it was, and is never read as SQL."""
    queue = hosts.queue(name, run=name)
    queue.publish(plan(2, name.encode(errors="backslashreplace").decode()))
    assert queue.look() is not None
    assert queue.claim(9) == [1, 0]
    hostile = answer(1, outcome=name, reason=name, fingerprint=name, body=json.dumps([name], ensure_ascii=False))
    assert queue.complete([hostile, answer(0)]) == {0, 1}
    assert queue.heartbeat({name: name}) is True
    queue.leave({name: name})
    assert queue.results() == [(0, name, '{"ordinal": 0}'), (1, name, hostile.body)]
    assert queue.counts() == Counts(2, 2, 0)
    assert hosts.rows("SELECT count(*) FROM spip_task") == [(0,)], "what is done leaves the tasks"


def test_large_results(hosts: Hosts) -> None:
    """A result of a megabyte is kept; a name of a megabyte is kept or refused, and then nothing is left of it."""
    queue = hosts.queue()
    queue.publish(plan(1))
    queue.claim(1)
    assert queue.complete([answer(0, body=json.dumps(LARGE), reason=LARGE)]) == {0}
    assert json.loads(queue.results()[0][2]) == LARGE
    if queue.database.is_postgresql:
        with pytest.raises(QueueProblem) as caught:
            hosts.queue(LARGE, run=LARGE)
        assert len(str(caught.value)) < 1000
    else:
        hosts.queue(LARGE, run=LARGE)
    assert queue.results()[0][0] == 0


def test_file_belongs_to_one_machine(hosts: Hosts) -> None:
    """A file that a live agent of another machine uses is refused, for two kernels cannot share it; a server can be shared."""
    queue = hosts.queue("first", boot="one")
    if queue.database.is_postgresql:
        hosts.queue("second", boot="two")
        return
    with pytest.raises(QueueProblem, match=r"in use on another machine \(host-of-first\)"):
        hosts.queue("second", boot="two")
    queue.leave({})
    hosts.queue("second", boot="two")
    with pytest.raises(QueueProblem, match="host-of-second"):
        queue.enter()
