"""One shared database: connections, transactions that are tried again, and its clock."""

from __future__ import annotations

import contextlib
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Double, Engine, create_engine, event, func, select, text
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import QueuePool
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement

from pytest_spip.errors import QueueProblem, QueueUnreachable, UsageProblem
from pytest_spip.hosts import schema
from pytest_spip.hosts.urls import DatabaseUrl

__all__ = ["PATIENCE", "Database", "clock"]

PATIENCE = 60.0
"""Seconds for which a transaction is tried again while the database cannot be reached."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 5.0
CONNECTING = 10
"""Seconds that a connection may take to be made."""
STATEMENT = 120
"""Seconds that a statement may take: the plan of a million combinations is published by one."""
SILENCE = 30
"""Seconds after which a connection is given up over which nothing comes, or goes."""
MIGRATING = 0x73706970
"""Key of the lock that whoever changes the schema holds."""
REMOTE = re.compile(r"nfs\d?|cifs|smb\d?|9p|afs|ceph|lustre|gpfs|glusterfs|beegfs|fuse\.(sshfs|glusterfs|s3fs|rclone)")
"""File systems of other machines, on which SQLite's log cannot be shared."""
TRANSIENT = {"40001", "40P01", "53300", "55P03", "57014", "57P01", "57P02", "57P03", "53100", "53200"}
"""PostgreSQL's states of what may work the next time: conflicts, too many connections, shutdowns, a full disk."""

_T = TypeVar("_T")


class clock(FunctionElement[float]):  # noqa: N801  # it reads like a function of SQL
    """The database's time in seconds since 1970, also within a transaction that has gone on for long."""

    inherit_cache = True
    type = Double()


@compiles(clock, "postgresql")
def _postgresql_clock(_element: clock, _compiler: SQLCompiler, **_: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"


@compiles(clock, "sqlite")
def _sqlite_clock(_element: clock, _compiler: SQLCompiler, **_: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


class Database:
    """A database that hosts share, with our tables in it. Threads may share it.

    ``patience`` are the seconds for which a transaction is tried again. Raises ``UsageProblem`` where the address cannot be
    used here, ``QueueProblem`` where the database refuses, and ``QueueUnreachable`` where it does not answer in time.
    """

    def __init__(self, url: DatabaseUrl, *, patience: float = PATIENCE) -> None:
        self.url = url
        self.patience = patience
        self.ended = threading.Event()
        self._engine = _engine(url)
        self.is_postgresql = url.engine == "postgresql"
        self.run(_migrate)

    def run(self, work: Callable[[Connection], _T], *, patience: float | None = None) -> _T:
        """Return what ``work`` makes of a transaction, which is tried again when the database is away for a while.

        A commit may have reached the database without its answer: ``work`` must be safe to repeat. ``patience`` stands in
        for the database's own. Raises ``QueueUnreachable`` and ``QueueProblem``.
        """
        limit = self.patience if patience is None else patience
        until, pause = time.monotonic() + limit, FIRST_PAUSE
        while True:
            try:
                with self.transaction() as connection:
                    return work(connection)
            except QueueUnreachable:
                if time.monotonic() + pause > until or self.ended.wait(pause * random.uniform(0.5, 1.0)):  # noqa: S311
                    raise
            pause = min(2 * pause, LONGEST_PAUSE)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Hold one transaction, committed at the end. Raises ``QueueUnreachable`` and ``QueueProblem``."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise self._problem(error) from None  # the driver's own error may hold the password

    def now(self) -> float:
        """Return the database's time."""
        return self.run(lambda connection: float(connection.execute(select(clock())).scalar_one()))

    def stop(self) -> None:
        """Have nobody wait for the database any more."""
        self.ended.set()

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _problem(self, error: SQLAlchemyError) -> QueueProblem:
        cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
        what = self.url.hide(" ".join(str(cause).split())) or type(cause).__name__
        message = f"{self.url.public}: {what}"
        return QueueUnreachable(message) if _is_transient(error) else QueueProblem(message)


def _is_transient(error: SQLAlchemyError) -> bool:
    if not isinstance(error, DBAPIError):
        return True  # no connection came free in time
    state = getattr(error.orig, "sqlstate", None)
    if state:
        return state in TRANSIENT or state.startswith("08")
    words = str(error.orig)
    if any(
        word in words for word in ("password", "authentication", "does not exist", "unable to open", "not a database")
    ):
        return False
    return error.connection_invalidated or isinstance(error, OperationalError)


def _engine(url: DatabaseUrl) -> Engine:
    pool = {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 1, "pool_timeout": CONNECTING}
    if url.path is not None:
        _check_file(url.option, url.path)
        engine = create_engine(url.full, connect_args={"timeout": CONNECTING, "check_same_thread": False}, **pool)
        event.listen(engine, "connect", _open_file)
        event.listen(engine, "begin", _begin_at_once)
        return engine
    arguments = {"connect_timeout": CONNECTING, "application_name": "pytest-spip", "keepalives_idle": SILENCE // 3}
    arguments |= {"keepalives_interval": SILENCE // 6, "keepalives_count": 4, "tcp_user_timeout": SILENCE * 1000}
    try:
        engine = create_engine(url.full, pool_pre_ping=True, connect_args=arguments, **pool)
    except ModuleNotFoundError as error:
        raise UsageProblem(
            url.option, "postgresql:// needs psycopg, which is not installed", "pip install 'pytest-spip[postgres]'"
        ) from error
    event.listen(engine, "connect", _limit_statements)
    return engine


def _limit_statements(connection: Any, _: object) -> None:
    """Let no statement, and no transaction that is left open, last for ever; poolers refuse this as startup parameters."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET statement_timeout = '{STATEMENT}s'")
        cursor.execute(f"SET idle_in_transaction_session_timeout = '{STATEMENT}s'")
        cursor.execute("SET TIME ZONE 'UTC'")
    connection.commit()


def _open_file(connection: Any, _: object) -> None:
    connection.isolation_level = None  # else the driver begins and ends transactions as it likes
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _begin_at_once(connection: Connection) -> None:
    """Take the write lock first: who takes it late may find that another was faster, and fail."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _check_file(option: str, path: Path) -> None:
    """Refuse a file that several hosts would share. Raises ``UsageProblem``."""
    if not path.parent.is_dir():
        raise UsageProblem(option, f"there is no directory {path.parent}", "make it first")
    kind = _file_system(path.parent.resolve())
    if REMOTE.fullmatch(kind):
        what = f"{path} lies on a network file system ({kind}), where SQLite's log cannot be shared"
        raise UsageProblem(option, what, "use postgresql://, which pytest-spip serve can start")


def _file_system(path: Path) -> str:
    """Return the type of the file system that a path lies on; empty where nobody says."""
    found, kind = "", ""
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    for line in lines:
        fields, _, rest = line.partition(" - ")
        place = re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), fields.split(" ")[4])
        if path.is_relative_to(place) and len(place) >= len(found):
            found, kind = place, rest.split(" ")[0]
    return kind


def _migrate(connection: Connection) -> None:
    """Bring the tables to our version, one host at a time. Raises ``QueueProblem`` where they are newer."""
    if _version(connection) == schema.VERSION:
        return
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(MIGRATING)))
    found = _version(connection)
    if found > schema.VERSION:
        raise QueueProblem(
            f"the database has version {found} of the tables, and this pytest-spip knows {schema.VERSION}:"
            " install the version of pytest-spip that the other hosts have"
        )
    for migrate in schema.MIGRATIONS[found:]:
        migrate(connection)
    if found < schema.VERSION:
        connection.execute(schema.schema.delete())
        connection.execute(schema.schema.insert().values(version=schema.VERSION))


def _version(connection: Connection) -> int:
    """Return the version of the tables; 0 where there are none."""
    if connection.dialect.name == "postgresql":
        exists = connection.execute(text("SELECT to_regclass('spip_schema')")).scalar_one() is not None
    else:
        names = text("SELECT count(*) FROM sqlite_master WHERE name = 'spip_schema'")
        exists = bool(connection.execute(names).scalar_one())
    return int(connection.execute(select(schema.schema.c.version)).scalar() or 0) if exists else 0
