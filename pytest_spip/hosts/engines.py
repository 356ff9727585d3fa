"""How connections to each engine are made, and which files cannot be shared."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool

from pytest_spip.errors import UsageProblem
from pytest_spip.hosts.urls import DatabaseUrl

__all__ = ["SILENCE", "STATEMENT", "open_engine"]

CONNECTING = 10
"""Seconds that a connection may take to be made, or to come free, and for which a file may be busy."""
STATEMENT = 120
"""Seconds that a statement may take: the plan of a million combinations is published by one."""
STILL = 10
"""Seconds for which a transaction may stand still: it holds locks, for which whoever takes over from a lost host waits."""
SILENCE = 30
"""Seconds after which a connection is given up over which nothing comes, or goes."""
MOUNTS = Path("/proc/self/mountinfo")
REMOTE = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|9p|virtiofs|vboxsf|afs|ceph|lustre|gpfs|gfs2|ocfs2|glusterfs|beegfs"
    r"|fuse\.(sshfs|glusterfs|ceph\S*|s3fs|rclone|grpcfuse|osxfs)"
)
"""File systems that other machines, or kernels, see as well: SQLite's log cannot be shared on them."""


def open_engine(url: DatabaseUrl, *, prepares: bool = True) -> Engine:
    """Return what makes connections, two at most. Raises ``UsageProblem`` where the address cannot be used here.

    ``prepares`` if the server is to keep statements that come again, which halves what a small one costs it.
    """
    pool: dict[str, Any] = {
        "poolclass": QueuePool,
        "pool_size": 1,
        "max_overflow": 1,
        "pool_timeout": CONNECTING,
        "hide_parameters": True,
    }
    return _open_file_engine(url, pool) if url.path is not None else _open_server_engine(url, pool, prepares)


def _open_file_engine(url: DatabaseUrl, pool: dict[str, Any]) -> Engine:
    assert url.path is not None
    _check_file(url.option, url.path)
    arguments = {"timeout": CONNECTING, "check_same_thread": False}
    engine = create_engine(URL.create("sqlite", database=str(url.path)), connect_args=arguments, **pool)
    event.listen(engine, "connect", _open_file)
    event.listen(engine, "begin", _begin_at_once)
    return engine


def _open_server_engine(url: DatabaseUrl, pool: dict[str, Any], prepares: bool) -> Engine:
    arguments: dict[str, Any] = {
        "connect_timeout": CONNECTING,
        "tcp_user_timeout": SILENCE * 1000,
        "keepalives_idle": SILENCE // 3,
        "keepalives_interval": SILENCE // 6,
        "keepalives_count": 4,
        "application_name": "pytest-spip",
        "client_encoding": "utf8",
        "prepare_threshold": 5 if prepares else None,
    }
    try:
        import psycopg  # an extra, which SQLite does without
    except ImportError as error:
        raise UsageProblem(
            url.option, "postgresql:// needs psycopg, which is not installed", "pip install 'pytest-spip[postgres]'"
        ) from error

    def connect() -> psycopg.Connection[Any]:
        return psycopg.connect(url.full, **arguments)

    # libpq reads the address, as it does for psql: several hosts, service files and certificates work as people know them.
    engine = create_engine("postgresql+psycopg://", creator=connect, **pool)
    event.listen(engine, "connect", _limit_statements)
    return engine


def _limit_statements(connection: Any, _: object) -> None:
    """Let no statement, and no transaction that stands still, last for ever; poolers refuse this as startup parameters."""
    limits = (
        f"SET statement_timeout = '{STATEMENT}s';"
        f"SET idle_in_transaction_session_timeout = '{STILL}s';"
        "SET TIME ZONE 'UTC';"
        "SET jit = off"  # to compile a statement takes longer than any of ours runs
    )
    with connection.cursor() as cursor:
        cursor.execute(limits)
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
    if path.is_dir():
        raise UsageProblem(option, f"{path} is a directory", "name a file in it")
    kind = _file_system(path.resolve().parent)
    if REMOTE.fullmatch(kind):
        what = f"{path} lies on a network file system ({kind}), where SQLite's log cannot be shared"
        raise UsageProblem(option, what, "use postgresql://, which pytest-spip serve can start")


def _file_system(path: Path) -> str:
    """Return the type of the file system that a path lies on, by proc_pid_mountinfo(5); empty where nobody says."""
    found, kind = "", ""
    try:
        lines = MOUNTS.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    for line in lines:
        fields, _, rest = line.partition(" - ")
        place = re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), fields.split(" ")[4])
        if path.is_relative_to(place) and len(place) >= len(found):  # the last one mounted at a place hides the others
            found, kind = place, rest.split(" ")[0]
    return kind
