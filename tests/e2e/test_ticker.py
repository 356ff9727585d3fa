"""What a run says of itself on the terminal and in a file, in real sessions of pytest."""

from __future__ import annotations

import fcntl
import json
import os
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from tests.support.machine import eventually

# A session that ticks while its tests run; each test waits until a line more was told.
CONFTEST = """
import pathlib, pytest
from pytest_spip.common.machine import Machine
from pytest_spip.report.progress import Progress
from pytest_spip.hooks.progress import ProgressLine
from pytest_spip.hooks.stats import StatsReporter

class Run:
    progress = Progress(planned=2, provisioned=2)

class Looks(Machine):
    count = 0

    def look(self):
        self.count += 1
        return super().look()

@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session):
    config = session.config
    session.machine = Looks()
    session.tickers = [
        StatsReporter(config, 0.1, pathlib.Path("out.jsonl"), lambda: Run.progress, lambda: (1, 0), session.machine)
    ]
    session.tickers[0].start()
    if config.getoption("verbose") == 0:
        session.tickers.append(ProgressLine(config))
        session.tickers[1].start(Run)

def pytest_runtest_logreport(report):
    Run.progress.done += report.when == "call"

@pytest.fixture
def told(request):
    machine = request.session.machine
    return lambda: machine.count

def pytest_sessionfinish(session):
    for ticker in session.tickers:
        ticker.stop()
"""
TESTS = """
import time, pytest

@pytest.mark.parametrize("number", range(2))
def test_it(number, told, capfd):
    before, until = told(), time.monotonic() + 20
    while told() < before + 2 and time.monotonic() < until:
        time.sleep(0.01)
    assert told() > before
    assert capfd.readouterr() == ("", "")
"""


def make_project(path: Path) -> Path:
    """Make a project whose session ticks."""
    (path / "pytest.ini").write_text("[pytest]\n")
    (path / "conftest.py").write_text(CONFTEST)
    (path / "test_slow.py").write_text(TESTS)
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make a project of the test's own."""
    return make_project(tmp_path)


@pytest.fixture(scope="module")
def dots(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], list[dict[str, Any]]]:
    """Return what a session with dots wrote: lines on the terminal, and objects in a file that had one before."""
    path = make_project(tmp_path_factory.mktemp("dots"))
    (path / "out.jsonl").write_text('{"from": "before"}\n')
    lines = session(path)
    return lines, [json.loads(line) for line in (path / "out.jsonl").read_text().splitlines()]


def session(project: Path, *arguments: str) -> list[str]:
    """Run the project's session and return the lines that it wrote."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def check(lines: list[str]) -> None:
    """See that lines of state are whole, and stand on lines of their own."""
    lines = [line for line in lines if "done," in line]
    assert len(lines) >= 2
    assert all(line.startswith("spip: ") and line.endswith(" 0 failed, 0 errors") for line in lines)
    assert all("/2 done, " in line and ", 1 busy, 0 idle, CPU " in line for line in lines)


def test_beside_dots(dots: tuple[list[str], list[dict[str, Any]]]) -> None:
    """A line of state does not stand behind dots, and is no part of what an item is said to have printed."""
    check(dots[0])


def test_beside_names(project: Path) -> None:
    """With -v a line of state does not stand behind the name of a test."""
    check(session(project, "-v"))


def test_quiet(project: Path) -> None:
    """With -q the terminal stays quiet, and the file gets its lines all the same."""
    assert not [line for line in session(project, "-q") if "spip" in line]
    assert len((project / "out.jsonl").read_text().splitlines()) >= 2


def test_file(dots: tuple[list[str], list[dict[str, Any]]]) -> None:
    """The file gets one JSON object a line, is appended to, and ends with the state at the end."""
    first, *lines = dots[1]
    assert first == {"from": "before"}
    done = [line["done"] for line in lines]
    assert done == sorted(done)
    assert (done[-1], lines[-1]["planned"], lines[-1]["busy"], lines[-1]["errors"]) == (2, 2, 1, 0)
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)
    assert all(line["memory_used"] > 0 and 0 <= line["cpu"] <= 1 for line in lines)


def test_live_view(project: Path) -> None:
    """On a terminal lines of state go above the live view, which is drawn again below them, and its last line stays."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist"]
    environment = {**os.environ, "TERM": "xterm"}
    process = subprocess.Popen(command, cwd=project, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = bytearray()
    assert eventually(lambda: not read(ours, shown), 60)
    os.close(ours)
    assert process.wait(10) == 0, shown
    assert b"  [####################....................]  50%" in shown
    lines = screen(shown.decode())
    states = [line for line in lines if "of late" in line]
    assert len(states) >= 2
    assert all(line.startswith("spip: ") and line.rstrip().endswith(" 0 errors") for line in states)
    assert len([line for line in lines if line.startswith("spip: 2/2 done, ") and "of late" not in line]) == 1
    assert not [line for line in lines if line.startswith("  [")]


def screen(written: str) -> list[str]:
    """Return the lines that a terminal has in the end, as long as it need not scroll or wrap."""
    lines, row = [""], 0
    for text in re.findall(r"\x1b\[[\d;]*[a-zA-Z]|\r|\n|[^\x1b\r\n]+", written):
        if text.startswith("\x1b"):
            row -= int(text[2:-1]) if text.endswith("A") else 0
            lines = [*lines[:row], ""] if text.endswith("J") else lines
        elif text == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif text != "\r":
            lines[row] += text
    return lines


def read(terminal: int, shown: bytearray) -> bool:
    """Take in what a terminal shows; tell whether anybody still writes."""
    try:
        shown += os.read(terminal, 1 << 16)
    except OSError:  # the last writer is gone
        return False
    return True


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
def test_full_disk(project: Path) -> None:
    """A file that takes no more lines costs the lines, and is told of once."""
    (project / "out.jsonl").symlink_to("/dev/full")
    lines = session(project)
    gone = [line for line in lines if "--spip-stats" in line]
    assert gone == ["spip: --spip-stats: the file gets no more lines (No space left on device)"]
    assert len([line for line in lines if "of late" in line]) >= 2
