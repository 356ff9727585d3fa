"""Which failures of a database may pass: conflicts, shutdowns, lost connections, a full disk."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

__all__ = ["is_transient"]

CLASSES = ("08", "40", "53", "57")
"""Classes of PostgreSQL's states: connections, conflicts, what has run out (disk, memory, connections), an operator at work."""
STATES = {"25006", "25P03", "26000", "42P05", "55006", "55P03", "58030"}
"""Further states: a standby that has yet to take over, a transaction that stood still, statements that a pooler has forgotten or
knows already, locks, and a disk that failed."""
LASTING = {"40002", "57P04"}
"""What those classes hold and no time heals: a constraint that does not hold, a database that was dropped."""
SQLITE = {5, 6, 7, 10, 13, 15}
"""SQLite's codes: busy, locked, out of memory, a disk that failed or is full, a log that changed in between."""
REFUSED = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "pg_hba.conf",
    "not permitted",
    "does not support SSL",
    "certificate",
)
"""Words by which a server refuses a connection for good; libpq reports no state with them."""


def is_transient(error: Exception) -> bool:
    """Return True if what failed so, by SQLAlchemy's or a driver's exception, may work when it is tried again."""
    if isinstance(error, NoConnectionFree):
        return True
    cause = error.orig if isinstance(error, DBAPIError) else error
    if state := getattr(cause, "sqlstate", None):
        return (state in STATES or state.startswith(CLASSES)) and state not in LASTING
    code = getattr(cause, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in SQLITE  # the rest tells what of it, such as the writing
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    is_operational = any(base.__name__ == "OperationalError" for base in type(cause).__mro__)  # each driver has its own
    return is_operational and not any(words in str(cause) for words in REFUSED)
