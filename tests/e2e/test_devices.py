"""Which of the machine's devices package code sees. Stand-ins take the place of GPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import MakeMachine
from tests.support.distributions import wheel
from tests.support.machine import LABEL, Machine
from tests.support.worlds import REFUSED

without_gpu = pytest.mark.skipif(
    any(Path(path).exists() for path in ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd")), reason="this machine has GPUs"
)


STAND_INS = ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "dri/renderD128", "kfd", "fpga0")
DEV = """\
set -eu
place=$1; shift
mount -t tmpfs -o mode=755 devices "$place"
for name in null zero full random urandom tty; do touch "$place/$name"; mount --bind "/dev/$name" "$place/$name"; done
mkdir "$place/pts" "$place/shm" "$place/dri"
mount --bind /dev/pts "$place/pts"; mount --bind /dev/shm "$place/shm"
ln -s /proc/self/fd "$place/fd"; ln -s pts/ptmx "$place/ptmx"
for name in {names}; do mknod -m 666 "$place/$name" c 1 3; done
mknod -m 660 "$place/grouped0" c 1 3; chgrp 54321 "$place/grouped0"
mount --rbind "$place" /dev
exec "$@"
"""
"""Gives a program a /dev with stand-ins for GPUs, which behave as /dev/null, and one that a group alone may use."""
LOOK = """\
import os
seen = []
for name in {names!r}:
    try:
        os.close(os.open("/dev/" + name, os.O_RDWR))
    except FileNotFoundError:
        pass
    except OSError as error:
        seen.append(name + "!")
    else:
        seen.append(name)
raise ImportError(" ".join(seen + [os.environ.get("CUDA_VISIBLE_DEVICES", "-")]))
"""
CONFTEST = """\
import pytest

def pytest_collection_modifyitems(items):
    for item in items:
        if item.combo.package != "free":
            item.add_marker(pytest.mark.spip(slots={arguments}))
"""


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:
    """Serve packages that say which of the stand-ins they can open."""
    machine = make_machine()
    names = (*STAND_INS, "grouped0", "null")
    for package in ("needy", "free"):
        wheel(machine.files, package, "1.0", {f"{package}.py": LOOK.format(names=names)})
    return machine


@pytest.fixture
def world(tmp_path: Path) -> tuple[str, ...]:
    """Return the beginning of a command that sees a /dev with stand-ins."""
    place = tmp_path / "dev"
    place.mkdir()
    world = ("unshare", "--mount", "sh", "-c", DEV.format(names=" ".join(STAND_INS)), "sh", str(place))
    if os.getuid() or subprocess.run([*world, "true"], check=False, capture_output=True).returncode:
        pytest.skip("device nodes are made by root")
    return world


def seen(
    machine: Machine, world: tuple[str, ...], slots: Mapping[str, int], *arguments: str, project: str
) -> list[str]:
    """Return what needy and free say that they see."""
    machine.project(project, {"conftest.py": CONFTEST.format(arguments=slots)})
    program = (*world, sys.executable, "-m", "pytest")
    both = ("--spip-matrix=needy", "--spip-matrix=free")
    done = machine.run(*both, *arguments, program=program, project=project)
    details = [done.combinations[f"{name}[1.0-{LABEL}]"]["detail"] for name in ("needy", "free")]
    return [detail.removeprefix("ImportError: ") for detail in details]


@pytest.mark.parametrize("runner", ["warm", "cold"])
@without_gpu
def test_own_devices_alone(machine: Machine, world: tuple[str, ...], runner: str) -> None:
    """An item sees the files of its devices and of no others, and what the driver has for all; other items see none."""
    told = seen(
        machine, world, {"gpu": 1}, "--spip-slots=gpu:1,", f"--spip-runner={runner}", "-n0", project=f"one-{runner}"
    )
    assert told == ["nvidia1 nvidiactl nvidia-uvm null 1", "null -"]


@without_gpu
def test_found_devices(machine: Machine, world: tuple[str, ...]) -> None:
    """With ``auto`` the devices whose files are there are found, in workers too; an item may have all of them."""
    told = seen(machine, world, {"gpu": 2}, "--spip-slots=gpu:auto", "-n2", project="auto")
    assert told == ["nvidia0 nvidia1 nvidiactl nvidia-uvm null 0,1", "null -"]


def test_files_by_name(machine: Machine, world: tuple[str, ...]) -> None:
    """Any slot's devices may be files, also those that only a group may use; who needs too many has none."""
    slots = ("--spip-slots=fpga:/dev/fpga0", "--spip-slots=other:/dev/grouped0")
    told = seen(machine, world, {"fpga": 1, "other": 1}, *slots, "-n0", project="named")
    assert told == ["fpga0 grouped0 null -", "null -"]
    assert seen(machine, world, {"fpga": 2}, *slots, "-n0", project="too-many") == ["null -", "null -"]


def test_level_2(machine: Machine, world: tuple[str, ...]) -> None:
    """Without namespaces, too, the files of an item's own devices are open to it, and no others."""
    refusing = (*world, *REFUSED)
    needy, free = seen(machine, refusing, {"gpu": 1}, "--spip-slots=gpu:1,", "-n0", project="level-2")
    assert needy.startswith("nvidia0! nvidia1 nvidiactl nvidia-uvm "), needy
    assert free.startswith("nvidia0! nvidia1! nvidiactl! nvidia-uvm! "), free
