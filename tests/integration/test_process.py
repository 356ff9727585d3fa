"""One child process: what it is given, what is taken from it, and that nothing of it lives on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pytest_spip.run.alone import ALONE
from pytest_spip.run.process import KEPT, LIFELINE, RESULT, RESULT_LIMIT, Ended, run
from tests.support.machine import eventually
from tests.support.rooms import alive

PYTHON = (sys.executable, "-I", "-S", "-c")

DAEMON = """
import os, signal, sys, time
def daemon(session):
    if os.fork() == 0:
        if session:
            os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork() == 0:
            with open("pids", "a") as pids:
                print(os.getpid(), file=pids)
            if session:
                os.closerange(0, 256)
        time.sleep(600)
daemon(False)
daemon(True)
while not os.path.exists("pids") or len(open("pids").read().split()) < 2:
    time.sleep(0.01)
with open("pids", "a") as pids:
    print(os.getpid(), file=pids)
"""


def run_python(cwd: Path, code: str, *words: str, timeout: float = 60, limit: int = 1 << 20) -> Ended:
    """Run code in a child."""
    return run(
        [*PYTHON, textwrap.dedent(code), *words],
        environment={"PWD": str(cwd), "PATH": os.defpath},
        timeout=timeout,
        output_limit=limit,
    )


def pids(cwd: Path) -> list[int]:
    """Return the processes that a child told of."""
    return [int(word) for word in (cwd / "pids").read_text().split()]


def children() -> set[int]:
    """Return the children of this process, zombies included."""
    tasks = Path("/proc/self/task").iterdir()
    return {int(pid) for task in tasks for pid in (task / "children").read_text().split()}


def test_output_of_both_streams_is_captured(tmp_path: Path) -> None:
    """Standard output and error end in one text, in the order in which they were written."""
    ended = run_python(tmp_path, "import os; os.write(1, b'one\\n'); os.write(2, b'two\\r\\n'); os.write(1, b'three')")
    assert (ended.status, ended.cut, ended.output) == (0, "", "one\ntwo\nthree")


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGTERM, signal.SIGKILL])
def test_signal_is_a_negative_status(tmp_path: Path, number: int) -> None:
    """A child that a signal killed has its negative number for a status."""
    assert run_python(tmp_path, f"import os; os.kill(os.getpid(), {number})").status == -number


def test_exit_status_and_result_come_back(tmp_path: Path) -> None:
    """What is written to the result's descriptor comes back, whatever the exit status."""
    ended = run_python(tmp_path, "import os, sys; os.write(int(sys.argv[1]), b'a\\0b'); os._exit(3)", RESULT)
    assert (ended.status, ended.result, ended.output) == (3, b"a\0b", "")


def test_use_of_the_machine_is_measured(tmp_path: Path) -> None:
    """CPU time and peak memory of the child are known when it has ended."""
    ended = run_python(tmp_path, "data = bytes(range(256)) * (1 << 18); sum(range(1 << 20))")
    assert ended.seconds > 0
    assert ended.cpu_seconds > 0
    assert ended.peak_rss > 64 << 20


def test_child_gets_nothing_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child has the given variables, its directory, an empty input, a session, two descriptors, and nothing else."""
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    held = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(held, True)
    code = """
        import json, os, sys
        files = {int(name) for name in os.listdir("/proc/self/fd")}
        print(json.dumps({
            "variables": sorted(os.environ), "cwd": os.getcwd(), "input": sys.stdin.read(), "stdin": os.readlink("/proc/self/fd/0"),
            "leads": os.getsid(0) == os.getpid(), "files": len(files - {0, 1, 2, int(sys.argv[1]), int(sys.argv[2])}),
        }))
    """
    told = json.loads(run_python(tmp_path, code, RESULT, LIFELINE).output)
    os.close(held)
    assert told.pop("variables") in (
        ["PATH", "PWD"],
        ["LC_CTYPE", "PATH", "PWD"],
    )  # Python's own, where there is no locale
    listing = 1
    assert told == {"cwd": str(tmp_path), "input": "", "stdin": os.devnull, "leads": True, "files": listing}


@pytest.mark.parametrize(
    ("command", "cwd"), [("/nowhere/python", "."), (sys.executable, "/nowhere")], ids=["program", "directory"]
)
def test_child_that_cannot_start_leaks_nothing(tmp_path: Path, command: str, cwd: str) -> None:
    """A command that cannot be started is an ``OSError``, and every pipe is closed."""
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError):
        run([command], environment={"PWD": str(tmp_path / cwd)}, timeout=60, output_limit=1)
    assert os.listdir("/proc/self/fd") == before


def test_many_children_leave_neither_descriptors_nor_zombies(tmp_path: Path) -> None:
    """After 200 children, this process has the descriptors and the children that it had before."""
    before = os.listdir("/proc/self/fd"), children()
    for _ in range(200):
        run(["/bin/true"], environment={"PWD": str(tmp_path)}, timeout=60, output_limit=1)
    assert (os.listdir("/proc/self/fd"), children()) == before


# -- limits -------------------------------------------------------------------------------------------------------------


def test_time_limit(tmp_path: Path) -> None:
    """A child that does not end is killed, and what it said and found is kept."""
    code = """
        import os, signal, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.write(1, b"last words"); os.write(int(sys.argv[1]), b"found")
        time.sleep(600)
    """
    ended = run_python(tmp_path, code, RESULT, timeout=1)
    assert (ended.status, ended.cut, ended.output, ended.result) == (-signal.SIGKILL, "timeout", "last words", b"found")


def test_endless_output_is_cut_and_its_tail_kept(tmp_path: Path) -> None:
    """A child that says more than the limit is killed, and the last lines that were read are whole and in order."""
    ended = run_python(tmp_path, "n = 0\nwhile True:\n    print(n)\n    n += 1", limit=1 << 20)
    assert (ended.status, ended.cut) == (-signal.SIGKILL, "log-limit")
    assert KEPT // 2 < len(ended.output) <= KEPT
    numbers = [int(line) for line in ended.output.splitlines()[1:-1]]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))


def test_long_output_keeps_its_end(tmp_path: Path) -> None:
    """Of more output than is kept, but less than the limit, the end is kept."""
    ended = run_python(tmp_path, "print('x' * 300_000)\nprint('the end')")
    assert (ended.status, ended.cut, len(ended.output)) == (0, "", KEPT)
    assert ended.output.endswith("x\nthe end\n")


def test_flooded_result_is_bounded(tmp_path: Path) -> None:
    """Of a result without measure the first part is kept, and the child is not kept waiting."""
    ended = run_python(tmp_path, "import os, sys\nfor _ in range(48): os.write(int(sys.argv[1]), b'x' * 65536)", RESULT)
    assert (ended.status, len(ended.result)) == (0, RESULT_LIMIT)


# -- nothing lives on ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("adopted")
@pytest.mark.parametrize(
    ("then", "cut"),
    [("", ""), ("while True: print('x' * 1000)", "log-limit"), ("time.sleep(600)", "timeout")],
    ids=["exit", "log-limit", "timeout"],
)
def test_whole_tree_dies(tmp_path: Path, then: str, cut: str) -> None:
    """However a child ends, its children die with it, also those in sessions of their own that ignore SIGTERM."""
    before = children()
    ended = run_python(tmp_path, DAEMON + then, timeout=3 if cut == "timeout" else 60)
    assert ended.cut == cut
    assert len(pids(tmp_path)) == 3
    assert not [pid for pid in pids(tmp_path) if alive(pid)]
    assert children() == before


@pytest.mark.usefixtures("adopted")
@pytest.mark.parametrize("session", [False, True], ids=["group", "session"])
def test_daemon_that_floods_the_output_is_not_followed(tmp_path: Path, *, session: bool) -> None:
    """A child that leaves a daemon behind, which writes without end, has ended all the same."""
    code = f"""
        import os, sys
        if os.fork() == 0:
            {"os.setsid()" if session else ""}
            while True:
                os.write(1, b"x" * 4096)
                os.write(int(sys.argv[1]), b"y" * 4096)
        os.read(0, 1)
    """
    ended = run_python(tmp_path, code, RESULT, limit=1 << 40)
    assert (ended.status, ended.cut) == (0, "")


@pytest.mark.usefixtures("adopted")
def test_programs_of_others_are_left_alone(tmp_path: Path) -> None:
    """Children that this process had before, and those in its own session, are not taken for a combination's."""
    with (
        subprocess.Popen(["/bin/sleep", "600"], start_new_session=True) as earlier,
        subprocess.Popen(["/bin/sleep", "600"]) as ours,
    ):
        run_python(tmp_path, DAEMON)
        states = earlier.poll(), ours.poll()
        earlier.kill()
        ours.kill()
    assert states == (None, None)


def test_interrupt_kills_the_child(tmp_path: Path) -> None:
    """Ctrl-C goes through, and takes the child with it."""
    code = """
        import os, signal, time
        with open("pids", "w") as pids:
            print(os.getpid(), file=pids)
        os.kill(os.getppid(), signal.SIGINT)
        time.sleep(600)
    """
    before = os.listdir("/proc/self/fd")
    with pytest.raises(KeyboardInterrupt):
        run_python(tmp_path, code)
    assert not alive(pids(tmp_path)[0])
    assert os.listdir("/proc/self/fd") == before


def test_child_is_watched_without_pidfd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no pidfd, the end of a child whose daemon holds the pipes is noticed too."""
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    ended = run_python(
        tmp_path, "import os, time\nif os.fork() == 0: time.sleep(600)\nprint('here', flush=True)\nos._exit(4)"
    )
    assert (ended.status, ended.cut, ended.output) == (4, "", "here\n")


WORKER = """
import sys
from pytest_spip.run import process
check, cwd = sys.argv[1:]
bounds = str(1 << 30), str(1 << 30)
command = [sys.executable, check, process.LIFELINE, *bounds, sys.executable, "-c", "import hung"]
process.run(command, environment={"PWD": cwd, "PYTHONPATH": cwd}, timeout=600, output_limit=1 << 20)
"""
HUNG = """
import os, time
child = os.fork()
with open("pids", "a") as pids:
    print(os.getpid(), file=pids)
time.sleep(600)
"""


def test_killed_worker_takes_its_child_along(tmp_path: Path) -> None:
    """When a worker is killed, so that it can do nothing more, the kernel kills the group of the child it ran."""
    (tmp_path / "hung.py").write_text(HUNG)
    with subprocess.Popen([sys.executable, "-c", WORKER, ALONE, str(tmp_path)]) as worker:
        assert eventually(lambda: (tmp_path / "pids").exists() and len(pids(tmp_path)) == 2)
        assert all(alive(pid) for pid in pids(tmp_path))
        worker.kill()
    assert eventually(lambda: not any(alive(pid) for pid in pids(tmp_path)))


CONTROLLER = """
import subprocess, sys
subprocess.run([sys.executable, "-c", *sys.argv[1:]])
"""
ORPHAN = """
import sys
from pytest_spip.run import process
process.adopt_orphans()
process.end_with_parent()
command = [sys.executable, "-I", "-S", "-c", sys.argv[1]]
process.run(command, environment={"PWD": sys.argv[2]}, timeout=600, output_limit=1 << 20)
"""


def test_dead_controller_takes_everything_along(tmp_path: Path) -> None:
    """When the controller is killed its workers are interrupted, and kill what they run with all that it left behind."""
    words = [ORPHAN, DAEMON + "time.sleep(600)", str(tmp_path)]
    with subprocess.Popen([sys.executable, "-c", CONTROLLER, *words], stderr=subprocess.PIPE, text=True) as controller:
        assert eventually(lambda: (tmp_path / "pids").exists() and len(pids(tmp_path)) == 3)
        controller.kill()
        _, told = controller.communicate()  # until the worker, who has its error output, has ended too
    assert told.endswith("KeyboardInterrupt\n")
    assert not any(alive(pid) for pid in pids(tmp_path))


def test_child_of_a_dead_worker_does_not_start(tmp_path: Path) -> None:
    """A check whose worker died before it listened to the lifeline imports nothing."""
    (tmp_path / "noisy.py").write_text("print('imported')")
    lifeline, owner = os.pipe()
    os.close(owner)
    program = (sys.executable, "-c", "import noisy")
    command = [sys.executable, ALONE, str(lifeline), str(1 << 30), str(1 << 30), *program]
    environment = {"PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(command, pass_fds=[lifeline], env=environment, capture_output=True, check=False)
    os.close(lifeline)
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, b"", b"")


# -- what a terminal is shown -------------------------------------------------------------------------------------------


def test_output_is_harmless(tmp_path: Path) -> None:
    """Escape sequences and bytes that are no UTF-8 reach nobody's terminal."""
    ended = run_python(tmp_path, "import os; os.write(1, b'\\x1b[31mred\\xff')")
    assert ended.output == "\N{REPLACEMENT CHARACTER}[31mred\N{REPLACEMENT CHARACTER}"
