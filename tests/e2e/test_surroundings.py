"""Machines that lack something: whatever it is, the session says so and its verdicts are the same."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import MakeMachine
from tests.support.distributions import simple_sdist, wheel
from tests.support.interpreters import pythons
from tests.support.machine import LABEL, Machine

BARE_DEV = """\
set -e
mount -t tmpfs -o mode=755 bare {place}
for name in null zero full random urandom tty; do touch {place}/$name; mount --bind /dev/$name {place}/$name; done
mkdir {place}/pts; mount --bind /dev/pts {place}/pts
ln -s /proc/self/fd {place}/fd; ln -s pts/ptmx {place}/ptmx
mount --rbind {place} /dev
exec "$@"
"""
"""Gives a program a /dev without shm."""
as_root = pytest.mark.skipif(os.getuid() != 0, reason="mounts, or has the umask of root")


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:
    """Serve a wheel that works, one that does not, and an sdist."""
    machine = make_machine()
    wheel(machine.files, "good", "1.0", {"good.py": "", "good_data/x.txt": "x"})
    wheel(machine.files, "bad", "1.0", {"bad.py": "import nonesuch"})
    simple_sdist(machine.files, "built", "1.0", {"built.py": ""})
    return machine


MATRIX = ("--spip-matrix=good", "--spip-matrix=bad", "--spip-matrix=built")
OUTCOMES = {f"good[1.0-{LABEL}]": "passed", f"bad[1.0-{LABEL}]": "failed", f"built[1.0-{LABEL}]": "passed"}


@as_root
def test_no_shared_memory(machine: Machine, tmp_path: Path) -> None:
    """Without /dev/shm environments live in the next place, and the header says where and why."""
    if subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mount namespaces")
    script = tmp_path / "bare.sh"
    script.write_text(BARE_DEV.format(place=tmp_path), "utf-8")
    program = ("unshare", "-m", "sh", "-c", f". {script}", "sh", sys.executable, "-m", "pytest")
    done = machine.run(*MATRIX, "--spip-ram=auto", "-n2", program=program, project="no-shm")
    assert done.outcomes == OUTCOMES, done.stdout + done.stderr
    assert "there is no /dev/shm" in done.stdout


@as_root
@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_strict_umask(make_machine: MakeMachine, workers: str) -> None:
    """Under root's umask 077 the sandbox is as strong as ever, and what the user looks for is closed to others."""
    machine = make_machine()
    wheel(machine.files, "good", "1.0", {"good.py": ""})
    wheel(machine.files, "bad", "1.0", {"bad.py": "import nonesuch"})
    simple_sdist(machine.files, "built", "1.0", {"built.py": ""})
    script = 'umask 077; exec "$0" -m pytest "$@"'
    levels: list[str] = []
    for program in ((sys.executable, "-m", "pytest"), ("sh", "-c", script, sys.executable)):
        project = f"strict{len(levels)}{workers}"
        done = machine.run(*MATRIX, workers, program=program, project=project)
        assert done.outcomes == OUTCOMES, done.stdout + done.stderr
        levels += re.findall(r"sandbox level (\d)", done.stdout)
    assert levels[0] == levels[1]
    modes = [stat.S_IMODE((done.project / name).stat().st_mode) for name in (".spip", "report.json")]
    assert modes == [0o700, 0o600]


def test_workers_that_die_at_start(machine: Machine) -> None:
    """Workers of a Python that cannot run them are given up after a few, with what they said."""
    oldest = next(iter(pythons().values()))
    if oldest.name in ("python3.11", "python3.12", "python3.13"):
        pytest.skip("no interpreter that is too old")
    done = machine.run(*MATRIX, "-d", "--tx", f"2*popen//python={oldest}", project="dying")
    assert done.status == 2, done.stdout + done.stderr
    assert done.stdout.count("replacing crashed worker") < 10
    assert re.search(r"Interrupted: \d workers died before they ran anything: \w*Error: ", done.stdout)
    assert "3 of 3 combinations have no verdict" in done.stdout
    assert machine.processes() == {}
