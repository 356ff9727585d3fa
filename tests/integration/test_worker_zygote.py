"""Workers that are forks of the controller: what they inherit, and what is left when one of the processes dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil

from pytest_spip.session.worker_zygote import can_fork
from tests.conftest import MakeMachine
from tests.support.distributions import wheel
from tests.support.gates import Gate, assert_nothing_left, module, requiring
from tests.support.machine import Machine, eventually

SERVE = """
import json, os, signal, sys

def serve(name):
    told = {
        "name": name,
        "directory": os.getcwd(),
        "changed": os.environ.get("CHANGED"),
        "gone": os.environ.get("GONE"),
        "default": [signal.getsignal(one) == signal.SIG_DFL for one in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)],
        "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "loaded": "colorsys" in sys.modules,
        "traced": sys.gettrace() is not None,
        "line": sys.stdin.readline(),
    }
    sys.stdout.write(json.dumps(told))
    sys.stdout.flush()

from pytest_spip.session.worker_zygote import WorkerZygote
os.environ["GONE"] = "1"
sys.settrace(lambda *_: None)
zygote = WorkerZygote(serve, ("colorsys",))
"""


def script(tmp_path: Path, text: str) -> Any:
    """Run a script of its own process, which has no threads as a test's has, and return what it printed."""
    command = [sys.executable, "-c", SERVE + text]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_worker_is_as_a_python_of_its_own(tmp_path: Path) -> None:
    """It has the environment and directory of the moment, streams of its own, default signals, and nobody who traces it."""
    (tmp_path / "elsewhere").mkdir()
    told = script(
        tmp_path,
        """
sys.settrace(None)
os.environ["CHANGED"] = "2"
del os.environ["GONE"]
os.chdir("elsewhere")
os.kill(zygote._pid, signal.SIGTERM)  # as a service manager sends it to all
one = zygote.fork("gw3")
one.stdin.write(b"hello\\n")
one.stdin.flush()
print(one.stdout.read().decode())
one.wait(30)
zygote.close()
""",
    )
    assert told == {
        "name": "gw3",
        "directory": str(tmp_path / "elsewhere"),
        "changed": "2",
        "gone": None,
        "default": [True, True, True],
        "interrupt": True,
        "loaded": True,
        "traced": False,
        "line": "hello\n",
    }


def test_dead_zygote_forks_no_more(tmp_path: Path) -> None:
    """Who asks a zygote that was killed gets an error that says so."""
    told = script(
        tmp_path,
        """
from pytest_spip.errors import HarnessProblem
os.kill(zygote._pid, signal.SIGKILL)
try:
    zygote.fork("gw0")
except HarnessProblem as error:
    print(json.dumps(str(error)))
zygote.close()
""",
    )
    assert told.startswith("no worker could be forked (")


def test_nobody_forks_a_process_with_threads() -> None:
    """A thread's locks would be held for ever in the fork."""
    ready = threading.Event()
    thread = threading.Thread(target=ready.wait, args=(30,))
    thread.start()
    assert not can_fork()
    ready.set()
    thread.join(30)


def zygotes(machine: Machine) -> list[psutil.Process]:
    """Return the zygotes of workers that live."""
    return [one for one in map(psutil.Process, machine.processes()) if one.name() == "spip-zygote"]


def test_session_outlives_its_zygote(machine: Machine, tmp_path: Path) -> None:
    """When the zygote is killed, and its workers with it, others take over; no verdict is lost, and nothing stays."""
    gate = Gate(tmp_path / "gate")
    module(machine, "blocked", gate.blocking)
    for name in ("good", "late"):
        module(machine, name)
    session = machine.start(*requiring("good", "blocked", "late"), "-n2")
    package, _ = gate.reached()
    gate.open()
    (zygote,) = zygotes(machine)
    os.kill(zygote.pid, signal.SIGKILL)
    assert eventually(lambda: package not in machine.processes())
    done = machine.finish(session)
    assert set(done.outcomes.values()) == {"passed"}, done.stdout
    assert len(done.outcomes) == 3
    assert_nothing_left(machine)


def test_plugin_with_a_thread(make_machine: MakeMachine) -> None:
    """Where a plugin has threads, workers are processes of their own, as ever."""
    machine = make_machine()
    wheel(machine.files, "alpha", "1", {"alpha.py": ""})
    text = "import threading\nthreading.Thread(target=threading.Event().wait, args=(600,), daemon=True).start()\n"
    machine.project("project", {"conftest.py": text})
    done = machine.run("--spip-matrix=alpha", "-n1")
    assert (done.status, set(done.outcomes.values())) == (0, {"passed"}), done.stdout + done.stderr
