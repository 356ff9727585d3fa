"""Worlds that people run in: containers, a strict umask, ordinary users, installations that are private. Verdicts are the same."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import pytest_spip
from tests.conftest import MakeMachine
from tests.support.distributions import simple_sdist, wheel
from tests.support.gates import assert_nothing_left
from tests.support.index import LocalIndex
from tests.support.machine import LABEL, PYTEST, Cell, Machine, eventually
from tests.support.worlds import ORDINARY, REFUSED, SMALL, SYSCTL, UMASK, USER, needs

PLAYS = """
import os, subprocess, sys, tempfile
with open(os.path.join(os.path.expanduser("~"), "note"), "w") as stream:
    stream.write("mine")
with tempfile.TemporaryDirectory() as directory:
    open(os.path.join(directory, "file"), "w").close()
assert subprocess.run([sys.executable, "-c", "import plays_too"]).returncode == 0
assert os.listdir(os.path.dirname(__file__))
"""
EXPECTED: dict[str, Cell] = {
    f"good[1.0-{LABEL}]": ("passed", "import", None),
    f"plays[1.0-{LABEL}]": ("passed", "import", None),
    f"bad[1.0-{LABEL}]": ("failed", "import", "import-error"),
    f"made[1.0-{LABEL}]": ("passed", "import", None),
}


def serve(machine: Machine) -> list[str]:
    """Serve what passes, what uses its environment, what fails, and what is built; return the options that name them."""
    wheel(machine.files, "good", "1.0", {"good.py": ""})
    wheel(machine.files, "plays", "1.0", {"plays.py": PLAYS, "plays_too.py": ""})
    wheel(machine.files, "bad", "1.0", {"bad.py": "raise ImportError('no')"})
    simple_sdist(machine.files, "made", "1.0", {"made.py": ""})
    (machine.root / "tmp").chmod(0o1777)
    return [f"--spip-matrix={name}" for name in ("good", "plays", "bad", "made")]


WORLDS = [
    pytest.param(SYSCTL, "level 2 (", "user namespaces", marks=needs("unshare"), id="namespaces by sysctl"),
    pytest.param(REFUSED, "level 2 (", "user namespaces", id="namespaces by filter"),
]


@pytest.mark.parametrize(("world", "level", "why"), WORLDS)
def test_verdicts(machine: Machine, world: Sequence[str], level: str, why: str) -> None:
    """A run is told how well it is confined, its verdicts are those of any world, and nothing stays behind."""
    done = machine.run(*serve(machine), "-n2", program=(*world, *PYTEST))
    assert done.cells == EXPECTED, done.stdout + done.stderr
    assert done.status == 1
    header = next(line for line in done.stdout.splitlines() if line.startswith("spip: runner"))
    assert f"sandbox {level}" in header
    assert why in header
    assert_nothing_left(machine)


def test_verdicts_here(machine: Machine) -> None:
    """In the world that the tests run in the verdicts are those of any world: what every lane of CI tries."""
    options = serve(machine)
    for workers in ("-n0", "-n2"):
        done = machine.run(*options, workers)
        assert done.cells == EXPECTED, done.stdout + done.stderr
        assert done.status == 1
    assert_nothing_left(machine)


@pytest.fixture
def public() -> Iterator[Path]:
    """Yield a directory that everybody reaches, which none of pytest's is."""
    with tempfile.TemporaryDirectory(prefix="spip-world-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@needs("unshare", "setpriv", root=True)
@pytest.mark.parametrize("umask", [(), UMASK], ids=["", "umask 077"])
def test_ordinary_user(public: Path, known: Path, umask: Sequence[str]) -> None:
    """An ordinary user has the verdicts that root has, and level 3 where user namespaces are allowed."""
    files = public / "files"
    files.mkdir()
    with LocalIndex(files) as index, contextlib.closing(Machine(public, files, index)) as machine:
        machine.learn(known)
        options = serve(machine)
        machine.project()
        for folder, below, names in os.walk(public):
            for name in (".", *below, *names):
                os.chown(os.path.join(folder, name), USER, USER, follow_symlinks=False)
        done = machine.run(*options, "-n2", program=(*ORDINARY, *umask, *PYTEST))
        assert done.cells == EXPECTED, done.stdout + done.stderr
        assert done.status == 1
        assert "sandbox level 3 (" in done.stdout
        assert_nothing_left(machine)


@needs("unshare", root=True)
def test_small_disk(machine: Machine) -> None:
    """Where the root directory has no room for a run none is begun: status 4 and one line, and nothing is left there."""
    kept = machine.root / "kept"
    kept.mkdir()
    done = machine.run(*serve(machine), "-n2", program=(*SMALL, str(kept), "200k", *PYTEST))
    assert done.status == 4, done.stdout
    assert "MiB free, and a run of 4 combinations needs about 2 MiB; make room, or use --rootdir" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (kept / ".spip").exists()
    assert_nothing_left(machine)


FILLS = """
def fill():
    with open("filling", "ab", buffering=0) as stream:
        for size in (1 << 16, 1 << 10, 1):
            try:
                while True:
                    stream.write(b"x" * size)
            except OSError:
                pass

verdicts = []
def pytest_spip_verdict(config, combo, result):
    verdicts.append(result)
    if len(verdicts) == %d:
        fill()

def pytest_sessionstart(session):
    if not %d:
        fill()
"""


@needs("unshare", root=True)
@pytest.mark.parametrize("workers", ["-n0", "-n2"])
@pytest.mark.parametrize("when", [0, 2])
def test_disk_that_gets_full(machine: Machine, workers: str, when: int) -> None:
    """A disk that gets full costs no verdict that was written: one line says so, the status is not 0, and no worker is replaced."""
    kept = machine.root / "kept"
    kept.mkdir()
    for name in range(12):
        text = "print('x' * 60000); raise ImportError('y' * 9000)" if name % 2 else ""
        wheel(machine.files, f"made{name}", "1.0", {f"made{name}.py": text})
    machine.project("project", {"conftest.py": FILLS % (when, when)})
    options = [f"--spip-cache={machine.cache}", f"--spip-ram={machine.ram}", f"--spip-python={sys.executable}"]
    options += [f"--spip-matrix=made{name}" for name in range(12)]
    program = (*SMALL, str(kept), "2500k", *PYTEST)
    session = machine.start(*options, workers, "conftest.py", program=program, bare=True)
    done = machine.finish(session, timeout=200)
    told = done.stdout + done.stderr
    assert done.status != 0
    assert "INTERNALERROR" not in told, told
    assert "Traceback" not in told, told
    assert "replacing crashed worker" not in told
    assert "cannot write" in told, told
    assert "have no verdict" in told
    with contextlib.closing(sqlite3.connect(kept / ".spip" / "latest" / "run.sqlite")) as ledger:
        assert ledger.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert_nothing_left(machine)


DOCTOR = (sys.executable, "-P", "-m", "pytest_spip.cli", "doctor")


def asked(
    world: Sequence[str], *, path: str = os.environ["PATH"], cache: Path
) -> tuple[int, dict[str, dict[str, object]]]:
    """Return the status of the doctor, and what it says by the first words of each line."""
    environment = {**os.environ, "PATH": path, "XDG_CACHE_HOME": str(cache)}
    done = subprocess.run(
        [*world, *DOCTOR, "--json"], capture_output=True, text=True, check=False, timeout=60, env=environment
    )
    assert not done.stderr
    plain = json.loads(done.stdout)
    assert plain["ok"] == (done.returncode == 0)
    return done.returncode, {one["what"].partition(" (")[0]: one for one in plain["findings"]}


@pytest.mark.parametrize(
    "world", [pytest.param(SYSCTL, marks=needs("unshare"), id="sysctl"), pytest.param(REFUSED, id="filter")]
)
def test_doctor_without_namespaces(make_machine: MakeMachine, world: Sequence[str]) -> None:
    """The doctor says that level 3 cannot be had, why, and what to do; level 2 is what runs use."""
    machine = make_machine()
    status, found = asked(world, cache=machine.root / "doctor")
    assert status == 1
    assert "user namespaces" in str(found["sandbox level 3"]["detail"])
    assert "user.max_user_namespaces" in str(found["sandbox level 3"]["fix"])
    assert found["sandbox level 2"]["detail"] == "works, and runs use it"
    assert found["sandbox level 2"]["fix"] is None


HANGING = "#!/bin/sh\nsleep 600\n"


def test_doctor_ends(tmp_path: Path) -> None:
    """The doctor ends within 20 seconds, says what it had no answer to, and leaves nothing running."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "git").write_text(HANGING, "utf-8")
    (bin_ / "git").chmod(0o755)
    os.mkfifo(bin_ / "python3.9")
    stuck = tmp_path / "stuck"
    (stuck / "bin").mkdir(parents=True)
    program = stuck / "bin" / "python3.10"
    program.symlink_to(sys.executable)
    began = time.monotonic()
    status, found = asked((), path=f"{bin_}:{stuck / 'bin'}:{os.environ['PATH']}", cache=tmp_path / "cache")
    assert time.monotonic() - began < 20
    assert status == 1
    assert "'git version' does not end" in str(found["git"]["detail"])
    assert found["uv"]["ok"]
    assert eventually(lambda: not [one for one in Path("/proc").glob("[0-9]*/cwd") if _names(one, str(tmp_path))])


@needs(root=True)
def test_private_installation(tmp_path: Path) -> None:
    """Where root has installed us for nobody else, what package code runs of ours is there for it all the same."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(pytest_spip.__file__).parent, tmp_path / "pytest_spip", ignore=ignored)
    for path in (tmp_path / "pytest_spip").rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    _, found = asked(("env", f"PYTHONPATH={tmp_path}"), cache=tmp_path / "cache")
    assert found["sandbox level 3"]["detail"] == "works, and runs use it"


def _names(link: Path, text: str) -> bool:
    try:
        return text in link.with_name("cmdline").read_text("utf-8", "replace")
    except OSError:
        return False
