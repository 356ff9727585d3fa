"""Transactions of a shared database: what is tried again, for how long, and what errors show."""

from __future__ import annotations

import contextlib
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, text

from pytest_spip.errors import QueueProblem, QueueUnreachable
from pytest_spip.hosts import engines
from pytest_spip.hosts.database import FIRST_PAUSE, LONGEST_PAUSE, Database
from pytest_spip.hosts.server import PostgresServer
from tests.support.machine import eventually
from tests.support.postgres import server
from tests.support.proxy import Fault, Proxy
from tests.support.queues import Hosts, answers, opened, plan


@pytest.fixture(scope="module")
def own() -> Iterator[PostgresServer]:
    """Run a server that tests may disturb, and leave running."""
    with server() as running:
        yield running


@pytest.fixture
def database(own: PostgresServer) -> Iterator[Database]:
    """Connect to that server."""
    with contextlib.closing(opened(own.url_with_password)) as made:
        yield made


def one(connection: Connection) -> int:
    return int(connection.execute(text("SELECT 1")).scalar_one())


def chain(error: BaseException) -> str:
    """Return all that a traceback shows of an error."""
    return "".join(traceback.format_exception(error, chain=True))


def test_transactions_are_whole(hosts: Hosts) -> None:
    """What a transaction did is there when it has ended, and nothing of it where it failed."""
    database = hosts.database()

    def write(connection: Connection) -> None:
        connection.execute(
            text("INSERT INTO spip_agent (id, run, host, boot, began, until) VALUES ('a', 'r', '', '', 0, 0)")
        )

    def fail(connection: Connection) -> None:
        connection.execute(text("DELETE FROM spip_agent"))
        raise ZeroDivisionError

    database.run(write)
    with pytest.raises(ZeroDivisionError):
        database.run(fail)
    assert hosts.rows("SELECT id FROM spip_agent") == [("a",)]


def test_what_lasts_is_not_tried_again(hosts: Hosts) -> None:
    """A mistake in a statement, or a row that is there already, is told at once, and is no matter of reaching the database."""
    database = hosts.database()
    attempts: list[str] = []
    for statement in ("SELECT missing FROM nowhere", "INSERT INTO spip_schema VALUES (1)", "SELEKT"):
        attempts.clear()

        def work(connection: Connection, statement: str = statement) -> None:
            attempts.append(statement)
            connection.execute(text(statement))

        with pytest.raises(QueueProblem) as caught:
            database.run(work)
        assert not isinstance(caught.value, QueueUnreachable)
        assert len(attempts) == 1
        assert caught.value.__cause__ is caught.value.__context__ is None
        assert str(caught.value).startswith(database.url.public)


def test_pauses_grow_to_the_deadline(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the database is away pauses grow up to a limit, until patience ends; the first attempt is repeated at once."""
    database, now, pauses = hosts.database(), 0.0, []

    def sleep(pause: float) -> bool:
        nonlocal now
        now += pause
        pauses.append(pause)
        return False

    def away(_: Connection) -> None:
        raise QueueUnreachable("away")

    monkeypatch.setattr("pytest_spip.hosts.database.time.monotonic", lambda: now)
    monkeypatch.setattr(database, "_sleep", sleep)
    with pytest.raises(QueueUnreachable, match="away"):
        database.run(away, patience=20)
    assert pauses == [0, *(min(FIRST_PAUSE * 2**number, LONGEST_PAUSE) for number in range(len(pauses) - 1))]
    assert 15 < now <= 20
    pauses.clear()
    with pytest.raises(QueueUnreachable):
        database.run(away, patience=0)
    assert pauses == [0]


def test_stop_ends_waiting(hosts: Hosts) -> None:
    """Nobody waits for a database any more once that was asked for; what works still works."""
    database, attempts = hosts.database(patience=600), []

    def away(_: Connection) -> None:
        attempts.append(1)
        database.stop()
        raise QueueUnreachable("away")

    with pytest.raises(QueueUnreachable):
        database.run(away)
    assert len(attempts) == 1
    assert database.run(one) == 1


def test_threads_share_connections(hosts: Hosts) -> None:
    """More threads than connections wait for one another."""
    database = hosts.database()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: database.run(one), range(100))) == [1] * 100


def test_clock_goes_on_within_a_transaction(hosts: Hosts) -> None:
    """The database's time is that of the moment, and about the same to all."""
    first, second = hosts.database(), hosts.database()
    before, between, after = first.now(), second.now(), first.now()
    assert before <= between <= after
    assert before > 1_700_000_000


def test_restarted_server_is_reached_at_once(own: PostgresServer, database: Database) -> None:
    """Connections that a restart has ended are made anew, without any patience."""
    assert database.run(one) == 1
    own.restart()
    assert database.run(one, patience=0) == 1


def test_killed_server(own: PostgresServer, database: Database) -> None:
    """While there is no server that is said without the password; when it is back work goes on."""
    own.kill()
    with pytest.raises(QueueUnreachable) as caught:
        database.run(one, patience=0)
    assert "refused" in str(caught.value)
    assert own.url_with_password.rpartition("@")[0].rpartition(":")[2] not in chain(caught.value)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(database.run, one)
        own.start()
        assert waiting.result(60) == 1


def test_server_that_hangs(own: PostgresServer, database: Database) -> None:
    """A server that keeps its connections and does not answer is given up after the seconds of an attempt."""
    assert database.run(one) == 1
    own.pause()
    try:
        with pytest.raises(QueueUnreachable):
            database.run(one, patience=0, seconds=1.1)
    finally:
        own.go_on()
    assert database.run(one) == 1


def test_new_connection_to_a_server_that_hangs(own: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that accepts a connection and says nothing is given up after a while."""
    monkeypatch.setattr(engines, "CONNECTING", 2)
    own.pause()
    try:
        with pytest.raises(QueueUnreachable):
            opened(own.url_with_password, patience=0)
    finally:
        own.go_on()


def test_network_that_hangs(own: PostgresServer) -> None:
    """A connection over which nothing comes any more is given up, and made anew when the network is back."""
    address = own.url_with_password.replace(f":{own.port}/", ":{}/")
    with Proxy(own.port) as proxy, contextlib.closing(opened(address.format(proxy.port))) as database:
        proxy.held.set()
        with pytest.raises(QueueUnreachable):
            database.run(one, patience=0, seconds=1.1)
        proxy.held.clear()
        assert database.run(one) == 1


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.CUT_ANSWER])
def test_connection_that_is_cut(own: PostgresServer, fault: Fault) -> None:
    """A connection that is cut within any request of a transaction costs an attempt, and no more."""
    address = own.url_with_password.replace(f":{own.port}/", ":{}/")
    faults: Iterator[Fault] = iter(())
    with Proxy(own.port, lambda: next(faults, Fault.NONE)) as proxy:
        with contextlib.closing(opened(address.format(proxy.port))) as database:
            for place in range(4):
                faults = iter([Fault.NONE] * place + [fault])
                assert database.run(one, patience=5) == 1
        assert proxy.cuts >= 3


def test_pooler_that_forgets_statements(own: PostgresServer) -> None:
    """Where a pooler does not keep prepared statements work goes on, from then on without any."""
    prepared = text("SELECT count(*) FROM pg_prepared_statements")

    def forget(connection: Connection) -> None:
        connection.exec_driver_sql("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$")  # the driver does not notice

    with contextlib.closing(opened(own.url_with_password)) as database:
        for _ in range(10):
            assert database.run(one) == 1
        assert database.run(lambda connection: connection.execute(prepared).scalar_one()) > 0
        database.run(forget)
        for _ in range(10):
            assert database.run(one, patience=0) == 1
        assert database.run(lambda connection: connection.execute(prepared).scalar_one()) == 0


@pytest.mark.parametrize(("user", "name"), [("", "absent"), ("nobody_knows:hunter2@", "")])
def test_refused_connection(own: PostgresServer, user: str, name: str) -> None:
    """A server that refuses somebody is asked once, and no password is shown."""
    scheme, _, rest = own.url_with_password.partition("://")
    login, _, place = rest.rpartition("@")
    address = f"{scheme}://{user or login + '@'}{place.rpartition('/')[0]}/{name or place.rpartition('/')[2]}"
    with pytest.raises(QueueProblem) as caught:
        opened(address, patience=600)
    assert not isinstance(caught.value, QueueUnreachable)
    for secret in ("hunter2", login.partition(":")[2]):
        assert secret not in chain(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_transaction_that_stands_still(own: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction whose host stands still is ended, so that nobody waits for its locks; the host tries it again."""
    monkeypatch.setattr(engines, "STILL", 1)
    attempts = []
    with (
        contextlib.closing(opened(own.url_with_password)) as slow,
        contextlib.closing(opened(own.url_with_password)) as other,
    ):

        def ended(pid: int) -> bool:
            query = text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid")
            return bool(other.run(lambda connection: connection.execute(query, {"pid": pid}).scalar_one()) == 0)

        def work(connection: Connection) -> int:
            attempts.append(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
            if len(attempts) == 1:
                eventually(lambda: ended(attempts[0]))
            return one(connection)

        assert slow.run(work) == 1
    assert len(set(attempts)) == len(attempts) == 2


def test_full_disk_of_a_server(own: PostgresServer) -> None:
    """Results that a full disk refuses are not lost: the same call records them when there is room again."""
    with contextlib.closing(Hosts(own.url_with_password, "full")) as hosts:
        queue = hosts.queue("full", patience=0)
        queue.publish(plan(2))
        queue.claim(2)
        root = create_engine(own.url_with_password.replace("postgresql", "postgresql+psycopg", 1))
        full = "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
        full += "$$BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = 'disk_full'; END$$"
        with root.begin() as connection:
            connection.execute(text(full))
            connection.execute(
                text("CREATE TRIGGER full_disk BEFORE INSERT ON spip_result EXECUTE FUNCTION full_disk()")
            )
        with pytest.raises(QueueUnreachable, match="No space left on device"):
            queue.complete(answers([0]))
        with root.begin() as connection:
            connection.execute(text("DROP FUNCTION full_disk CASCADE"))
        root.dispose()
        assert queue.complete(answers([1, 0])) == {0, 1}


def test_full_disk_of_a_file(tmp_path: Path) -> None:
    """Results for which a file has no room are not lost: the same call records them when there is room again."""
    with contextlib.closing(Hosts(f"sqlite:///{tmp_path}/full.db")) as hosts:
        queue = hosts.queue(patience=0)
        queue.publish(plan(400))
        claimed = queue.claim(400)

        def limit(pages: int) -> None:
            queue.database.run(lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}"))

        limit(1)  # none beyond those that it has
        with pytest.raises(QueueUnreachable, match="database or disk is full"):
            queue.complete(answers(claimed))
        assert queue.counts().done == 0
        limit(2**30)
        assert queue.complete(answers(claimed)) == set(claimed)


def test_busy_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that somebody else writes is waited for, and not without end."""
    monkeypatch.setattr(engines, "CONNECTING", 0.2)
    with contextlib.closing(Hosts(f"sqlite:///{tmp_path}/busy.db")) as hosts:
        database, other = hosts.database(patience=0), hosts.database()
        is_held, may_end = threading.Event(), threading.Event()

        def hold(_: Connection) -> None:
            is_held.set()
            assert may_end.wait(60)

        with ThreadPoolExecutor(1) as pool:
            holding = pool.submit(other.run, hold)
            assert is_held.wait(20)
            with pytest.raises(QueueUnreachable, match="database is locked"):
                database.run(one)
            may_end.set()
            holding.result(20)
        assert database.run(one) == 1


def test_file_that_is_no_database(tmp_path: Path) -> None:
    """A file of another kind is refused at once, and left as it is."""
    (tmp_path / "other.txt").write_text("something else, long enough to be looked at" * 100, "utf-8")
    with pytest.raises(QueueProblem, match="file is not a database") as caught:
        opened(f"sqlite:///{tmp_path}/other.txt", patience=600)
    assert not isinstance(caught.value, QueueUnreachable)
    assert (tmp_path / "other.txt").read_text("utf-8").startswith("something else")
