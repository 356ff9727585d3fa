"""Find the machine's devices, and the files that package code needs to use one of them."""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pytest_spip.common.processes import run_program
from pytest_spip.option_values import AUTO, GPU
from pytest_spip.session.slots import Device

__all__ = ["Devices", "find_devices"]

TIMEOUT = 5.0
"""Seconds that a driver's program may take: one whose driver hangs never answers."""
NVIDIA_SHARED = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset")
ROCM_SHARED = ("/dev/kfd",)
"""Device files that a driver has for all its devices together."""
RENDER_NODES = re.compile(r"/dev/dri/renderD(\d+)")
NVIDIA_NODES = re.compile(r"/dev/nvidia(\d+)")
NVIDIA_LINE = re.compile(r"^GPU (\d+): .*\(UUID: (GPU-[^)\s]+)\)", re.MULTILINE)
ROCM_LINE = re.compile(r"\b(?:card|GPU\[)(\d+)")
VISIBLE = re.compile(r"\d+|(?:GPU|MIG)-\S+")
"""What variables such as CUDA_VISIBLE_DEVICES name a device by; CUDA ignores all from the first other word on."""
PROC, SYS = Path("/proc/driver/nvidia/gpus"), Path("/sys/class/kfd/kfd/topology/nodes")


@dataclasses.dataclass(frozen=True, slots=True)
class Devices:
    """The devices of a run by slot, and ``lines`` for its header on those that were found."""

    slots: Mapping[str, tuple[Device, ...]]
    lines: tuple[str, ...] = ()


def find_devices(slots: Iterable[tuple[str, tuple[str, ...]]], environ: Mapping[str, str]) -> Devices:
    """Return the devices of slots, ``AUTO`` replaced by what this machine has, each with its files."""
    found: dict[str, tuple[Device, ...]] = {}
    lines: list[str] = []
    for slot, names in slots:
        if slot == GPU:
            found[slot], more = _gpus(names, environ)
            lines += more
        else:
            found[slot] = tuple(Device(name, files=_named_file(name)) for name in names)
    return Devices(found, tuple(lines))


def _gpus(names: tuple[str, ...], environ: Mapping[str, str]) -> tuple[tuple[Device, ...], list[str]]:
    """Return GPUs by their names, and lines for the header."""
    gpus = _Gpus(environ)
    if names != (AUTO,):
        return tuple(map(gpus.device, names)), gpus.faults
    names, source = gpus.visible()
    line = f"slot {GPU} has {', '.join(names) or 'no devices'} ({source})"
    return tuple(map(gpus.device, names)), [line, *gpus.faults]


@dataclasses.dataclass(frozen=True, slots=True)
class _Gpu:
    """A GPU as a driver lists it."""

    index: str
    uuid: str
    files: tuple[str, ...]

    def is_named(self, name: str) -> bool:
        """Return True for the index, and for a UUID or its beginning, as CUDA takes them."""
        return name == self.index or (name.startswith("GPU-") and self.uuid.startswith(name))


class _Gpus:
    """The GPUs of this machine, by the drivers that are known."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.faults: list[str] = []
        self._nvidia = list(self._nvidia_gpus())
        self._rocm = [] if self._nvidia else list(self._rocm_gpus())

    def visible(self) -> tuple[tuple[str, ...], str]:
        """Return the names of the GPUs that a run may use, and what says so."""
        if "CUDA_VISIBLE_DEVICES" in self._environ:
            return self._chosen("CUDA_VISIBLE_DEVICES"), "CUDA_VISIBLE_DEVICES"
        if self._nvidia:
            return tuple(gpu.index for gpu in self._nvidia), "found by NVIDIA's driver"
        for variable in ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"):
            if variable in self._environ:
                return self._chosen(variable), variable
        if self._rocm:
            return tuple(gpu.index for gpu in self._rocm), "found by ROCm"
        return (), "neither CUDA_VISIBLE_DEVICES, NVIDIA's driver nor ROCm names one"

    def _chosen(self, variable: str) -> tuple[str, ...]:
        words = (word.strip() for word in self._environ[variable].split(","))
        return tuple(dict.fromkeys(itertools.takewhile(self._can_be, words)))

    def _can_be(self, name: str) -> bool:
        """Return True if a name may be that of a GPU: where the driver lists them, it is one of these."""
        known = self._nvidia or self._rocm
        listed = not known or name.startswith("MIG-") or any(gpu.is_named(name) for gpu in known)
        return bool(VISIBLE.fullmatch(name)) and listed

    def device(self, name: str) -> Device:
        """Return a GPU with its files; none are known of what the drivers do not list."""
        for gpu in (*self._nvidia, *self._rocm):
            if gpu.is_named(name):
                return Device(name, gpu.uuid, gpu.files)
        nodes = () if self._nvidia or self._rocm else _nodes(RENDER_NODES)
        if name.isdecimal() and int(name) < len(nodes):
            return Device(name, files=tuple(_with_facts([nodes[int(name)]])))
        return Device(name, files=_named_file(name))

    def _nvidia_gpus(self) -> Iterator[_Gpu]:
        listed = NVIDIA_LINE.findall(self._output("nvidia-smi", "-L"))
        minors = _nvidia_minors()
        if not listed:
            numbers = [path.removeprefix("/dev/nvidia") for path in _nodes(NVIDIA_NODES)]
            listed = [(number, "") for number in numbers]
        for index, uuid in listed:
            yield _Gpu(index, uuid, tuple(_with_facts([f"/dev/nvidia{minors.get(uuid, index)}", *NVIDIA_SHARED])))

    def _rocm_gpus(self) -> Iterator[_Gpu]:
        nodes = [f"/dev/dri/renderD{minor}" for minor in _rocm_minors()]
        if not nodes:
            cards = sorted({int(number) for number in ROCM_LINE.findall(self._output("rocm-smi", "--showid"))})
            files = _nodes(RENDER_NODES)
            nodes = [files[at] if at < len(files) else "" for at in range(len(cards))]
        for index, node in enumerate(nodes):
            yield _Gpu(str(index), "", tuple(_with_facts([node, *ROCM_SHARED])))

    def _output(self, program: str, *arguments: str) -> str:
        """Return what a driver's program writes; nothing, and a fault, where it fails or takes too long."""
        path = shutil.which(program, path=self._environ.get("PATH"))
        if path is None:
            return ""
        try:
            done = run_program([path, *arguments], timeout=TIMEOUT, environment=self._environ)
        except subprocess.TimeoutExpired:
            self.faults.append(f"{program} gave no answer in {TIMEOUT:g} s, and counts for nothing")
        except OSError as error:
            self.faults.append(f"{program} cannot be run ({error.strerror}), and counts for nothing")
        else:
            if done.returncode == 0:
                return done.stdout.decode("utf-8", "replace")
            self.faults.append(f"{program} failed with status {done.returncode}, and counts for nothing")
        return ""


def _nvidia_minors() -> dict[str, str]:
    """Return the numbers of NVIDIA's device files by UUID: they need not be those of nvidia-smi."""
    minors = {}
    for path in PROC.glob("*/information"):
        facts = dict(line.split(":", 1) for line in _text(path).splitlines() if ":" in line)
        if minor := facts.get("Device Minor", "").strip():
            minors[facts.get("GPU UUID", "").strip()] = minor
    return minors


def _rocm_minors() -> list[str]:
    """Return the numbers of render nodes in the order in which ROCm counts its GPUs; processors have none."""
    paths = sorted(SYS.glob("*/properties"), key=lambda path: int(path.parent.name))
    found = (re.search(r"^drm_render_minor ([1-9]\d*)$", _text(path), re.MULTILINE) for path in paths)
    return [one[1] for one in found if one]


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _nodes(pattern: re.Pattern[str]) -> list[str]:
    """Return the device files whose paths match, in the order of their numbers."""
    paths = [str(path) for directory in (Path("/dev"), Path("/dev/dri")) for path in directory.glob("*")]
    found = ((int(match[1]), path) for path in paths if (match := pattern.fullmatch(path)) and _is_device(path))
    return [path for _, path in sorted(found)]


def _is_device(path: str) -> bool:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def _named_file(name: str) -> tuple[str, ...]:
    """Return the files of a device whose name is the path of a device file."""
    path = os.path.normpath(name)
    real = os.path.realpath(path)
    if not (path.startswith("/dev/") and real.startswith("/dev/") and _is_device(real)):
        return ()
    return tuple(dict.fromkeys((path, *_with_facts([real]))))


def _with_facts(paths: Iterable[str]) -> Iterator[str]:
    """Yield those paths that are device files, and what in /sys describes them: drivers' libraries look there."""
    for path in paths:
        if path and _is_device(path):
            yield path
            number = os.stat(path).st_rdev
            link = f"/sys/dev/char/{os.major(number)}:{os.minor(number)}"
            if stat.S_ISCHR(os.stat(path).st_mode) and os.path.exists(link):
                parent = os.path.join(link, "device")
                yield from (link, os.path.realpath(parent if os.path.exists(parent) else link))
            yield from ("/sys/class/kfd",) if path in ROCM_SHARED else ()
