"""Real faults, end to end: caches that are shared or cold, processes that die at any moment, packages that do harm."""

from __future__ import annotations

import hashlib
import os
import signal
import stat
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import MakeMachine
from tests.support.distributions import (
    builds,
    simple_sdist,
    wheel,
)
from tests.support.gates import Gate, assert_nothing_left, ledger, module, passed, requiring, waiting_sdist
from tests.support.machine import LABEL, Machine, eventually

WORK = ("resolved", "downloaded", "built", "filed")
FIRST_WORK = {"resolved": 5, "downloaded": 4, "built": 2, "filed": 5}
"""What is done for those of :func:`serve_some_of_each`; who is stuck is filed, too, for its METADATA may refuse the Python."""


def unsound(machine: Machine) -> list[str]:
    """Return the files of the wheel store that are not what their RECORD says, and wheels that are not complete."""
    wheels = list(machine.cache.glob("wheels/*/*"))
    bare = [str(path) for path in wheels if not (path / "wheel.json").exists()]
    return bare + [line for path in wheels for record in path.glob("*/*.dist-info/RECORD") for line in _wrong(record)]


def _wrong(record: Path) -> Iterator[str]:
    for line in record.read_text("utf-8").splitlines():
        name, digest, _ = line.rsplit(",", 2)
        content = (record.parents[1] / name).read_bytes()
        found = "sha256=" + urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
        if digest and digest != found:
            yield name


def snapshot(root: Path) -> dict[str, tuple[int, str]]:
    """Return mode and hash of everything below a directory."""
    return {
        str(path.relative_to(root)): (
            path.lstat().st_mode,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in sorted(root.rglob("*"))
    }


# -- caches -------------------------------------------------------------------------------------------------------------


def serve_some_of_each(machine: Machine) -> list[str]:
    """Serve wheels, sdists that build and that do not, and what cannot be resolved; return the options that name them."""
    for name in ("one", "two", "three"):
        module(machine, name)
    wheel(machine.files, "stuck", "1.0", {"stuck.py": ""}, requires=["one==99"])
    simple_sdist(machine.files, "made", "1.0", {"made.py": ""}, counter=machine.root / "made")
    simple_sdist(machine.files, "unmade", "1.0", {}, counter=machine.root / "unmade", fails="no compiler")
    return requiring("one", "two", "three", "stuck", "made", "unmade")


def test_second_run_does_no_work(make_machine: MakeMachine) -> None:
    """A second run resolves, downloads, builds and files nothing and asks the index nothing, failures included."""
    machine = make_machine()
    options = serve_some_of_each(machine)
    first = machine.run(*options)
    asked = len(machine.index.requests)
    again = machine.run(*options)
    offline = machine.run(*options, "-n2", env={"UV_OFFLINE": "1"})

    assert machine.index.requests[asked:] == []
    assert first.cells == again.cells == offline.cells
    assert first.report["summary"]["work"] == FIRST_WORK
    assert again.report["summary"]["work"] == offline.report["summary"]["work"] == dict.fromkeys(WORK, 0)
    assert (len(builds(machine.root / "made")), len(builds(machine.root / "unmade"))) == (1, 1)


def test_two_cold_runs_share_the_work(make_machine: MakeMachine) -> None:
    """Two runs that start at once with one cold cache both succeed; each wheel is fetched and filed, and each sdist built, once."""
    machine = make_machine(knows=False, core_metadata=True)
    options = serve_some_of_each(machine)
    started = {name: machine.start(*options, "-n2", project=name) for name in ("left", "right")}
    left, right = (machine.finish(process, name) for name, process in started.items())

    assert left.cells == right.cells
    assert set(left.outcomes.values()) == {"passed", "failed", "skipped"}
    works = [done.report["summary"]["work"] for done in (left, right)]
    assert {what: works[0][what] + works[1][what] for what in WORK[1:]} == {what: FIRST_WORK[what] for what in WORK[1:]}
    for path in machine.files.glob("*.whl"):
        fetched = machine.index.requests.count(("GET", machine.index.file_path(path)))
        assert fetched == 1, path.name
    assert (len(builds(machine.root / "made")), len(builds(machine.root / "unmade"))) == (1, 1)
    assert unsound(machine) == []


def test_dependency_is_built_once(make_machine: MakeMachine) -> None:
    """An sdist that several packages depend on is built once."""
    machine = make_machine()
    simple_sdist(machine.files, "base", "1.0", {"base.py": ""}, counter=machine.root / "base")
    for name in ("upper", "upmost"):
        wheel(machine.files, name, "1.0", {f"{name}.py": "import base"}, requires=["base"])
    done = machine.run(*requiring("upper", "upmost"))
    assert done.outcomes == passed("upper", "upmost")
    assert len(builds(machine.root / "base")) == 1


def test_package_cannot_change_the_store(machine: Machine) -> None:
    """A package that writes into its own directory, its dependencies' and the scripts' leaves the store as it was."""
    harm = """
import os, pathlib, sys
site = pathlib.Path(__file__).parent.parent
for path in sorted(site.rglob("*")):
    if path.is_file():
        os.chmod(path, 0o777)
        with open(path, "r+b") as file:
            file.write(b"HARM")
            file.truncate()
(site / "good.py").unlink()
(site / "extra.py").write_text("extra")
"""
    module(machine, "good")
    wheel(
        machine.files, "harmful", "1.0", {"harmful/__init__.py": harm, "harmful/data.bin": b"\x00"}, requires=["good"]
    )
    first = machine.run(*requiring("harmful", "good"))
    before = snapshot(machine.cache / "wheels")
    second = machine.run(*requiring("harmful", "good"), "-n2")
    assert first.outcomes == second.outcomes == passed("harmful", "good")
    assert snapshot(machine.cache / "wheels") == before
    assert unsound(machine) == []


# -- dying --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def gate(machine: Machine) -> Gate:
    """Serve a package that is good, one whose import stops at the gate, one whose build does, and some that come after."""
    gate = Gate(machine.root / "gate")
    module(machine, "early")
    module(machine, "blocked", gate.blocking)
    waiting_sdist(machine, "half_built", gate.blocking)
    for name in ("late", "later", "latest"):
        module(machine, name)
    return gate


OTHERS = ("early", "late", "later", "latest")
MOMENTS = {
    "import": ("blocked", []),
    "import-n2": ("blocked", ["-n2"]),
    "build-n2": ("half-built", ["-n2"]),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_kill_9_of_all(machine: Machine, gate: Gate, moment: str) -> None:
    """After kill -9 of the process group nothing of it runs on; verdicts are kept; the next start sweeps and succeeds."""
    stopped, options = MOMENTS[moment]
    session = machine.start(*requiring(*OTHERS, stopped), *options)
    gate.reached()
    assert eventually(lambda: "passed" in ledger(machine).values())
    private = {stat.S_IMODE(path.stat().st_mode) for place in machine.worktrees() for path in (place, place.parent)}
    kept = ledger(machine).items()
    os.killpg(session.pid, signal.SIGKILL)
    assert machine.finish(session).status == -signal.SIGKILL

    assert private == {0o700}
    assert eventually(lambda: not machine.processes(), 5.0), machine.processes()
    assert kept <= ledger(machine).items()
    assert unsound(machine) == []

    gate.open()
    assert machine.run(*requiring(*OTHERS, stopped), *options).outcomes == passed(*OTHERS, stopped)
    assert_nothing_left(machine)
    assert unsound(machine) == []


@pytest.mark.parametrize(
    ("moment", "everybody"), [*((moment, True) for moment in MOMENTS), ("import-n2", False)], ids=str
)
def test_interrupt(machine: Machine, gate: Gate, moment: str, everybody: bool) -> None:
    """Ctrl-C ends the session within seconds with status 2, summary and ledger; no process and no worktree is left."""
    stopped, options = MOMENTS[moment]
    session = machine.start(*requiring(*OTHERS, stopped), *options)
    gate.reached()
    assert eventually(lambda: "passed" in ledger(machine).values())
    (os.killpg if everybody else os.kill)(session.pid, signal.SIGINT)
    pressed = time.monotonic()
    done = machine.finish(session)

    assert time.monotonic() - pressed < 10  # five on an idle machine; a package in hand would go on for twenty
    assert done.status == 2, done.stdout + done.stderr
    assert "KeyboardInterrupt" in done.stdout
    assert "not run in " in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert done.outcomes == ledger(machine)
    assert done.outcomes.keys() < passed(*OTHERS, stopped).keys()
    assert set(done.outcomes.values()) == {"passed"}
    assert_nothing_left(machine)


def parent_of(process: int) -> int:
    """Return the process id of a process's parent."""
    return int(Path(f"/proc/{process}/stat").read_text("utf-8").rpartition(")")[2].split()[1])


def test_killed_fork_server(machine: Machine, gate: Gate) -> None:
    """A fork server killed over an item takes the item's process with it; another one tries the item again."""
    session = machine.start(*requiring("early", "blocked", "late"))
    child, server = gate.reached()
    os.kill(server, signal.SIGKILL)
    again, _ = gate.reached()
    dead = child not in machine.processes()
    gate.open()
    os.kill(again, signal.SIGKILL)  # it stands at the gate still; whoever is killed so has another try
    done = machine.finish(session)

    assert dead, "the package outlived its fork server"
    assert done.outcomes == passed("early", "blocked", "late")
    assert done.combinations[f"blocked[1.0-{LABEL}]"]["attempts"] == 2
    assert_nothing_left(machine)


@pytest.mark.parametrize(("kills", "outcome"), [(1, "passed"), (2, "error")])
def test_killed_worker(machine: Machine, gate: Gate, kills: int, outcome: str) -> None:
    """A worker killed over an item costs nothing but time; two cost the item an error of its own, and no other item."""
    packages = (*OTHERS[:2], "blocked", *OTHERS[2:])
    session = machine.start(*requiring(*packages), "-n2")
    for left in reversed(range(kills)):
        package, server = gate.reached()
        if not left:
            gate.open()
        os.kill(parent_of(server), signal.SIGKILL)
        assert eventually(lambda: package not in machine.processes(), 2.0)  # noqa: B023  # called at once
    done = machine.finish(session)
    assert done.outcomes == passed(*packages) | {f"blocked[1.0-{LABEL}]": outcome}
    assert done.status == (outcome == "error")
    if outcome == "error":
        assert done.cells[f"blocked[1.0-{LABEL}]"] == ("error", "import", "worker-lost")
        assert f"ERROR at setup of blocked[1.0-{LABEL}] __" in done.stdout
    assert_nothing_left(machine)


@pytest.mark.parametrize("collects", [False, True], ids=["own-loop", "pytest"])
def test_worker_that_is_not_replaced(machine: Machine, gate: Gate, collects: bool) -> None:
    """Where the user has no worker replaced, work that is left over is named, and the session is not green."""
    options = ["-n1", "--max-worker-restart=0", *(["-k", "blocked or early or late"] if collects else [])]
    session = machine.start(*requiring("early", "blocked", "late"), *options)
    _, server = gate.reached()
    os.kill(parent_of(server), signal.SIGKILL)
    done = machine.finish(session)
    left = {"early", "blocked", "late"} - {name.partition("[")[0] for name in done.outcomes}
    assert "blocked" in left
    assert done.status == 2, done.stdout
    assert f"{len(left)} of 3 combinations have no verdict" in done.stdout
    assert [name for name in left if f"    {name} 1.0: {LABEL}" not in done.stdout] == []
    assert done.report["summary"]["not_run"] == [
        f"{name}[1.0-{LABEL}]" for name in ("early", "blocked", "late") if name in left
    ]
    gate.open()
    assert_nothing_left(machine)


LEAVER = """\
import os, pytest
def {hook}:
    {condition}pytest.exit('enough', returncode=0)
"""
BREAKER = """\
import pytest
def pytest_runtest_logreport(report):
    {statement}
"""
LEAVES = {
    "report": ("pytest_runtest_logreport(report)", "if report.when == 'call': "),
    "setup": ("pytest_runtest_setup(item)", ""),
    "worker": ("pytest_runtest_teardown(item)", "if os.environ.get('PYTEST_XDIST_WORKER') == 'gw0': "),
    "collection": ("pytest_collection_finish(session)", ""),
    "loop": ("pytest_runtestloop(session)", ""),
}


@pytest.mark.parametrize(
    ("name", "workers"),
    [
        ("report", "-n0"),
        ("setup", "-n0"),
        ("setup", "-n1"),
        ("worker", "-n2"),
        ("collection", "-n0"),
        ("collection", "-n1"),
        ("loop", "-n0"),
    ],
)
def test_plugin_that_leaves_with_success(machine: Machine, name: str, workers: str) -> None:
    """A plugin that ends the session and calls it a success does not make it one: what has no verdict is named."""
    for package in ("early", "late"):
        wheel(machine.files, package, "1.0", {f"{package}.py": ""})
    hook, condition = LEAVES[name]
    project = machine.project(f"leaving-{name}{workers}", {"leaver.py": LEAVER.format(hook=hook, condition=condition)})
    env = {"PYTHONPATH": str(project)}
    done = machine.run(*requiring("early", "late"), workers, "-p", "leaver", project=project.name, env=env)
    left = done.report["summary"]["not_run"]
    assert left or name in ("report", "worker")  # which may come when all is done
    assert done.status == 2 if left else done.status in (0, 2), done.stdout
    assert (f"{len(left)} of 2 combinations have no verdict" in done.stdout) == bool(left)
    assert_nothing_left(machine)


@pytest.mark.parametrize(
    ("statement", "status", "workers"),
    [
        ("raise KeyError('rerun')", 3, "-n0"),
        ("raise KeyError('rerun')", 3, "-n2"),
        ("pytest.exit('no', 42)", 42, "-n0"),
    ],
)
def test_session_that_another_plugin_breaks(machine: Machine, statement: str, status: int, workers: str) -> None:
    """Also a session that ends in an internal error, or with a status of somebody's own, names what has no verdict."""
    for package in ("early", "late"):
        wheel(machine.files, package, "1.0", {f"{package}.py": ""})
    name = f"broken-{status}{workers}"
    project = machine.project(name, {"breaker.py": BREAKER.format(statement=statement)})
    env = {"PYTHONPATH": str(project)}
    done = machine.run(*requiring("early", "late"), workers, "-p", "breaker", project=name, env=env)
    assert done.status == status, done.stdout
    left = done.report["summary"]["not_run"]
    assert (f"{len(left)} of 2 combinations have no verdict" in done.stdout) == bool(left)
    assert f" {2 - len(left)} combinations: " in done.stdout
    assert_nothing_left(machine)


WAIT = """\
import os, time
def wait(*paths):
    until = time.monotonic() + 20
    while time.monotonic() < until and not all(map(os.path.exists, paths)):
        time.sleep(0.02)
"""
FIRST_FAILS = """\
try:
    os.mkdir({flag!r})
except FileExistsError:
    wait(*{locks!r})
    time.sleep(0.5)  # from lock to worker it is a moment
else:
    raise ImportError("the first fails")
"""


def test_stopping_while_work_gets_ready(machine: Machine) -> None:
    """What gets ready after -x has stopped the workers is handed to nobody; the run ends with summary and report."""
    flag = str(machine.root / "flag")
    made, packages = ("made_one", "made_two"), ("one", "two", "three")
    locks = machine.project() / ".spip" / "latest" / "locks"
    paths = [str(locks / f"{name.replace('_', '-')}-1.0-{LABEL}.toml") for name in made]
    for name in made:
        waiting_sdist(machine, name, f"{WAIT}wait({flag!r})")
    for name in packages:
        module(machine, name, WAIT + FIRST_FAILS.format(flag=flag, locks=paths))
    done = machine.run(*requiring(*packages, *made), "-n2", "-x", "--spip-runner=cold")  # warm, it is tried once more

    assert "INTERNALERROR" not in done.stdout, done.stdout
    assert "stopping after 1 failures" in done.stdout
    assert "failed" in done.outcomes.values()
    assert ledger(machine) == done.outcomes
    assert_nothing_left(machine)


def test_dead_controller(machine: Machine, gate: Gate) -> None:
    """When the controller alone dies, workers and packages are gone within five seconds, and the next start sweeps."""
    session = machine.start(*requiring("early", "blocked"), "-n2")
    gate.reached()
    session.kill()
    gone = eventually(lambda: not machine.processes(), 5.0)
    assert machine.finish(session).status != 0
    assert gone, "something ran on for more than five seconds"
    gate.open()
    assert machine.run(*requiring("early", "blocked")).outcomes == passed("early", "blocked")
    assert_nothing_left(machine)


def test_lost_room(make_machine: MakeMachine) -> None:
    """Where there is no tmpfs the header says that environments live on disk, and why."""
    machine = make_machine()
    module(machine, "good")
    done = machine.run(*requiring("good"), "--spip-ram=off", env={"TMPDIR": str(machine.ram)})
    assert done.outcomes == passed("good")
    assert f"spip: environments on disk at {machine.ram}" in done.stdout
    assert "--spip-ram=off" in done.stdout
    assert_nothing_left(machine)
