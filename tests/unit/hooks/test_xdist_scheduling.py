"""What our scheduler makes of xdist's calls."""

from __future__ import annotations

import queue
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_spip.hooks.xdist_scheduling import SpipScheduling

NODEID = "spip::demo-1.0[py312]"


class Node:
    """Stands for xdist's hand on a worker; ``sent`` is what it was given to run."""

    def __init__(self, name: str) -> None:
        self.gateway = SimpleNamespace(id=name)
        self.workerinfo = {"spip_plan": "plan"}
        self.shutting_down = False
        self.sent: list[int] = []

    def notify_inproc(self, _: str, **__: object) -> None:
        """Take what xdist is told of the worker."""

    def send_runtest_some(self, units: list[int]) -> None:
        """Take work."""
        self.sent += units

    def shutdown(self) -> None:
        """End."""
        self.shutting_down = True


@pytest.mark.parametrize("ending", [False, True])
@pytest.mark.parametrize("noticed", [False, True])
def test_what_gets_ready_while_the_last_worker_is_replaced(*, noticed: bool, ending: bool) -> None:
    """The worker that takes its place is given it, whether xdist has noticed the death by then or not; unless all ends."""
    combo: Any = SimpleNamespace(ordinal=0, label="py312", nodeid=NODEID)
    listeners: list[Any] = []
    run: Any = SimpleNamespace(
        shared=None,
        plan_hash="plan",
        missing=[combo],
        plan=SimpleNamespace(combos=[combo]),
        combo_of=lambda _: combo,
        cost=lambda _: 1.0,
        is_ready=lambda _: False,
        may_judge=lambda _: True,
        start=lambda _, listener, **__: listeners.append(listener),
    )
    distributed = SimpleNamespace(shuttingdown=ending, queue=queue.Queue(), shouldstop="")
    config: Any = SimpleNamespace(
        option=SimpleNamespace(tx=["popen"], dist="load"),
        pluginmanager=SimpleNamespace(get_plugin=lambda _: distributed),
    )
    scheduling = SpipScheduling(config, run, collects=False, log=lambda *_: None)
    first: Any = Node("gw0")
    scheduling.add_node(first)
    scheduling.add_node_collection(first, [NODEID])
    first.shutting_down = True
    if not noticed:
        listeners[0].ready([0])
    assert scheduling.remove_node(first) is None
    if noticed:
        listeners[0].ready([0])
    second: Any = Node("gw1")
    scheduling.add_node(second)
    scheduling.add_node_collection(second, [NODEID])
    scheduling.stop()
    given = [] if ending else [0]
    assert (first.sent, second.sent) == (([], given) if noticed else (given, given))
