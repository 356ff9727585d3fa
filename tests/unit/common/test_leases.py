"""Leases of running sessions, and the gate between use and removal."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pytest_spip.common.leases import Gate, Lease, oldest_lease

HOLDER = """
import sys
from pathlib import Path
from pytest_spip.common.leases import Gate, Lease

lease = Lease(Path(sys.argv[1]), Gate(sys.argv[2]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """Return a gate."""
    return Gate(f"{tmp_path}/gate.lock")


def test_users_pass_together_and_a_remover_alone(gate: Gate) -> None:
    """Users do not wait for each other, threads of one process neither; who removes waits for them all."""
    passed = threading.Event()

    def remove() -> None:
        with gate.exclusive():
            passed.set()

    thread = threading.Thread(target=remove)
    with gate.shared():
        with gate.shared():
            thread.start()
        assert not passed.wait(0.1), "the other user still holds it"
    thread.join(10)
    assert passed.is_set()


def test_users_wait_for_a_remover(gate: Gate) -> None:
    """While somebody removes, no use begins."""
    passed = threading.Event()

    def use() -> None:
        with gate.shared():
            passed.set()

    thread = threading.Thread(target=use)
    with gate.exclusive():
        thread.start()
        assert not passed.wait(0.1)
    thread.join(10)
    assert passed.is_set()


def test_gate_of_no_directory(tmp_path: Path) -> None:
    """Where nothing is, a user passes, and a remover has nothing to do."""
    gate = Gate(f"{tmp_path}/none/gate.lock")
    with gate.shared():
        pass
    with pytest.raises(FileNotFoundError), gate.exclusive():
        pass


def test_oldest_lease(tmp_path: Path, gate: Gate) -> None:
    """The oldest session counts that still runs; an ended one does not, and ends more than once."""
    assert oldest_lease(tmp_path / "sessions") is None
    began = time.time_ns()
    first, second = (Lease(tmp_path / "sessions", gate) for _ in range(2))
    oldest = oldest_lease(tmp_path / "sessions")
    assert oldest is not None
    assert began <= oldest <= time.time_ns()
    first.release()
    first.release()
    later = oldest_lease(tmp_path / "sessions")
    assert later is not None
    assert later > oldest
    second.release()
    assert oldest_lease(tmp_path / "sessions") is None
    assert list((tmp_path / "sessions").iterdir()) == []


def test_killed_session(tmp_path: Path, gate: Gate) -> None:
    """The lease of a killed process is over, and its file goes."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "sessions"), str(tmp_path / "gate.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        with gate.exclusive():
            assert oldest_lease(tmp_path / "sessions") is not None
        process.kill()
        process.wait(30)
    assert len(list((tmp_path / "sessions").iterdir())) == 1
    assert oldest_lease(tmp_path / "sessions") is None
    assert list((tmp_path / "sessions").iterdir()) == []
