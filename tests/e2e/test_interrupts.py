"""SIGTERM ends a session as Ctrl-C does, in whatever phase; a second signal ends it at once; other people's handlers stay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.support.gates import Gate, assert_nothing_left, ledger, module, passed, requiring, waiting_sdist
from tests.support.index import Fault
from tests.support.machine import LABEL, Done, Machine, eventually

SECONDS = 15
"""Five on an idle machine; these tests share theirs with others."""


GOOD = ("good", "better", "best", "excellent")


@pytest.fixture
def gate(machine: Machine) -> Gate:
    """Serve packages that are good, one whose import stops at the gate, and one whose build does."""
    gate = Gate(machine.root / "gate")
    for name in GOOD:
        module(machine, name)
    module(machine, "blocked", gate.blocking)
    waiting_sdist(machine, "held", gate.blocking)
    return gate


def ended(machine: Machine, session: subprocess.Popen[str]) -> Done:
    """Wait for a session that was told to end: in time, with pytest's status of an interrupt, and without a traceback."""
    told = time.monotonic()
    done = machine.finish(session)
    assert time.monotonic() - told < SECONDS
    assert done.status == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert_nothing_left(machine)
    return done


def test_while_planning(machine: Machine, gate: Gate) -> None:
    """SIGTERM while an index is slow to answer ends the session, and leaves no run."""
    machine.index.inject("/simple/good/", Fault(stall=60))
    session = machine.start(*requiring("good"), "-n2")
    assert eventually(lambda: machine.index.requests != [])
    session.send_signal(signal.SIGTERM)
    done = ended(machine, session)
    assert "! KeyboardInterrupt: SIGTERM !" in done.stdout
    assert not (machine.project_path("project") / ".spip").exists()


@pytest.mark.parametrize("everybody", [False, True], ids=["one", "all"])
@pytest.mark.parametrize("workers", ["-n0", "-n2"])
@pytest.mark.parametrize("stopped", ["held", "blocked"])
def test_while_provisioning_and_running(
    machine: Machine, gate: Gate, stopped: str, workers: str, everybody: bool
) -> None:
    """SIGTERM, to the controller or to all, ends with summary and ledger; nothing counts as lost, and the run can go on."""
    session = machine.start(*requiring(*GOOD, stopped), workers)
    gate.reached()
    assert eventually(lambda: "passed" in ledger(machine).values())
    (os.killpg if everybody else os.kill)(session.pid, signal.SIGTERM)
    done = ended(machine, session)
    assert "KeyboardInterrupt: SIGTERM" in done.stdout
    assert " not run in " in done.stdout
    assert done.outcomes == ledger(machine)
    assert set(done.outcomes.values()) == {"passed"}
    gate.open()
    again = machine.run("--spip-resume", "-n0", bare=True)
    assert (again.status, again.outcomes) == (0, passed(*GOOD, stopped))


SLOW_REPORT = """
import os, time, pytest
@pytest.hookimpl(tryfirst=True)
def pytest_spip_report(kind):
    if kind == "json":
        with open({fifo!r}, "w") as told:
            told.write("0 0\\n")
        while os.path.exists({fifo!r}):
            time.sleep(0.02)
"""


@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_while_reporting(machine: Machine, gate: Gate, workers: str) -> None:
    """SIGTERM while reports are written waits until they are, and still tells that the session was interrupted."""
    machine.project("project", {"conftest.py": SLOW_REPORT.format(fifo=str(gate.path))})
    session = machine.start(*requiring("good"), workers)
    gate.reached()
    session.send_signal(signal.SIGTERM)
    gate.open()
    done = ended(machine, session)
    assert done.outcomes == ledger(machine) == {f"good[1.0-{LABEL}]": "passed"}
    assert "spip: 1 combination: 1 passed in" in done.stdout


@pytest.mark.parametrize("numbers", [(signal.SIGINT, signal.SIGINT), (signal.SIGINT, signal.SIGTERM)], ids=str)
def test_second_signal(machine: Machine, gate: Gate, numbers: tuple[signal.Signals, signal.Signals]) -> None:
    """A second signal ends at once a session that will not end; verdicts are safe, and nothing is left behind."""
    ending = Gate(machine.root / "ending")
    hook = "import pytest\n@pytest.hookimpl(tryfirst=True)\ndef pytest_sessionfinish():\n    while True: block()\n"
    source = ending.blocking.removesuffix("block()\n") + "import os\nif 'PYTEST_XDIST_WORKER' not in os.environ:\n    "
    machine.project("project", {"conftest.py": "# of spip\n" + source + hook.replace("\n", "\n    ").rstrip() + "\n"})
    session = machine.start(*requiring(*GOOD, "blocked"), "-n2")
    gate.reached()
    assert eventually(lambda: "passed" in ledger(machine).values())
    session.send_signal(numbers[0])
    pressed = time.monotonic()
    ending.reached()
    assert eventually(lambda: time.monotonic() - pressed > 0.5), "what follows at once is an echo"
    session.send_signal(numbers[1])
    done = machine.finish(session, timeout=SECONDS)
    assert done.status == 2
    assert_nothing_left(machine)
    assert set(ledger(machine).values()) == {"passed"}


THEIRS = """
# of spip
import signal
def mine(number, frame):
    open("theirs", "w").close()
signal.signal(signal.SIGTERM, mine)
def pytest_sessionfinish():
    print("still", signal.getsignal(signal.SIGTERM) is mine)
"""


def test_handlers_of_others_stay(machine: Machine, gate: Gate) -> None:
    """A handler that a conftest file installed is not replaced, also where a signal comes."""
    machine.project("project", {"conftest.py": THEIRS})
    session = machine.start(*requiring("good", "blocked"), "-n0", "-s")
    gate.reached()
    session.send_signal(signal.SIGTERM)
    assert eventually((machine.project_path("project") / "theirs").exists)
    session.send_signal(signal.SIGINT)
    done = ended(machine, session)
    assert "still True" in done.stdout
    assert "KeyboardInterrupt: SIGINT" in done.stdout


RESTORED = """
import signal, sys, pytest
numbers = signal.SIGINT, signal.SIGTERM
class Look:
    def pytest_collection(self):
        print("ours", [signal.getsignal(number).__qualname__ for number in numbers])
before = [signal.getsignal(number) for number in numbers]
status = pytest.main(sys.argv[1:], [Look()])
print("restored", [signal.getsignal(number) for number in numbers] == before)
sys.exit(status)
"""


def test_handlers_are_restored(machine: Machine, gate: Gate) -> None:
    """When the session is over, signals do what they did before."""
    done = machine.run(*requiring("good"), "--collect-only", program=(sys.executable, "-c", RESTORED))
    assert done.status == 0
    assert "ours ['Interrupts._handle', 'Interrupts._handle']" in done.stdout
    assert "restored True" in done.stdout
