"""Agents of one run, on each engine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.support.queues import Hosts


@pytest.fixture
def hosts(database_url: str) -> Iterator[Hosts]:
    """Make agents over one database."""
    with contextlib.closing(Hosts(database_url)) as made:
        yield made
