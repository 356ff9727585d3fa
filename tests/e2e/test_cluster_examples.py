"""What starts a shared run on many hosts: scripts are run, with a stand-in for what reaches hosts; the rest is validated."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from pytest_spip.options import OPTIONS
from tests.conftest import MakeMachine
from tests.support.distributions import wheel
from tests.support.machine import Done, Machine
from tests.support.paths import ROOT

EXAMPLES = ROOT / "examples" / "cluster"
SCHEMAS = {"github-queue.yml": "github-workflows", "gitlab-queue.yml": "gitlab-ci", "compose.yml": "compose-spec"}
SSH = '#!/bin/sh\nmkdir -p "$1" && cd "$1" && shift && exec sh -c "$*"\n'
"""Runs a command in a directory of the host's name."""


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:
    """Return a machine whose index lists a small package, with a stand-in for ssh and pytest's program on its path."""
    machine = make_machine()
    for number in range(4):
        wheel(machine.files, "demo", f"1.{number}", {"demo.py": ""})
    programs = machine.root / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(SSH)
    # No ini file of the person's own, and this Python alone.
    options = " ".join(machine.options())
    (programs / "pytest").write_text(f'#!/bin/sh\nexec {sys.executable} -m pytest {options} "$@"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    return machine


def script(machine: Machine, name: str, **variables: str) -> Done:
    """Run a script of the examples."""
    path = f"{machine.root / 'bin'}:{os.environ['PATH']}"
    env = {"PATH": path, "URL": f"sqlite:///{machine.root}/{name}.sqlite", "MATRIX": "demo", **variables}
    return machine.run(bare=True, program=(str(EXAMPLES / name),), project=name.partition(".")[0], env=env)


def test_ssh(machine: Machine) -> None:
    """Each host of the list runs the command, and the status is that of the run."""
    done = script(machine, "ssh.sh", HOSTS="one two", RUN="r")
    assert done.status == 0, done.stdout + done.stderr
    assert done.stdout.count("4 combinations: 4 passed") == 2
    assert {path.parent.name for path in done.project.glob("*/spip")} == {"one", "two"}


def test_slurm(machine: Machine) -> None:
    """A task of the array runs the command and ends with its status."""
    (machine.project("slurm")).mkdir(exist_ok=True)
    done = machine.run(
        str(EXAMPLES / "slurm.sbatch"),
        bare=True,
        program=("bash",),
        project="slurm",
        env={
            "PATH": f"{machine.root / 'bin'}:{os.environ['PATH']}",
            "URL": f"sqlite:///{machine.root}/slurm.sqlite",
            "MATRIX": "demo",
            "SLURM_ARRAY_JOB_ID": "7",
            "SLURM_CPUS_PER_TASK": "1",
        },
    )
    assert done.status == 0, done.stdout + done.stderr
    assert "run slurm-7" in done.stdout


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema(name: str) -> None:
    """A file is what the service takes."""
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        f"vendor.{SCHEMAS[name]}",
        str(EXAMPLES / name),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_kubernetes() -> None:
    """The job is one, with no field that does not exist."""
    kubernetes_validate.validate(yaml.safe_load((EXAMPLES / "kubernetes.yml").read_text()), "1.30", strict=True)


@pytest.mark.parametrize("name", ["ssh.sh", "slurm.sbatch"])
def test_shell(name: str) -> None:
    """A linter of scripts finds nothing."""
    program = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run(
        [program, "--severity=warning", EXAMPLES / name], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", sorted(EXAMPLES.iterdir()), ids=lambda path: path.name)
def test_options(path: Path) -> None:
    """Each file names options that exist, and what hosts need to find each other."""
    flags = set(re.findall(r"--spip-[\w-]+", path.read_text()))
    assert {"--spip-matrix", "--spip-queue", "--spip-run"} <= flags <= {option.flag for option in OPTIONS}
