"""The machine's devices: how they are found. Scripts stand in for drivers' programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_spip.session.devices import find_devices
from pytest_spip.session.slots import Device, files

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
