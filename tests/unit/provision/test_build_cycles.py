"""Builds that wait for each other's wheels, in one thread and in several."""

from __future__ import annotations

import threading

import pytest

from pytest_spip.provision.build_cycles import BuildCycles
from pytest_spip.provision.uv_output import Failure


def test_chain() -> None:
    """What needs another sdist may wait for it, any number of times; what would wait for itself is refused."""
    chain = BuildCycles()
    for _ in range(2):
        with chain.waiting_for("a", "a.zip"), chain.waiting_for("b", "b.zip"):
            for key in ("a", "b"):
                with pytest.raises(Failure, match="lead back"), chain.waiting_for(key, key):
                    pass
    with chain.waiting_for("b", "b.zip"), chain.waiting_for("a", "a.zip"):
        pass


def test_chain_of_threads() -> None:
    """A ring is found also where each of two threads builds one part of it."""
    chain, there, done = BuildCycles(), threading.Event(), threading.Event()

    def other() -> None:
        with chain.waiting_for("b", "b.zip"), chain.waiting_for("a", "a.zip"):
            there.set()
            done.wait(30)

    with chain.waiting_for("a", "a.zip"):
        thread = threading.Thread(target=other)
        thread.start()
        assert there.wait(30)
        with (
            pytest.raises(Failure, match=r"lead back to it or to each other: a\.zip, b\.zip"),
            chain.waiting_for("b", "b.zip"),
        ):
            pass
        done.set()
        thread.join()
        with chain.waiting_for("b", "b.zip"):
            pass
