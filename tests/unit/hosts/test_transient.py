"""Which failures may pass."""

from __future__ import annotations

import sqlite3

import psycopg
import pytest
from psycopg import errors
from sqlalchemy import exc

from pytest_spip.hosts.transient import is_transient


def wrapped(cause: BaseException, *, lost: bool = False) -> exc.DBAPIError:
    """Return SQLAlchemy's exception around a driver's."""
    kind = (
        exc.OperationalError
        if isinstance(cause, (psycopg.OperationalError, sqlite3.OperationalError))
        else exc.DBAPIError
    )
    return kind("SELECT 1", None, cause, connection_invalidated=lost)


def of_sqlite(code: int) -> sqlite3.OperationalError:
    """Return an error with SQLite's own code."""
    error = sqlite3.OperationalError("message")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (errors.SerializationFailure(), True),
        (errors.DeadlockDetected(), True),
        (errors.TooManyConnections(), True),
        (errors.DiskFull(), True),
        (errors.OutOfMemory(), True),
        (errors.QueryCanceled(), True),
        (errors.AdminShutdown(), True),
        (errors.CannotConnectNow(), True),
        (errors.LockNotAvailable(), True),
        (errors.IdleInTransactionSessionTimeout(), True),
        (errors.ReadOnlySqlTransaction(), True),
        (errors.ConnectionFailure(), True),
        (errors.InvalidSqlStatementName(), True),
        (errors.DuplicatePreparedStatement(), True),
        (errors.UniqueViolation(), False),
        (errors.InsufficientPrivilege(), False),
        (errors.UndefinedTable(), False),
        (errors.SyntaxError(), False),
        (errors.DatabaseDropped(), False),
        (errors.TransactionIntegrityConstraintViolation(), False),
        (errors.CharacterNotInRepertoire(), False),
        (psycopg.OperationalError("connection failed: Connection refused"), True),
        (psycopg.OperationalError("failed to resolve host 'x': Name or service not known"), True),
        (psycopg.OperationalError('FATAL: password authentication failed for user "x"'), False),
        (psycopg.OperationalError("fe_sendauth: no password supplied"), False),
        (psycopg.OperationalError("expected authentication request from server, but received v"), True),
        (psycopg.OperationalError('FATAL: database "x" does not exist'), False),
        (psycopg.OperationalError("FATAL: no pg_hba.conf entry for host"), False),
        (psycopg.OperationalError("server does not support SSL, but SSL was required"), False),
        (psycopg.ProgrammingError("invalid connection option"), False),
        (psycopg.DataError("cannot contain NUL"), False),
        (of_sqlite(sqlite3.SQLITE_BUSY), True),
        (of_sqlite(sqlite3.SQLITE_BUSY_SNAPSHOT), True),
        (of_sqlite(sqlite3.SQLITE_LOCKED), True),
        (of_sqlite(sqlite3.SQLITE_FULL), True),
        (of_sqlite(sqlite3.SQLITE_IOERR_WRITE), True),
        (of_sqlite(sqlite3.SQLITE_ERROR), False),
        (of_sqlite(sqlite3.SQLITE_READONLY), False),
        (of_sqlite(sqlite3.SQLITE_CANTOPEN), False),
        (of_sqlite(sqlite3.SQLITE_NOTADB), False),
        (of_sqlite(sqlite3.SQLITE_CONSTRAINT_UNIQUE), False),
    ],
)
def test_failures_of_drivers(error: Exception, transient: bool) -> None:
    """A failure that may pass is told from one that lasts, as the driver raises it and as SQLAlchemy wraps it."""
    assert is_transient(wrapped(error)) is is_transient(error) is transient


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (exc.TimeoutError(), True),
        (wrapped(psycopg.InterfaceError("the connection is closed"), lost=True), True),
        (wrapped(psycopg.InterfaceError("the cursor is closed")), False),
        (exc.CompileError("no"), False),
        (exc.NoResultFound("no"), False),
        (exc.ArgumentError("no"), False),
    ],
)
def test_failures_of_sqlalchemy(error: Exception, transient: bool) -> None:
    """No free connection, and a lost one, may pass; mistakes of ours do not."""
    assert is_transient(error) is transient
