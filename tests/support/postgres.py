"""Real servers of PostgreSQL for tests, each below a directory that the server's account can enter."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg

from pytest_spip.hosts.server import PostgresServer

__all__ = ["databases", "reachable_directory", "server"]

_NUMBERS = itertools.count(1)


@contextlib.contextmanager
def reachable_directory() -> Iterator[Path]:
    """Yield a directory that others may enter, as pytest's own for temporary files may not be, and remove it at the end."""
    top = Path(tempfile.mkdtemp(prefix="spip-tests-"))
    top.chmod(0o711)
    try:
        yield top
    finally:
        shutil.rmtree(top)


@contextlib.contextmanager
def server() -> Iterator[PostgresServer]:
    """Yield a server of one's own that runs; its processes may be killed, restarted and held, and end with the test."""
    with reachable_directory() as top, PostgresServer(top / "server", durable=False) as started:
        yield started


@contextlib.contextmanager
def databases(running: PostgresServer) -> Iterator[str]:
    """Yield the address, with the password, of a new and empty database, which is dropped at the end."""
    name = f"test_{os.getpid()}_{next(_NUMBERS)}"
    base, _, default = running.url_with_password.rpartition("/")
    _execute(f"{base}/{default}", f"CREATE DATABASE {name}")
    try:
        yield f"{base}/{name}"
    finally:
        _drop(f"{base}/{default}", name)


def _drop(address: str, name: str) -> None:
    try:
        _execute(address, f"DROP DATABASE {name} WITH (FORCE)")
    except psycopg.errors.InsufficientPrivilege:  # the server itself is vacuuming there, which gives way to this
        _execute(address, f"DROP DATABASE {name}")


def _execute(address: str, statement: str) -> None:
    # The names are our own; a database's cannot be a parameter.
    with psycopg.connect(address, autocommit=True, connect_timeout=30) as connection:
        connection.execute(statement.encode())
