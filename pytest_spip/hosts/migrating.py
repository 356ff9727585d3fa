"""The tables of a shared database, brought to the version that we know."""

from __future__ import annotations

from sqlalchemy import Connection, func, select, text

from pytest_spip.errors import QueueProblem
from pytest_spip.hosts import schema
from pytest_spip.hosts.clocks import clock

__all__ = ["migrate"]

MIGRATING = 0x73706970
"""Key of the lock that whoever changes the tables holds."""


def migrate(connection: Connection) -> None:
    """Bring the tables to our version, one host at a time. Raises ``QueueProblem`` where they are newer, or are in use."""
    if _version(connection) == schema.VERSION:
        return
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(MIGRATING)))
    found = _version(connection)
    if found == schema.VERSION:
        return
    if found > schema.VERSION:
        raise QueueProblem(
            f"the database has version {found} of the tables, and this pytest-spip knows {schema.VERSION}:"
            " install the version of pytest-spip that the other hosts have"
        )
    if found:
        _check_unused(connection, found)
        for step in schema.MIGRATIONS[found - 1 :]:
            step(connection)
    else:
        schema.metadata.create_all(connection)
    connection.execute(schema.schema.delete())
    connection.execute(schema.schema.insert().values(version=schema.VERSION))


def _check_unused(connection: Connection, found: int) -> None:
    """Refuse to change the tables under hosts that know them as they are. Raises ``QueueProblem``."""
    agents = schema.agent.c
    users = select(agents.host).where(agents.until > clock(), ~agents.has_left).limit(1)
    if host := connection.execute(users).scalar():
        raise QueueProblem(
            f"the database has version {found} of the tables, which {host} is using, and this pytest-spip would change them"
            f" to {schema.VERSION}: wait until that run is over, or name another database"
        )


def _version(connection: Connection) -> int:
    """Return the version of the tables; 0 where there are none."""
    if connection.dialect.name == "postgresql":
        exists = connection.execute(text("SELECT to_regclass('spip_schema')")).scalar_one() is not None
    else:
        names = text("SELECT count(*) FROM sqlite_master WHERE name = 'spip_schema'")
        exists = bool(connection.execute(names).scalar_one())
    return int(connection.execute(select(schema.schema.c.version)).scalar() or 0) if exists else 0
