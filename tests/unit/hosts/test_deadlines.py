"""Sockets that are shut in time."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

import pytest

from pytest_spip.hosts.deadlines import Deadlines

LONG = 600.0


@pytest.fixture
def deadlines() -> Iterator[Deadlines]:
    with contextlib.closing(Deadlines()) as made:
        yield made


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        far.settimeout(20)
        yield near, far


def test_whoever_waits_finds_the_end(deadlines: Deadlines, pair: tuple[socket.socket, socket.socket]) -> None:
    """Once its time is over nothing comes over a socket any more, at either end; others go on."""
    near, _ = pair
    other, far = socket.socketpair()
    with other, far, deadlines.shutting(other.fileno(), LONG), deadlines.shutting(near.fileno(), 0.01):
        assert near.recv(1) == b""
        far.send(b"x")
        assert other.recv(1) == b"x"


def test_early_deadline_after_a_late_one(deadlines: Deadlines, pair: tuple[socket.socket, socket.socket]) -> None:
    """A deadline that is given while a later one is waited for is kept."""
    near, far = pair
    with deadlines.shutting(far.fileno(), LONG):
        for _ in range(3):
            with deadlines.shutting(near.fileno(), LONG):
                pass
        with deadlines.shutting(near.fileno(), 0.01):
            assert near.recv(1) == b""


def test_what_ends_in_time_is_left_alone(deadlines: Deadlines, pair: tuple[socket.socket, socket.socket]) -> None:
    """A block that ended before its time has its socket as it was; no descriptor is left open."""
    near, far = pair
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        with deadlines.shutting(near.fileno(), LONG):
            pass
    assert len(os.listdir("/proc/self/fd")) == before
    far.send(b"x")
    assert near.recv(1) == b"x"


def test_socket_that_was_closed(deadlines: Deadlines, pair: tuple[socket.socket, socket.socket]) -> None:
    """A socket that is closed within its block does no harm, nor does another that gets its number."""
    near, far = pair
    with deadlines.shutting(near.fileno(), 0.01):
        near.close()
        assert far.recv(1) == b""


def test_never_used() -> None:
    """Without deadlines there is no thread to end."""
    Deadlines().close()
