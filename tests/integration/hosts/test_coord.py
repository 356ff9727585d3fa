"""The command ``pytest-spip coord``, on each engine."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from pytest_spip import cli
from pytest_spip.hosts.record_kinds import Kind

Coord = Callable[..., tuple[int, Any]]


@pytest.fixture
def coord(database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Coord:
    """Return a function that runs the command, with lines of input, and returns its status and the object that it printed."""

    def run(action: str, *arguments: str, lines: tuple[object, ...] = ()) -> tuple[int, Any]:
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{json.dumps(line)}\n" for line in lines)))
        status = cli.main(["coord", action, database_url, *arguments, "--json"])
        printed = capsys.readouterr()
        assert len(printed.out.splitlines() + printed.err.splitlines()) == 1
        return status, json.loads(printed.out) if printed.out else printed.err

    return run


def test_push_and_pull(coord: Coord) -> None:
    """Lines of JSON become records; a pull prints them, of some kinds and behind a cursor, with the next cursor."""
    lines = [{"kind": kind, "key": f"{n}", "body": {"on": []}} for n in range(3) for kind in Kind]
    assert coord("push", "--agent=a", lines=lines) == (0, {"inserted": 21, "updated": 0, "skipped": 0})
    again = [{"kind": "task", "key": "0", "body": {"on": []}, "agent": "a"}, {"kind": "task", "key": "1", "ttl": None}]
    assert coord("push", "--agent=b", lines=again) == (0, {"inserted": 0, "updated": 1, "skipped": 1})
    status, page = coord("pull", "--kind=task", "--kind=claim", "--limit=4")
    assert status == 0
    assert [(one["kind"], one["key"]) for one in page["records"]] == [
        ("task", "0"),
        ("claim", "0"),
        ("claim", "1"),
        ("task", "2"),
    ]
    assert not page["last"]
    _, rest = coord("pull", "--kind=task", "--kind=claim", f"--cursor={page['cursor']}")
    assert [(one["key"], one["agent"], one["body"]) for one in rest["records"]] == [
        ("2", "a", {"on": []}),
        ("1", "b", {}),
    ]
    assert rest["last"]
    assert set(rest["records"][0]) == {"seq", "kind", "key", "agent", "expires_at", "deleted", "body"}
    assert coord("pull", "--run=other")[1] == {"records": [], "cursor": 0, "last": True}


def test_reserve_release_and_collect(coord: Coord) -> None:
    """Status 1 says that another agent holds it, and who; or that there is nothing to release."""
    status, found = coord("reserve", "sdist", "--agent=a", "--ttl=600", '--body={"why": "build"}')
    assert (status, found["reserved"], found["agent"], found["body"]) == (0, True, "a", {"why": "build"})
    status, other = coord("reserve", "sdist", "--agent=b")
    assert (status, other) == (1, {**found, "reserved": False})
    assert coord("active") == (0, {"active": [{name: found[name] for name in ("key", "agent", "until", "body")}]})
    assert coord("release", "sdist", "--agent=b") == (1, {"released": False})
    assert coord("release", "sdist", "--agent=a") == (0, {"released": True})
    assert coord("active") == (0, {"active": []})
    gone = {"reservation": 1, "release": 1}
    assert coord("gc") == (0, {"dry_run": False, "removed": {}})
    assert coord("gc", "--grace=0", "--dry-run") == (0, {"dry_run": True, "removed": gone})
    assert coord("gc", "--grace=0") == (0, {"dry_run": False, "removed": gone})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("text", "-:2: no record: no object"),
        ({"key": "a"}, "-:2: no record: its kind is missing"),
        ({"kind": "task", "key": 1}, "-:2: no record: its key is missing or of another type"),
        ({"kind": "task", "key": "a", "body": []}, "its body is missing or of another type"),
        ({"kind": "task", "key": "a", "ttl": True}, "its ttl is missing or of another type"),
        ({"kind": "task", "key": "a", "id": 1}, "'id' is none of kind, key, body, ttl, agent"),
        ({"kind": "wish", "key": "a"}, "there is no such kind of record"),
        ({"kind": "task", "key": "a", "body": {"text": "x" * 60_000}}, "51200 are allowed"),
        ({"kind": "task", "key": "\ud800"}, "its key is no name"),
        ({"kind": "dependency", "key": "a", "body": {"on": ["a"]}}, "would depend on itself: a -> a"),
    ],
)
def test_bad_lines(coord: Coord, line: object, message: str) -> None:
    """A line that is no record is told in one line, with status 4, and nothing of its batch is written."""
    status, error = coord("push", lines=({"kind": "task", "key": "good"}, line))
    assert (status, message in error) == (4, True), error
    assert coord("pull")[1]["records"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gc", "--grace=-1"], "grace"),
        (["reserve", "thing", "--ttl=nan"], "ttl"),
        (["reserve", ""], "its key is no name"),
        (["pull", "--limit=0"], "ask for one at least"),
        (["push", "/nonexistent/file"], "cannot read /nonexistent/file"),
        (["active", f"--run={'r' * 600}"], "its name is no name"),
    ],
)
def test_bad_arguments(coord: Coord, arguments: list[str], message: str) -> None:
    """What cannot be done is one line, and status 4."""
    status, error = coord(*arguments)
    assert (status, message in error) == (4, True), error


@pytest.mark.parametrize("arguments", [["--cursor=-1"], ["--cursor=x"], ["--kind=wish"], ["--limit=1e3"]])
def test_arguments_that_cannot_be_read(coord: Coord, arguments: list[str]) -> None:
    """An argument of the wrong form ends the command with status 2."""
    with pytest.raises(SystemExit) as caught:
        coord("pull", *arguments)
    assert caught.value.code == 2


def test_lines_for_a_person(database_url: str) -> None:
    """As a program, with a pipe: without --json each record is a line, and the rest one more; odd bytes are told."""
    command = [sys.executable, "-m", "pytest_spip.cli", "coord"]

    def run(action: str, text: bytes = b"") -> tuple[int, str, str]:
        done = subprocess.run(
            [*command, action, database_url], input=text, capture_output=True, check=False, timeout=60
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    assert run("push", '\n{"kind": "task", "key": "é"}\n'.encode()) == (0, "inserted 1, updated 0, skipped 0\n", "")
    status, printed, _ = run("pull")
    assert status == 0
    assert json.loads(printed.splitlines()[0])["key"] == "é"
    assert printed.splitlines()[1:] == ["cursor 1, last true"]
    status, printed, error = run("push", b'{"kind": "task", "key": "\xff"}\n')
    assert (status, printed) == (4, "")
    assert len(error.splitlines()) == 1
