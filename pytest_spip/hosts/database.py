"""One shared database: transactions that are bounded, and tried again while it is away."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from pytest_spip.errors import QueueProblem, QueueUnreachable
from pytest_spip.hosts.clocks import clock
from pytest_spip.hosts.deadlines import Deadlines
from pytest_spip.hosts.engines import SILENCE, open_engine
from pytest_spip.hosts.migrating import migrate
from pytest_spip.hosts.transient import is_transient
from pytest_spip.hosts.urls import DatabaseUrl

__all__ = ["PATIENCE", "Database", "clock"]

PATIENCE = 60.0
"""Seconds for which a transaction is tried again while the database cannot be reached."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 5.0
SHORT = 1.0
"""Seconds within which an attempt fails whose connection was lost before it began."""
LONGEST_MESSAGE = 500
UNPREPARED = {"26000", "42P05"}
"""PostgreSQL's states for a pooler between us that passes on transactions, and does not keep what was prepared."""

_T = TypeVar("_T")


class Database:
    """A database that hosts share, with our tables in it. Threads may share it.

    ``patience`` are the seconds for which a transaction is tried again. Raises ``UsageProblem`` where the address cannot be
    used here, ``QueueProblem`` where the database refuses, and ``QueueUnreachable`` where it does not answer in time.
    """

    def __init__(self, url: DatabaseUrl, *, patience: float = PATIENCE) -> None:
        self.url = url
        self.patience = patience
        self.ended = threading.Event()
        self._engine = open_engine(url)
        self._deadlines = Deadlines()
        self._failures = (SQLAlchemyError, self._engine.dialect.loaded_dbapi.Error)
        self.is_postgresql = url.engine == "postgresql"
        try:
            self.run(migrate)
        except BaseException:
            self.close()
            raise

    def run(self, work: Callable[[Connection], _T], *, patience: float | None = None, seconds: float = SILENCE) -> _T:
        """Return what ``work`` makes of a transaction, which is tried again when the database is away for a while.

        A commit may have reached the database without its answer: ``work`` must be safe to repeat. ``patience`` stands in
        for the database's own, ``seconds`` are those that one attempt may take. Raises ``QueueUnreachable`` and
        ``QueueProblem``, neither of which leads to a driver's own error.
        """
        began = time.monotonic()
        until, pause = began + (self.patience if patience is None else patience), 0.0
        while True:
            try:
                return self._attempt(work, seconds)
            except QueueUnreachable:
                now = time.monotonic()
                is_free = pause == 0 and now - began < SHORT  # the pool's connection may have been lost long ago
                if (now + pause > until and not is_free) or self._sleep(pause):
                    raise
            pause = min(max(2 * pause, FIRST_PAUSE), LONGEST_PAUSE)

    def _sleep(self, pause: float) -> bool:
        """Wait for about as long, not in step with other hosts; return whether nobody waits any more."""
        return self.ended.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311

    def _attempt(self, work: Callable[[Connection], _T], seconds: float) -> _T:
        try:
            with self._engine.connect() as connection, self._bounded(connection, seconds), connection.begin():
                return work(connection)
        except self._failures as error:
            problem = self._problem(error)
            if getattr(getattr(error, "orig", error), "sqlstate", None) in UNPREPARED:
                self._engine.dispose()
                self._engine = open_engine(self.url, prepares=False)
        raise problem  # out here, for it would hold the driver's error as its context, which may hold the password

    @contextlib.contextmanager
    def _bounded(self, connection: Connection, seconds: float) -> Iterator[None]:
        """Shut the connection after so many seconds: a server that hangs keeps it, and its own limits do not count then."""
        if not self.is_postgresql:
            yield  # waits for a busy file are bounded
            return
        driver = connection.connection.dbapi_connection
        assert driver is not None
        with self._deadlines.shutting(driver.fileno(), seconds):
            yield

    def now(self) -> float:
        """Return the database's time."""
        return self.run(lambda connection: float(connection.execute(select(clock())).scalar_one()))

    def stop(self) -> None:
        """Have nobody wait for the database any more."""
        self.ended.set()

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()
        self._deadlines.close()

    def _problem(self, error: Exception) -> QueueProblem:
        cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
        what = self.url.hide(" ".join(str(cause).split()))[:LONGEST_MESSAGE] or type(cause).__name__
        message = f"{self.url.public}: {what}"
        return QueueUnreachable(message) if is_transient(error) else QueueProblem(message)
