"""Whose turn it is: who comes first with a key works alone, and the others together, after that."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pytest_spip.provision.turns import FirstAlone
from tests.support.machine import eventually

SECONDS = 30.0
"""How long a thread of these tests may wait for another."""


def test_first_alone() -> None:
    """While the first works with a key nobody else does, and whoever has another key need not wait; then all work at once."""
    turns, may_end, together = FirstAlone(SECONDS), threading.Event(), threading.Barrier(3)
    order: list[str] = []

    def first() -> None:
        with turns.working("one"):
            order.append("first")
            assert may_end.wait(SECONDS)
            order.append("ended")

    def other() -> None:
        with turns.working("one"):
            order.append("other")
            together.wait(SECONDS)

    with ThreadPoolExecutor(4) as pool:
        begun = [pool.submit(first)]
        assert eventually(lambda: order == ["first"])
        begun += [pool.submit(other) for _ in range(3)]
        with turns.working("two"):
            order.append("elsewhere")
        may_end.set()
        for each in begun:
            each.result(SECONDS)
    assert order == ["first", "elsewhere", "ended", "other", "other", "other"]


def test_a_first_that_fails_keeps_nobody_waiting() -> None:
    """The turn of the first one ends with it, whatever became of its work."""
    turns = FirstAlone()
    with pytest.raises(ValueError, match="it failed"), turns.working("one"):
        raise ValueError("it failed")
    with turns.working("one"):
        pass
    with turns.working("one"):
        pass


def test_a_first_that_is_held_up_holds_up_nobody() -> None:
    """Others go on after its head start."""
    turns = FirstAlone(0.01)
    with turns.working("one"), ThreadPoolExecutor(1) as pool:

        def other() -> str:
            with turns.working("one"):
                return "worked"

        assert pool.submit(other).result(SECONDS) == "worked"
