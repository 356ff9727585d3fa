"""Agents of one run, and their records, on each engine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_spip.hosts.database import Database
from pytest_spip.hosts.records import Records
from pytest_spip.hosts.urls import parse_url
from tests.support.queues import Hosts


@pytest.fixture
def hosts(database_url: str) -> Iterator[Hosts]:
    """Make agents over one database."""
    with contextlib.closing(Hosts(database_url)) as made:
        yield made


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Return an empty database."""
    with contextlib.closing(Database(parse_url("--spip-queue", database_url, Path.cwd()))) as made:
        yield made


@pytest.fixture
def records(database: Database) -> Records:
    """Return the records of a run, in the hand of one agent."""
    return Records(database, "run", "alice")
