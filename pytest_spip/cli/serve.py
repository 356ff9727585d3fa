"""``pytest-spip serve``: runs a private PostgreSQL until it is interrupted."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import platformdirs

from pytest_spip.cli.runs import command_parser
from pytest_spip.hosts.server import PostgresServer

__all__ = ["parser", "serve"]

LOOK = 0.5
"""Seconds between two looks whether the server still runs."""


def serve(arguments: Sequence[str]) -> int:
    """Run a server until Ctrl-C or SIGTERM; return the exit status: 1 when it ended by itself."""
    given = parser().parse_args(arguments)
    ended = threading.Event()
    before = {number: signal.signal(number, lambda *_: ended.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with PostgresServer(given.data, address=given.address, port=given.port) as server:
            print(*_lines(server), sep="\n", flush=True)
            while server.running and not ended.wait(LOOK):
                pass
            if not ended.is_set():
                print(f"PostgreSQL ended: {server.complaint()}", flush=True)
                return 1
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    print("ended; the data stays, for the next time", flush=True)
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    made = command_parser(
        "serve", "A private PostgreSQL for the sessions of several hosts, with a password; Ctrl-C ends it."
    )
    what = "where it listens: an address of this machine, or 0.0.0.0 for all of them (127.0.0.1: this machine alone)"
    made.add_argument("--address", default="127.0.0.1", metavar="HOST", help=what)
    made.add_argument("--port", type=_port, default=0, metavar="N", help="the port (a free one)")
    what = "a directory for the data and the password, which is made, or is of an earlier time (%(default)s)"
    made.add_argument("--data", type=Path, default=_default_data(), metavar="DIR", help=what)
    return made


def _lines(server: PostgresServer) -> Iterator[str]:
    yield f"PostgreSQL serves {server.url}"
    yield "Sessions find the password in a file, which other hosts need a copy of (mode 0600):"
    yield f"export PGPASSFILE={shlex.quote(str(server.password_file))}"
    if server.account:
        yield f"You are root, so it runs as {server.account}."
    yield "Ctrl-C ends it."


def _default_data() -> Path:
    """Return where data lies by default. Root's home is closed to the account that the server has there."""
    if os.geteuid() == 0:
        return Path("/var/lib/pytest-spip/server")
    return platformdirs.user_state_path("pytest-spip") / "server"


def _port(text: str) -> int:
    if not text.isdecimal() or not 1024 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port that it may have; name one from 1024 to 65535")
    return int(text)
