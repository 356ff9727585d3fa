"""Versions of the tables, on each engine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, text

from pytest_spip.errors import QueueProblem, QueueUnreachable
from pytest_spip.hosts import schema
from tests.support.queues import Hosts, opened

Step = Callable[[Connection], None]


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have a version that comes after ours, and count how often it is made."""
    made: list[int] = []

    def step(connection: Connection) -> None:
        made.append(1)
        connection.execute(text("ALTER TABLE spip_agent ADD COLUMN extra TEXT"))

    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, step))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    return made


def versions(hosts: Hosts) -> list[int]:
    return [version for (version,) in hosts.rows("SELECT version FROM spip_schema")]


def test_hosts_make_the_tables_at_once(hosts: Hosts) -> None:
    """Hosts that meet at an empty database make its tables once, and all go on."""
    together = threading.Barrier(6)

    def meet(_: int) -> None:
        together.wait(20)
        hosts.database().close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(meet, range(6)))
    assert versions(hosts) == [schema.VERSION]


def test_newer_tables_are_refused(hosts: Hosts) -> None:
    """An older pytest-spip does not touch newer tables, and says what to install."""
    hosts.database().run(lambda connection: connection.execute(schema.schema.update().values(version=99)))
    with pytest.raises(QueueProblem, match=rf"version 99 .* knows {schema.VERSION}: install the version") as caught:
        opened(hosts.url, patience=600)
    assert not isinstance(caught.value, QueueUnreachable)
    assert versions(hosts) == [99]


def test_older_tables_are_changed_once(hosts: Hosts, request: pytest.FixtureRequest) -> None:
    """Hosts that meet at older tables bring them to their version once; what was there stays."""
    hosts.queue("first").leave({})
    made: list[int] = request.getfixturevalue("newer")
    together = threading.Barrier(4)

    def meet(_: int) -> None:
        together.wait(20)
        hosts.database()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(meet, range(4)))
    assert len(made) == 1
    assert versions(hosts) == [schema.VERSION]
    assert hosts.rows("SELECT id, extra FROM spip_agent") == [("first", None)]


def test_tables_in_use_are_not_changed(hosts: Hosts, request: pytest.FixtureRequest) -> None:
    """While hosts of an older version are at work nobody changes their tables; once they have left, or are lost, somebody may."""
    queue = hosts.queue("first")
    before = schema.VERSION
    made: list[int] = request.getfixturevalue("newer")
    with pytest.raises(QueueProblem, match="which host-of-first is using"):
        hosts.database()
    assert (versions(hosts), made) == ([before], [])
    hosts.expire(queue)
    queue.database.run(lambda connection: connection.execute(schema.agent.update().values(until=1.0)))
    hosts.database()
    assert (versions(hosts), made) == ([schema.VERSION], [1])


def test_failed_change_leaves_the_tables_as_they_were(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that fails is undone with its version."""
    hosts.database()
    before = schema.VERSION

    def step(connection: Connection) -> None:
        connection.execute(text("ALTER TABLE spip_agent ADD COLUMN extra TEXT"))
        connection.execute(text("SELECT missing FROM nowhere"))

    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, step))
        patch.setattr(schema, "VERSION", schema.VERSION + 1)
        with pytest.raises(QueueProblem, match="nowhere"):
            hosts.database()
    assert versions(hosts) == [before]
    with pytest.raises(QueueProblem, match="extra"):
        hosts.rows("SELECT extra FROM spip_agent")
