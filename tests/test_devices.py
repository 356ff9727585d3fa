"""The machine's devices: how they are found, and which of their files package code sees. Stand-ins take the place of GPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from pytest_spip.session.devices import find_devices
from pytest_spip.session.slots import Device, files
from tests.conftest import MakeMachine
from tests.support.distributions import wheel
from tests.support.machine import LABEL, Machine
from tests.support.worlds import REFUSED

AUTO = (("gpu", ("auto",)),)
FACTS = "neither CUDA_VISIBLE_DEVICES, NVIDIA's driver nor ROCm names one"
NVIDIA = """\
#!/bin/sh
[ "$1" = -L ] || exit 9
echo "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-11111111-2222)"
echo "  MIG 1g.5gb Device 0: (UUID: MIG-4444)"
echo "GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-33333333-4444)"
"""
ROCM = """\
#!/bin/sh
echo "GPU[0] : GPU ID: 0x740f"
echo "GPU[1] : GPU ID: 0x740f"
echo "GPU[1] : GUID: 1"
"""
without_gpu = pytest.mark.skipif(
    any(Path(path).exists() for path in ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd")), reason="this machine has GPUs"
)


def programs(directory: Path, **texts: str) -> str:
    """Make programs, their names with hyphens, and return a PATH with them and the shell's own."""
    directory.mkdir()
    for name, text in texts.items():
        path = directory / name.replace("_", "-")
        path.write_text(text, "utf-8")
        path.chmod(0o755)
    return f"{directory}:/usr/bin:/bin"


def found(path: str, **environ: str) -> tuple[list[tuple[str, str]], str]:
    """Return names of the GPUs that are found, ours and CUDA's, and the header's lines."""
    devices = find_devices(AUTO, {"PATH": path, **environ})
    return [(one.name, one.cuda) for one in devices.slots["gpu"]], "\n".join(devices.lines)


@without_gpu
def test_finding(tmp_path: Path) -> None:
    """CUDA's variable decides; then NVIDIA's program, variables of ROCm, its program; there may be no device at all."""
    none = programs(tmp_path / "none")
    nvidia = programs(tmp_path / "nvidia", nvidia_smi=NVIDIA, rocm_smi=ROCM)
    rocm = programs(tmp_path / "rocm", rocm_smi=ROCM)
    both = [("0", "GPU-11111111-2222"), ("1", "GPU-33333333-4444")]
    assert found(none) == ([], f"slot gpu has no devices ({FACTS})")
    assert found(nvidia) == (both, "slot gpu has 0, 1 (found by NVIDIA's driver)")
    assert found(rocm) == ([("0", ""), ("1", "")], "slot gpu has 0, 1 (found by ROCm)")
    assert found(rocm, ROCR_VISIBLE_DEVICES="1")[0] == [("1", "")]
    assert found(nvidia, ROCR_VISIBLE_DEVICES="")[0] == both


@without_gpu
@pytest.mark.parametrize(
    ("value", "plain", "listed"),
    [
        ("0,2", ["0", "2"], ["0"]),  # the driver lists no 2
        ("1", ["1"], ["1"]),
        ("", [], []),
        ("-1", [], []),
        ("NoDevFiles", [], []),
        ("1,-1,0", ["1"], ["1"]),
        (" 1 , 0 ", ["1", "0"], ["1", "0"]),
        ("GPU-3333,MIG-4444", ["GPU-3333", "MIG-4444"], ["GPU-3333", "MIG-4444"]),
    ],
)
def test_variable(tmp_path: Path, value: str, plain: list[str], listed: list[str]) -> None:
    """CUDA_VISIBLE_DEVICES counts as CUDA reads it: up to the first word that names no device."""
    none, nvidia = programs(tmp_path / "none"), programs(tmp_path / "nvidia", nvidia_smi=NVIDIA)
    assert [name for name, _ in found(none, CUDA_VISIBLE_DEVICES=value)[0]] == plain
    assert [name for name, _ in found(nvidia, CUDA_VISIBLE_DEVICES=value)[0]] == listed


@without_gpu
def test_driver_that_fails_or_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver's program that fails, or never answers, is named in the header and counts for nothing."""
    monkeypatch.setattr("pytest_spip.session.devices.TIMEOUT", 0.5)
    path = programs(tmp_path / "bad", nvidia_smi="#!/bin/sh\nsleep 60\n", rocm_smi="#!/bin/sh\nexit 3\n")
    assert found(path) == (
        [],
        (
            f"slot gpu has no devices ({FACTS})\n"
            "nvidia-smi gave no answer in 0.5 s, and counts for nothing\n"
            "rocm-smi failed with status 3, and counts for nothing"
        ),
    )


def test_named_files(tmp_path: Path) -> None:
    """A name that is the path of a device file stands for that file; any other path is a name alone."""
    (tmp_path / "link").symlink_to("/dev/zero")
    names = ("/dev/zero", "/dev/../etc/passwd", "/dev/shm", "/dev/nonesuch", str(tmp_path / "link"), "zero")
    devices = find_devices((("fpga", names),), {}).slots["fpga"]
    shown = {one.name: [file for file in one.files if file.startswith("/dev/")] for one in devices}
    assert shown == {"/dev/zero": ["/dev/zero"], **{name: [] for name in names[1:]}}
    assert files({"a": [Device("0", files=("x", "y"))], "b": [Device("1", files=("y",))]}) == ("x", "y")


# -- in the sandbox -----------------------------------------------------------------------------------------------------

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
