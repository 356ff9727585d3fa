"""One run out of what hosts have shared, for whoever can reach their database."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from pytest_spip.common.arguments import hide_arguments
from pytest_spip.errors import UsageProblem
from pytest_spip.hosts.database import Database
from pytest_spip.hosts.queue import Agent, Queue
from pytest_spip.hosts.status import RunStatus, run_status, shared_runs
from pytest_spip.hosts.urls import parse_url
from pytest_spip.record.rundb import RunWriter
from pytest_spip.record.rundir import RunDirectory
from pytest_spip.session.shared_conditions import refused_as
from pytest_spip.session.shared_verdicts import facts_of, shared_results, unpack

__all__ = ["connected", "named_status", "shared_run_directory"]

READER = Agent("report", "")
"""Reads, and takes part in nothing."""
PATIENCE = 10.0
"""Seconds for which a person waits for a database."""


@contextlib.contextmanager
def connected(address: str) -> Iterator[Database]:
    """Hold a connection to the database that a person names. Raises ``UsageProblem``, also for what goes wrong meanwhile."""
    url = parse_url("URL", address, Path.cwd())
    hide_arguments(url.secrets)
    with refused_as("URL"), contextlib.closing(Database(url, patience=PATIENCE)) as database:
        yield database


def named_status(database: Database, run: str) -> RunStatus:
    """Return how a run stands; the newest where none is named. Raises ``UsageProblem``."""
    known = shared_runs(database)
    name = run or next(iter(known), "")
    status = run_status(database, name) if name else None
    if status is None:
        fix = f"those there are: {', '.join(known[:10])}" if known else "begin one with --spip-queue"
        raise UsageProblem("--run", f"no run {run} is shared there" if run else "no run is shared there", fix)
    return status


@contextlib.contextmanager
def shared_run_directory(address: str, run: str) -> Iterator[RunDirectory]:
    """Yield the directory of a run as all hosts have recorded it so far, removed at the end. Raises ``UsageProblem``."""
    with connected(address) as database, TemporaryDirectory(prefix="spip-") as place:
        status = named_status(database, run)
        queue = Queue(database, status.run, READER)
        directory = RunDirectory(Path(place) / status.run)
        directory.locks.mkdir(parents=True)
        unpack(queue.plan(), directory.database)
        writer = RunWriter(directory.database)
        try:
            writer.go_on(facts_of(status))
            writer.take_in((one.result, one.failing) for one in shared_results(queue))
            writer.end(max((one.digest.get("seconds", 0.0) for one in status.agents), default=0.0), 0.0, 0.0)
        finally:
            writer.close()
        yield directory
