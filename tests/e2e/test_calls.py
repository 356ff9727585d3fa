"""What one more combination costs a warm session: system calls and messages are counted, and have bounds. No clock is read."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import MakeMachine
from tests.support.distributions import wheel
from tests.support.machine import HERE, Machine

FEW, MANY = 4, 24
CALLS = 340
"""System calls of all processes together. Measured: 276 at sandbox level 3."""
SENDING = ("sendto", "sendmsg")
MESSAGES = 3
"""What is sent over sockets. Measured: 2: a request to the fork server, and its answer."""
PROCESSES = 1.8
"""Processes and threads that are started; one in so many combinations is run cold as well, which takes another."""
STARTING = ("fork", "vfork", "clone", "clone3")
WARM = 3
"""Runs after which all is remembered, and all bytecode made."""


def strace(*command: object) -> list[str]:
    """Return the words that run a command and count the system calls of its processes."""
    return ["strace", "-f", "-qq", "-c", "-S", "calls", *map(str, command)]


def is_traceable() -> bool:
    """Return True if there is a strace, and it may trace."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run(strace("true"), capture_output=True, timeout=60, check=False).returncode == 0


def counted(path: Path) -> Counter[str]:
    """Read the table that strace wrote: per cent, seconds, microseconds a call, calls, perhaps errors, and a name."""
    rows = re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$", path.read_text("utf-8"), re.MULTILINE)
    return Counter({name: int(calls) for calls, name in rows})


@pytest.fixture(scope="module")
def one_more(make_machine: MakeMachine, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Return the calls that one more combination makes: those of many less those of a few, by name."""
    if not is_traceable():
        pytest.skip("strace is not there, or may not trace")
    machine = make_machine()
    for number in range(MANY):
        wheel(machine.files, "alpha", f"1.{number}", {"alpha.py": f"number = {number}\n"})
    for _ in range(WARM):
        run(machine, MANY)
    place = tmp_path_factory.mktemp("calls")
    found = {}
    for count in (FEW, MANY):
        output = place / f"{count}.txt"
        run(machine, count, *strace("-o", output))
        found[count] = counted(output)
    names = found[FEW] | found[MANY]
    return {name: (found[MANY][name] - found[FEW][name]) / (MANY - FEW) for name in names}


def run(machine: Machine, count: int, *before: str) -> None:
    """Run so many combinations with one worker, behind further words of a command."""
    options = ["--spip-matrix=alpha", f"--spip-versions={count}", "-n1"]
    session = machine.start(*options, program=(*before, HERE, "-m", "pytest"))
    done = machine.finish(session, timeout=300)  # who is traced takes longer
    assert done.status == 0, done.stdout + done.stderr
    assert list(done.outcomes.values()) == ["passed"] * count


def test_calls_have_a_bound(one_more: dict[str, float]) -> None:
    """A combination makes no more system calls than it did when somebody looked last."""
    total = one_more.pop("total")
    most = sorted(one_more.items(), key=lambda each: -each[1])[:12]
    assert total <= CALLS, most


def test_messages_have_a_bound(one_more: dict[str, float]) -> None:
    """Sockets carry a request and an answer, and little more."""
    assert sum(one_more.get(name, 0.0) for name in SENDING) <= MESSAGES


def test_processes_have_a_bound(one_more: dict[str, float]) -> None:
    """A combination is one fork; the thread that forks it is the other."""
    assert sum(one_more.get(name, 0.0) for name in STARTING) <= 1 + PROCESSES
