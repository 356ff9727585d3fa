"""xdist's loop in a worker that is a pytest session, of a run that hosts share: it keeps nothing back."""

from __future__ import annotations

import time
from typing import Any

import pytest

__all__ = ["run_at_once"]


def run_at_once(config: pytest.Config) -> None:
    """Have the worker run an item also when it does not know the next one.

    xdist's loop waits for the next item first, and the scheduler knows when none will come. In a shared run it does not: two
    hosts, each of which kept one item back, would wait for each other. The price is that all fixtures are torn down then.
    """
    interactor: Any = next(one for one in config.pluginmanager.get_plugins() if hasattr(one, "torun"))
    original = interactor.run_one_test

    def run_one_test() -> None:
        with interactor.torun.lock() as waiting:
            knows_next = bool(waiting)
        original() if knows_next else _run_last(interactor)

    interactor.run_one_test = run_one_test


def _run_last(interactor: Any) -> None:
    """Run the item that is at hand, and wait for another one only then, unless the session ends."""
    session, index = interactor.session, interactor.nextitem_index
    interactor.item_index = index
    began = time.perf_counter()
    interactor.config.hook.pytest_runtest_protocol(item=session.items[index], nextitem=None)
    interactor.sendevent("runtest_protocol_complete", item_index=index, duration=time.perf_counter() - began)
    if not (session.shouldfail or session.shouldstop):
        interactor.nextitem_index = interactor.torun.get()
