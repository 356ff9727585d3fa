"""The cache is kept small beside sessions that run: no verdict changes, whatever is removed and whoever is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from pytest_spip.common.cache import Cache
from pytest_spip.common.cache_folders import list_entries
from tests.conftest import MakeMachine
from tests.support.distributions import simple_sdist, wheel
from tests.support.machine import Cell, Machine, eventually

DAY = 86400
LONG = 60.0
"""Seconds that a process of low priority may take to begin on a busy machine."""
MATRIX = "--spip-matrix=demo"


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:
    """List releases that have wheels, one of them broken, and one that must be built."""
    machine = make_machine()
    for version, code in (("1.0", ""), ("1.1", "import nowhere"), ("1.2", "import dep")):
        wheel(machine.files, "demo", version, {"demo.py": code}, requires=("dep",))
    simple_sdist(machine.files, "demo", "1.3", {"demo.py": ""})
    wheel(machine.files, "dep", "1.0", {"dep.py": ""})
    return machine


@pytest.fixture(scope="module")
def cells(machine: Machine) -> dict[str, Cell]:
    """Return the verdicts of a run that nobody disturbs."""
    done = machine.run(MATRIX)
    assert list(done.outcomes.values()) == ["passed", "failed", "passed", "passed"]
    return done.cells


def gc(machine: Machine, *options: str) -> list[str]:
    """Return the command that brings the machine's cache to nothing."""
    cache = f"--spip-cache={machine.cache}"
    return [sys.executable, "-m", "pytest_spip.cli", "gc", "--only=cache", "--size=0", cache, *options]


def collected(machine: Machine) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    return subprocess.run(
        gc(machine), env=machine.environment(), capture_output=True, text=True, timeout=60, check=False
    )


def age(machine: Machine) -> None:
    """Have all entries been used last a day ago."""
    for entry in list_entries(str(machine.cache)):
        os.utime(entry.path, (time.time() - DAY,) * 2)


def left(machine: Machine) -> int:
    """Return how many entries there are."""
    return len(list_entries(str(machine.cache)))


def assert_nothing_half_made(machine: Machine) -> None:
    """See that nothing is left that was being removed, and no session that has ended."""
    assert list(machine.cache.glob("staging/*")) == list(machine.cache.glob("sessions/*")) == []


@pytest.mark.parametrize("options", [("-n2",), ("--spip-sandbox=off",)])
def test_beside_a_session(machine: Machine, cells: dict[str, Cell], options: tuple[str, ...]) -> None:
    """A session has its verdicts although all that it does not use yet is removed while it runs, again and again."""
    age(machine)
    session = machine.start(MATRIX, *options)
    statuses, until = [], time.monotonic() + 2 * LONG
    while session.poll() is None and time.monotonic() < until:
        statuses.append(collected(machine).returncode)
        time.sleep(0.2)
    assert machine.finish(session).cells == cells
    assert {*statuses} <= {0, 1}
    age(machine)
    assert (collected(machine).returncode, left(machine)) == (0, 0)
    assert_nothing_half_made(machine)


def test_session_keeps_what_it_uses(machine: Machine, cells: dict[str, Cell]) -> None:
    """What a session has used stays until the session ends, and the command says so."""
    assert machine.run(MATRIX).cells == cells
    cache = Cache(machine.cache)
    age(machine)
    lease = cache.lease()
    wheels = sorted(machine.cache.glob("wheels/*/*"))
    assert cache.use(wheels[0])
    done = collected(machine)
    assert (done.returncode, left(machine)) == (1, 1)
    assert f"wheels: removed {len(wheels) - 1}, " in done.stdout
    assert "running sessions use them" in done.stdout
    lease.release()


def test_killed(machine: Machine, cells: dict[str, Cell]) -> None:
    """A collection that is killed halfway leaves a sound cache, and the next one finishes its work."""
    assert machine.run(MATRIX).cells == cells
    age(machine)
    before = left(machine)
    with subprocess.Popen(gc(machine), env=machine.environment(), stdout=subprocess.DEVNULL) as process:
        assert eventually(lambda: left(machine) < before, LONG)
        process.kill()
    assert machine.run(MATRIX).cells == cells
    age(machine)
    assert (collected(machine).returncode, left(machine)) == (0, 0)
    assert_nothing_half_made(machine)


def test_sessions_keep_their_bound(machine: Machine, cells: dict[str, Cell]) -> None:
    """Once a day the end of a session begins to remove what is above its bound, in the background."""
    junk = machine.cache / "layers" / "junk" / "x"
    junk.parent.mkdir(parents=True, exist_ok=True)
    junk.write_bytes(os.urandom(1 << 20) * 20)
    mark = machine.cache / "gc.lock"
    for path in (junk.parent, mark):
        os.utime(path, (time.time() - 2 * DAY,) * 2)
    assert machine.run(MATRIX, "--spip-cache-size=16MiB").cells == cells
    assert eventually(lambda: not junk.exists(), LONG)
    assert mark.stat().st_mtime > time.time() - DAY
    assert eventually(lambda: not machine.processes(), LONG)
    assert left(machine) > 10, "all that the session used"
    assert_nothing_half_made(machine)
