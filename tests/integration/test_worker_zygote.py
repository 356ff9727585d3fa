"""Workers that are forks of the controller: what they inherit, and what is left when one of the processes dies."""

from __future__ import annotations

import contextlib
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
from tests.support.gates import Gate, assert_nothing_left, module, requiring
from tests.support.machine import Machine, eventually

SERVE = """
import fcntl, json, os, resource, signal, socket, subprocess, sys, time

def serve(name):
    told = {
        "name": name,
        "directory": os.getcwd(),
        "changed": os.environ.get("CHANGED"),
        "gone": os.environ.get("GONE"),
        "handlers": [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD, signal.SIGHUP)],
        "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "umask": os.umask(0o22),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "cpus": len(os.sched_getaffinity(0)),
        "loaded": "colorsys" in sys.modules,
        "traced": sys.gettrace() is not None,
        "line": sys.stdin.readline(),
    }
    sys.stdout.write(json.dumps(told))
    sys.stdout.flush()

from pytest_spip.session.worker_zygote import WorkerZygote, can_fork
"""
CHANGED = """
os.environ["GONE"] = "1"
signal.signal(signal.SIGUSR1, print)
sys.settrace(lambda *_: None)
zygote = WorkerZygote(serve, ("colorsys",))
sys.settrace(None)
os.environ["CHANGED"] = "2"
del os.environ["GONE"]
os.chdir("elsewhere")
os.umask(0o77)
resource.setrlimit(resource.RLIMIT_NOFILE, (200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])
signal.signal(signal.SIGHUP, signal.SIG_IGN)
os.kill(zygote._pid, signal.SIGTERM)  # as a service manager sends it to all
one = zygote.fork("gw3")
one.stdin.write(b"hello\\n")
one.stdin.flush()
print(one.stdout.read().decode())
one.wait(30)
zygote.close()
"""
DEAD = """
from pytest_spip.errors import HarnessProblem
zygote = WorkerZygote(serve, ())
os.kill(zygote._pid, signal.SIGKILL)
errors = []
for _ in range(2):
    try:
        zygote.fork("gw0")
    except HarnessProblem as error:
        errors.append(str(error))
print(json.dumps(errors))
zygote.close()
"""
INTERRUPTED = """
zygote = WorkerZygote(serve, ())
os.kill(zygote._pid, signal.SIGSTOP)
def interrupt(*_):
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, interrupt)
signal.setitimer(signal.ITIMER_REAL, 0.2)
before = set(os.listdir("/proc/self/fd"))
try:
    zygote.fork("gw0")
except KeyboardInterrupt:
    pass
held = set(os.listdir("/proc/self/fd")) - before
os.kill(zygote._pid, signal.SIGCONT)
children = "/proc/%d/task/%d/children" % (zygote._pid, zygote._pid)
until = time.monotonic() + 20
while open(children).read() and time.monotonic() < until:
    os.sched_yield()
print(json.dumps([len(held), open(children).read()]))
zygote.close()
"""
USED = """
def work(name):
    while time.process_time() < 0.3:
        pass
zygote = WorkerZygote(work, ())
def used():
    return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
before = used()
for name in ("gw0", "gw1"):
    zygote.fork(name).wait(30)
zygote.close()
print(json.dumps(used() - before > 0.5))
"""
HELD = """
lock = open("lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
helper = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
server = socket.create_server(("127.0.0.1", 0))
place = server.getsockname()
zygote = WorkerZygote(serve, ("colorsys",))
one = zygote.fork("gw0")
lock.close()
server.close()
helper.stdin.close()
with open("lock") as again:
    fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
print(json.dumps([helper.wait(30), socket.socket().connect_ex(place) != 0]))
zygote.close()
"""


def script(tmp_path: Path, text: str) -> Any:
    """Run a script of its own process, which has no threads as a test's has, and return what it printed."""
    command = [sys.executable, "-c", SERVE + text]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_worker_is_as_a_python_of_its_own(tmp_path: Path) -> None:
    """It inherits what a process would that the controller starts at that moment, and nothing else of it."""
    (tmp_path / "elsewhere").mkdir()
    assert script(tmp_path, CHANGED) == {
        "name": "gw3",
        "directory": str(tmp_path / "elsewhere"),
        "changed": "2",
        "gone": None,
        "handlers": [signal.SIG_DFL, signal.SIG_DFL, signal.SIG_DFL, signal.SIG_IGN],
        "interrupt": True,
        "umask": 0o77,
        "files": 200,
        "cpus": 1,
        "loaded": True,
        "traced": False,
        "line": "hello\n",
    }


def test_dead_zygote_forks_no_more(tmp_path: Path) -> None:
    """Who asks a zygote that was killed gets an error that says so, and is not made to wait again."""
    first, second = script(tmp_path, DEAD)
    assert first.startswith("no worker could be forked (")
    assert second == "the zygote of the workers does not answer"


def test_interrupt_leaves_no_worker(tmp_path: Path) -> None:
    """A worker whose user was interrupted before it knew of it ends, and none of its descriptors stays."""
    assert script(tmp_path, INTERRUPTED) == [0, ""]


def test_zygote_holds_nothing_of_the_controllers(tmp_path: Path) -> None:
    """What the controller closes is closed: a lock is free, a helper sees the end of its input, nobody listens any more."""
    assert script(tmp_path, HELD) == [0, True]


def test_what_workers_used_is_counted(tmp_path: Path) -> None:
    """Who measures a session by getrusage sees its workers."""
    assert script(tmp_path, USED) is True


def test_nobody_forks_without_a_stream(tmp_path: Path) -> None:
    """Where standard error is closed, its number would be that of a pipe."""
    assert script(tmp_path, "os.close(2)\nprint(json.dumps(can_fork()))") is False


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
    found = []
    for pid in machine.processes():
        with contextlib.suppress(psutil.NoSuchProcess):  # by now
            process = psutil.Process(pid)
            if process.name() == "spip-zygote":
                found.append(process)
    return found


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


def test_plugin_with_a_thread(machine: Machine, tmp_path: Path) -> None:
    """Where a plugin has threads, workers are processes of their own, as ever."""
    gate = Gate(tmp_path / "gate")
    module(machine, "blocked", gate.blocking)
    text = "import threading\nthreading.Thread(target=threading.Event().wait, args=(600,), daemon=True).start()\n"
    machine.project("project", {"threaded.py": text})
    session = machine.start(*requiring("blocked"), "-n1", "-p", "threaded")
    package, _ = gate.reached()
    found = zygotes(machine)
    gate.open()
    os.kill(package, signal.SIGKILL)  # it is tried again
    done = machine.finish(session)
    assert (done.status, set(done.outcomes.values())) == (0, {"passed"}), done.stdout + done.stderr
    assert found == []
