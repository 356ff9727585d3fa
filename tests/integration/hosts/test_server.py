"""A private PostgreSQL: what it admits, what survives, and what is left of it."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from pytest_spip.errors import HarnessProblem, UsageProblem
from pytest_spip.hosts.server import PostgresServer
from tests.support.machine import eventually
from tests.support.postgres import databases, reachable_directory, server

OWNER = """\
import sys, time
from pathlib import Path
from pytest_spip.hosts.server import PostgresServer
with PostgresServer(Path(sys.argv[1]), durable=False) as server:
    print(server.url, flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def own() -> Iterator[PostgresServer]:
    """Run a server that tests may disturb, and leave running."""
    with server() as running:
        yield running


def rows(address: str, statement: str = "SELECT number FROM kept ORDER BY 1") -> list[int]:
    """Return what a statement finds."""
    with psycopg.connect(address, connect_timeout=30) as connection:
        return [number for (number,) in connection.execute(statement.encode())]


def of_data(directory: Path) -> list[psutil.Process]:
    """Return the processes that run on a directory and are not dead."""
    found = [one for one in psutil.process_iter(["cmdline", "status"]) if one.info["status"] != psutil.STATUS_ZOMBIE]
    return [one for one in found if str(directory) in " ".join(one.info["cmdline"] or ())]


def test_password_is_needed(own: PostgresServer) -> None:
    """Who has no password, or a wrong one, is refused; so is the superuser; our role is none."""
    for address in (
        own.url,
        own.url.replace("spip@", "spip:wrong@"),
        own.url_with_password.replace("spip:", "postgres:"),
    ):
        with pytest.raises(psycopg.OperationalError, match=r"password|pg_hba"):
            psycopg.connect(address, passfile="/dev/null")
    assert rows(own.url_with_password, "SELECT rolsuper::int FROM pg_roles WHERE rolname = current_user") == [0]


def test_password_lies_in_one_file(own: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """libpq finds the password in the file, which is closed to others; no process and no log shows it."""
    monkeypatch.setenv("PGPASSFILE", str(own.password_file))
    assert rows(own.url, "SELECT 7") == [7]
    assert stat.S_IMODE(own.password_file.stat().st_mode) == 0o600
    password = own.password_file.read_text("utf-8").rstrip("\n").rpartition(":")[2]
    assert len(password) >= 32
    assert password not in own.url
    processes = of_data(own.password_file.parent)
    assert processes
    shown = [" ".join([*one.cmdline(), *one.environ().values()]) for one in processes]
    assert not [text for text in shown if password in text]
    readable = [path for path in own.password_file.parent.iterdir() if path.is_file() and path != own.password_file]
    assert not [path for path in readable if password in path.read_text("utf-8")]


def test_verifier_is_scram(own: PostgresServer) -> None:
    """A password that the person's own programs set is kept as SCRAM's verifier."""
    assert rows(own.url_with_password, "SELECT (current_setting('password_encryption') = 'scram-sha-256')::int") == [1]


def test_commits_survive_kills_and_restarts(own: PostgresServer) -> None:
    """What was committed is there after SIGKILL of all processes, and after a restart; the address stays."""
    address = own.url_with_password
    with psycopg.connect(address) as connection:
        connection.execute("CREATE TABLE kept (number int)")
        connection.execute("INSERT INTO kept VALUES (1)")
        connection.commit()
        own.kill()
        assert not own.running
        own.start()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with psycopg.connect(address) as connection:
        connection.execute("INSERT INTO kept VALUES (2)")
    own.restart()
    assert own.url_with_password == address
    assert rows(address) == [1, 2]


def test_server_can_stand_still(own: PostgresServer) -> None:
    """A server that is paused accepts nobody until it goes on; then it answers as before."""
    own.pause()
    try:
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            psycopg.connect(own.url_with_password, connect_timeout=2)
    finally:
        own.go_on()
    assert rows(own.url_with_password, "SELECT 1") == [1]


def test_databases_are_of_one_test(own: PostgresServer) -> None:
    """A test's database is empty, others do not see it, and it goes with the test."""
    with databases(own) as one, databases(own) as other:
        with psycopg.connect(one) as connection:
            connection.execute("CREATE TABLE only_here (number int)")
        assert rows(other, "SELECT 1 FROM pg_tables WHERE tablename = 'only_here'") == []
    assert rows(own.url_with_password, "SELECT 1 FROM pg_database WHERE datname LIKE 'test%'") == []


def test_nothing_is_left_by_a_killed_owner() -> None:
    """The server ends when the process that started it is killed."""
    with reachable_directory() as top:
        command = [sys.executable, "-c", OWNER, str(top / "server")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
            assert owner.stdout
            assert owner.stdout.readline().startswith("postgresql://")
            assert len(of_data(top)) > 2
            owner.send_signal(signal.SIGKILL)
            owner.wait(30)
        assert eventually(lambda: not of_data(top / "server" / "data"))
        with PostgresServer(top / "server", durable=False) as again:
            assert rows(again.url_with_password, "SELECT 1") == [1]


def test_directories_of_others_are_refused(own: PostgresServer, tmp_path: Path) -> None:
    """A directory that holds something else, is in use, or cannot be one is named with the fix; nothing is written there."""
    (tmp_path / "thesis.tex").touch()
    cases = [
        (tmp_path, "is not empty"),
        (own.password_file.parent, "is used by process"),
        (tmp_path / "thesis.tex", "used"),
    ]
    for directory, message in cases:
        with pytest.raises(UsageProblem, match=message) as caught:
            PostgresServer(directory)
        assert caught.value.option == "--data"
        assert caught.value.fix
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_address_and_port_must_be_free(own: PostgresServer, tmp_path: Path) -> None:
    """A port that somebody has, an address of another machine and a name that nobody knows are told before anything is made."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        cases = [
            ("127.0.0.1", taken.getsockname()[1], "--port", "is taken"),
            ("192.0.2.1", 0, "--address", "no address of this machine"),
            ("no.such.host.invalid", 0, "--address", "nobody knows"),
        ]
        for address, port, option, message in cases:
            with pytest.raises(UsageProblem, match=message) as caught:
                PostgresServer(tmp_path / "new", address=address, port=port)
            assert caught.value.option == option
    assert not (tmp_path / "new").exists()


def test_broken_data_is_told_with_the_server_s_words() -> None:
    """A server that cannot start says why, and its directory can be used again."""
    with reachable_directory() as top:
        with PostgresServer(top / "server", durable=False):
            control = top / "server" / "data" / "global" / "pg_control"
        kept = control.read_bytes()
        control.write_bytes(b"nonsense")
        for _ in range(2):
            with (
                pytest.raises(HarnessProblem, match=r"ended at its start: .*pg_control"),
                PostgresServer(top / "server", durable=False),
            ):
                pass
        control.write_bytes(kept)
        with PostgresServer(top / "server", durable=False) as again:
            assert rows(again.url_with_password, "SELECT 1") == [1]


def test_password_is_new_when_its_file_is_gone() -> None:
    """Who removes the password's file gets another password at the next start; the old one is refused."""
    with reachable_directory() as top:
        with PostgresServer(top / "server", durable=False) as made:
            old = made.url_with_password
        made.password_file.unlink()
        port = int(old.rpartition(":")[2].partition("/")[0])
        with PostgresServer(top / "server", port=port, durable=False) as again:
            assert rows(again.url_with_password, "SELECT 1") == [1]
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(old)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_needs_a_directory_that_others_can_enter(tmp_path: Path) -> None:
    """As root, the server runs as another account; a directory that is closed to it is told with a fix."""
    tmp_path.chmod(0o700)
    with pytest.raises(UsageProblem, match=r"cannot enter .*as root, PostgreSQL runs as"):
        PostgresServer(tmp_path / "server")
