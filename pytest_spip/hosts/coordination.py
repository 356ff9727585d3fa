"""Coordination of agents by a shared database, for programs: all that is documented for them, under one name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pytest_spip.hosts.database import PATIENCE, Database
from pytest_spip.hosts.dependencies import dependency_closure
from pytest_spip.hosts.record_gc import collect_records
from pytest_spip.hosts.record_kinds import Kind, Pushed, Record, StoredRecord
from pytest_spip.hosts.records import Page, Records
from pytest_spip.hosts.reservations import Reservation, Reservations
from pytest_spip.hosts.urls import parse_url

__all__ = [
    "Kind",
    "Page",
    "Pushed",
    "Record",
    "Records",
    "Reservation",
    "Reservations",
    "StoredRecord",
    "collect_records",
    "dependency_closure",
    "open_records",
]


@contextlib.contextmanager
def open_records(address: str, run: str, agent: str, *, patience: float = PATIENCE) -> Iterator[Records]:
    """Hold a connection to the database of an address, for the records of a run in the name of an agent.

    ``patience`` are the seconds for which each step is tried again while the database is away. Raises ``UsageProblem`` for an
    address that cannot be used, ``QueueProblem`` where the database refuses, ``QueueUnreachable`` where it does not answer.
    """
    with contextlib.closing(Database(parse_url("address", address, Path.cwd()), patience=patience)) as database:
        yield Records(database, run, agent)
