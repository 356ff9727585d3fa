"""``pytest-spip shell``: programs, and a terminal, in the environments of recorded runs."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import sqlite3
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from pytest_spip.run.levels import FORCE
from tests.conftest import MakeMachine
from tests.support.distributions import simple_sdist, wheel
from tests.support.machine import HERE, LABEL, Machine, eventually

CLI = (HERE, "-m", "pytest_spip.cli", "shell")
FACTS = """
import json, os, socket, sys
import demo, needed
def reaches(port):
    try:
        socket.create_connection(("127.0.0.1", port), 2).close()
    except OSError:
        return False
    return True
facts = {"prefix": sys.prefix, "venv": os.environ["VIRTUAL_ENV"], "path": os.environ["PATH"], "home": os.environ["HOME"],
    "version": demo.version, "needed": needed.__file__, "network": reaches(int(sys.argv[1])), "cwd": os.getcwd()}
print(json.dumps(facts))
sys.exit(7)
"""
LEVELS = {"three": "3", "two": "2", "one": "1"}


@pytest.fixture(scope="module")
def recorded(make_machine: MakeMachine) -> Machine:
    """Record a run of a release that needs another, and of one that has to be built, at each level of the sandbox."""
    machine = make_machine()
    wheel(machine.files, "demo", "1.0", {"demo.py": "version = '1.0'\n"}, requires=["needed"])
    wheel(machine.files, "demo", "2.0", {"demo.py": "version = '2.0'\n"}, requires=["needed", "absent"])
    wheel(machine.files, "needed", "1.0", {"needed.py": ""})
    simple_sdist(machine.files, "made", "1.0", {"made.py": "version = '1.0'\n"})
    for name, level in LEVELS.items():
        options = (f"--spip-run={name}", "--spip-memory=256MiB", "--spip-matrix=demo", "--spip-matrix=made")
        machine.run(*options, env={FORCE: level})
    return machine


def started(machine: Machine, *words: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Start the command in the project."""
    return machine.start(*words, program=CLI, bare=True, env=env or {})


def shell(machine: Machine, *words: str, env: dict[str, str] | None = None, text: str = "") -> Any:
    """Run the command to its end."""
    return subprocess.run(
        [*CLI, *words],
        cwd=machine.project_path("project"),
        env=machine.environment(env or {}),
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def named(version: str = "1.0", package: str = "demo") -> str:
    """Return an id."""
    return f"{package}[{version}-{LABEL}]"


@pytest.mark.parametrize("run", LEVELS)
def test_command_runs_in_the_environment(recorded: Machine, run: str) -> None:
    """It has its Python first, what the lock holds, a home of its own, and the network and status of the run's programs."""
    port = re.findall(r":(\d+)/", recorded.index.url)[0]
    done = shell(recorded, f"spip::{named()}", f"--run={run}", "--", "python", "-c", FACTS, port)
    assert done.returncode == 7, done.stderr
    facts = json.loads(done.stdout)
    assert facts["prefix"] == facts["venv"]
    assert facts["path"].startswith(f"{facts['prefix']}/bin:")
    assert (facts["version"], facts["needed"].startswith(facts["prefix"])) == ("1.0", True)
    assert facts["network"] == (run == "one")
    assert facts["home"] != os.environ["HOME"]
    assert not facts["cwd"].startswith(facts["prefix"])
    assert done.stderr == ""
    assert eventually(lambda: not recorded.worktrees()), recorded.worktrees()


def test_streams_are_passed_on(recorded: Machine) -> None:
    """Input that is larger than any buffer comes back; each stream has its own; a signal's status is a shell's."""
    text = "0123456789abcde\n" * 20_000
    done = shell(recorded, named(), "--", "sh", "-c", "cat; echo to stderr >&2; kill -9 $$", text=text)
    assert (done.returncode, done.stdout == text, done.stderr) == (137, True, "to stderr\n")


def test_limits_are_the_runs(recorded: Machine) -> None:
    """What needs more memory than the run allowed does not get it."""
    done = shell(recorded, named(), "--", "python", "-c", "bytearray(1 << 30)")
    assert (done.returncode, "MemoryError" in done.stderr) == (1, True), done.stderr


def test_program_that_is_not_there(recorded: Machine) -> None:
    """The status is a shell's for a command that is not found."""
    done = shell(recorded, named(), "--", "no-such-program")
    assert (done.returncode, "no-such-program" in done.stderr) == (127, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["demo[1.1-{label}]"], r"demo\[1\.1-\w+\]: run three has no such combination; did you mean demo\[1\.0-"),
        (["zzz[9-x]"], r"has no such combination; see 'pytest-spip show --json'"),
        (["demo[2.0-{label}]"], r"demo\[2\.0-\w+\]: it had no environment \(no-solution: .*\); see 'pytest-spip show"),
        (["demo[1.0-{label}]", "--run=nothing"], r"RUN: there is no run nothing"),
    ],
)
def test_what_cannot_be_had_is_one_line(recorded: Machine, words: Sequence[str], message: str) -> None:
    """Status 4, and one line that says why."""
    words = [word.format(label=LABEL) for word in words]
    done = shell(recorded, *(words if len(words) > 1 else [*words, "--run=three"]))
    assert (done.returncode, done.stderr.count("\n")) == (4, 1), done.stderr
    assert re.search(message, done.stderr), done.stderr


def test_interpreter_that_is_gone(recorded: Machine) -> None:
    """An interpreter that is not where it was is named in one line."""
    path = recorded.project_path("project") / ".spip" / "runs" / "two"
    moved = path.with_name("moved")
    shutil.copytree(path, moved)
    with contextlib.closing(sqlite3.connect(moved / "run.sqlite")) as database, database:
        database.execute("UPDATE interpreter SET facts = json_set(facts, '$.path', '/nowhere/python')")
    done = shell(recorded, named(), "--run=moved", "--", "true")
    shutil.rmtree(moved)
    assert (done.returncode, done.stderr) == (
        4,
        f"pytest-spip shell: {named()}: /nowhere/python is gone since the run was planned; install that Python again\n",
    )


def test_what_left_the_cache_is_fetched_and_built_again(recorded: Machine) -> None:
    """Wheels come from the index once more, and are built; where it cannot be asked one line says so."""

    def clear(*folders: str) -> None:
        for folder in folders:
            shutil.rmtree(recorded.cache / folder, ignore_errors=True)

    clear("wheels", "builds", "layers")
    show = ("--", "python", "-c", "import demo; print(demo.version)")
    offline = shell(recorded, named(), *show, env={"UV_OFFLINE": "1"})
    assert (offline.returncode, offline.stderr.count("\n"), offline.stdout) == (4, 1, ""), offline.stderr
    assert "a wheel left the cache, and cannot be had again (" in offline.stderr
    recorded.index.requests.clear()
    again = shell(recorded, named(), *show)
    assert (again.returncode, again.stdout) == (0, "1.0\n"), again.stderr
    assert {path for _, path in recorded.index.requests if path.endswith(".whl")} == {
        recorded.index.file_path(f"{name}-1.0-py3-none-any.whl") for name in ("demo", "needed")
    }
    built = shell(recorded, named("1.0", "made"), "--", "python", "-c", "import made; print(made.version)")
    assert (built.returncode, built.stdout) == (0, "1.0\n"), built.stderr


def test_wheel_that_is_another_now(recorded: Machine) -> None:
    """A file that the index changed since is refused: the lock has its digest."""
    shutil.rmtree(recorded.cache / "wheels")
    path = recorded.files / "needed-1.0-py3-none-any.whl"
    before = path.read_bytes()
    wheel(recorded.files, "needed", "1.0", {"needed.py": "changed = True\n"})
    done = shell(recorded, named(), "--", "true")
    path.write_bytes(before)
    assert (done.returncode, done.stderr.count("\n")) == (4, 1), done.stderr
    assert "needed-1.0-py3-none-any.whl" in done.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("run", ["three", "two"])
def test_nothing_is_left(recorded: Machine, run: str, number: int, status: int) -> None:
    """Neither processes nor directories outlive the command, however it is ended."""
    process = started(recorded, named(), f"--run={run}", "--", "sh", "-c", "sleep 1234 & echo up; sleep 1234")
    assert process.stdout
    assert process.stdout.readline() == "up\n", process.communicate()
    assert recorded.worktrees()
    process.send_signal(number)
    assert process.wait(20) == status, process.communicate()
    process.communicate()
    assert eventually(lambda: not recorded.processes()), recorded.processes()
    assert eventually(lambda: not list(recorded.ram.glob("*/*"))), recorded.worktrees()
    assert not list(recorded.ram.glob("spip-*"))


# -- a terminal -----------------------------------------------------------------------------------------------------------


class Terminal:
    """A person at a terminal: types, and waits for what appears."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.seen = ""

    def wait_for(self, pattern: str) -> str:
        """Return what appeared up to a pattern, and go on behind it."""
        until = time.monotonic() + 20
        while not (found := re.search(pattern, self.seen)):
            assert time.monotonic() < until, f"{pattern} in {self.seen!r}"
            if select.select([self.descriptor], [], [], 0.5)[0]:
                self.seen += os.read(self.descriptor, 4096).decode("utf-8", "replace")
        before, self.seen = self.seen[: found.end()], self.seen[found.end() :]
        return before

    def type(self, text: str) -> None:
        """Type."""
        os.write(self.descriptor, text.encode())


@contextlib.contextmanager
def terminal(machine: Machine, *words: str, **env: str) -> Iterator[tuple[Terminal, int]]:
    """Run the command in a terminal of 40 rows and 123 columns; yield that, and the process."""
    pid, descriptor = pty.fork()
    if pid == 0:
        os.chdir(machine.project_path("project"))
        environ = {**machine.environment(), "TERM": "dumb", **env}
        os.execve(CLI[0], [*CLI, *words], environ)
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("4H", 40, 123, 0, 0))
    try:
        yield Terminal(descriptor), pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.close(descriptor)


@pytest.mark.parametrize("run", LEVELS)
def test_shell_at_a_terminal(recorded: Machine, run: str) -> None:
    """The prompt names the combination, typed commands are answered, jobs are controlled, the last status is passed on."""
    prompt = re.escape(f"({named()}) $ ")
    with terminal(recorded, named(), f"--run={run}", SHELL="/bin/bash") as (screen, pid):
        assert "what you write here is gone" in screen.wait_for(prompt)
        screen.type("python3 -c 'import demo, sys; print(demo.version * 2, sys.stdin.isatty())'\n")
        assert "1.01.0 True" in screen.wait_for(prompt)
        screen.type("stty size; jobs; sleep 100\n")
        assert "40 123" in screen.wait_for(r"\n40 123\r\n")
        time.sleep(0.3)
        screen.type("\x03")
        screen.wait_for(prompt)
        screen.type("echo status $?\n")
        assert "status 130" in screen.wait_for(rf"status \d+\s+{prompt}")
        screen.type("sleep 100\n")
        time.sleep(0.3)
        screen.type("\x1a")
        assert "Stopped" in screen.wait_for(rf"Stopped[^\n]*\n[^$]*{prompt}")
        screen.type("kill %1; echo hello > /dev/tty\n")
        screen.wait_for(rf"\nhello\s[^$]*{prompt}")
        fcntl.ioctl(screen.descriptor, termios.TIOCSWINSZ, struct.pack("4H", 30, 99, 0, 0))
        time.sleep(0.3)
        screen.type("stty size\n")
        screen.wait_for(r"\n30 99\r\n")
        screen.type("exit 5\n")
        screen.wait_for("exit")
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 5
    assert eventually(lambda: not recorded.worktrees())


def test_other_shells(recorded: Machine) -> None:
    """A shell that the sandbox does not show is replaced by the system's; the prompt names the combination there too."""
    with terminal(recorded, named(), SHELL=str(recorded.root / "home" / "fish")) as (screen, pid):
        screen.wait_for(re.escape(f"({named()}) $ "))
        screen.type("echo $0\n")
        screen.wait_for(r"\n/bin/sh\s")
        screen.type("\x04")
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_terminal_is_as_before(recorded: Machine) -> None:
    """When the program ends, or the command is asked to end, the user's terminal echoes again."""
    ours, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    process = subprocess.Popen(
        [*CLI, named(), "--", "sh", "-c", "echo up; sleep 1234"],
        cwd=recorded.project_path("project"),
        env=recorded.environment(),
        stdin=slave,
        stdout=slave,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    Terminal(ours).wait_for("up\r\n")
    assert termios.tcgetattr(slave) != before
    process.terminate()
    assert process.wait(20) == 143
    assert termios.tcgetattr(slave) == before
    os.close(ours)
    os.close(slave)
