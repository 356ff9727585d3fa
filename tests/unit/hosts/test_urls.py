"""Addresses of databases: what is accepted, and what is never shown."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from pytest_spip.errors import UsageProblem
from pytest_spip.hosts.urls import DatabaseUrl, parse_url

BASE = Path("/base")
SECRET = "hunter2"


def parsed(text: str) -> DatabaseUrl:
    return parse_url("--spip-queue", text, BASE)


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("postgresql://me:hunter2@host:5433/db", "postgresql://me@host:5433/db"),
        ("postgres://:hunter2@host/db", "postgresql://host/db"),
        ("PostgreSQL+psycopg://me:hunter2@host/db", "postgresql://me@host/db"),
        ("postgresql://me@[::1]:5433/db?password=hunter2", "postgresql://me@[::1]:5433/db"),
        ("postgresql://me@host/db?sslPASSWORD=hunter2&sslmode=require", "postgresql://me@host/db"),
        ("postgresql:///db?host=/run/postgresql", "postgresql:///db"),
        ("postgresql://host?dbname=db", "postgresql://host"),
    ],
)
def test_server(text: str, public: str) -> None:
    """What is shown of a server's address has neither password nor parameters; the rest goes to libpq as it was given."""
    url = parsed(text)
    assert (url.engine, url.public, url.path) == ("postgresql", public, None)
    assert url.full == "postgresql:" + text.partition(":")[2]
    assert SECRET not in f"{url} {url!r} {url.public}"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("sqlite:///file.db", "/base/file.db"),
        ("sqlite:////tmp/a%20b/file.db", "/tmp/a b/file.db"),
        ("sqlite:///a%3Fb?mode=ro", "/base/a?b"),
    ],
)
def test_file(text: str, path: str) -> None:
    """A file's address is relative to where it is given; four slashes are an absolute one."""
    url = parsed(text)
    assert (url.engine, url.public, url.path) == ("sqlite", f"sqlite:///{path}", Path(path))


def test_file_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tilde is the home directory."""
    monkeypatch.setenv("HOME", "/home/me")
    assert parsed("sqlite:///~/file.db").path == Path("/home/me/file.db")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no address of a database"),
        ("host/db", "no address of a database"),
        ("mysql://me:hunter2@host/db", "mysql:// is not supported"),
        ("postgresql://me:hunter2@host", "the address names no database"),
        ("postgresql://me:hunter2@host/", "the address names no database"),
        ("postgresql://me:hunter2@host:port/db", "no address of a database"),
        ("postgresql://me:hunter2@host:99999/db", "no address of a database"),
        ("postgresql://me:hunter2@[::1/db", "no address of a database"),
        ("postgresql://me:hun ter2@host/db", "no address of a database"),
        ("postgresql://me:hunter2\n@host/db", "no address of a database"),
        ("postgresql://me:a@hunter2@host/db", "%40"),
        ("postgresql://me:1/hunter2@host/db", "%2F"),
        ("postgresql://me:hunter2/1@host/db", "no address of a database"),
        ("postgresql://me:1?hunter2@host/db", "%3F"),
        ("postgresql://me:1/db#hunter2@host/db", "%23"),
        ("postgresql://host/db?hunter2", "has no value"),
        ("sqlite://file.db", "the address names no file"),
        ("sqlite:///", "the address names no file"),
        ("sqlite:///:memory:", "the address names no file"),
    ],
)
def test_refused(text: str, message: str) -> None:
    """What cannot be used is refused by a message that says what to write; no password is in it, nor in what led to it."""
    with pytest.raises(UsageProblem) as caught:
        parsed(text)
    assert message in str(caught.value)
    assert "postgresql://USER@HOST/DATABASE" in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert SECRET not in "".join(traceback.format_exception(caught.value, chain=True)).replace(f"{text!r}", "")


def test_hide() -> None:
    """A driver's message is shown without passwords, as they stand in the address and as they are meant."""
    url = parsed("postgresql://me:p%2Fss%40@host/db?password=o%2Fther&options=-c%20x")
    assert url.hide("p/ss@, p%2Fss%40; o/ther, o%2Fther; -c x") == "***, ***; ***, ***; -c x"
    assert parsed("postgresql://me@host/db").hide("me@host") == "me@host"
