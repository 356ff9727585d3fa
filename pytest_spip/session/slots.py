"""Devices that combinations have to themselves: what a marker asks for, and the variables that name them to package code."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pytest_spip.common.owners import acquire_some
from pytest_spip.errors import UsageProblem
from pytest_spip.option_values import GPU, SLOT_NAME

__all__ = ["MARKER", "NOTHING", "Device", "DeviceRequest", "Slots", "files", "read_device_request", "variables"]

MARKER = "@pytest.mark.spip"


@dataclasses.dataclass(frozen=True, slots=True)
class DeviceRequest:
    """How many devices of each slot an item needs. Where there are too few it runs without any, unless it ``skips``."""

    slots: tuple[tuple[str, int], ...] = ()
    skips: bool = False


NOTHING = DeviceRequest()


@dataclasses.dataclass(frozen=True, slots=True)
class Device:
    """One device of a slot; ``cuda`` is CUDA's name for it, where that is another one.

    ``files`` are what a sandbox must show: device files, and directories of /sys that describe them.
    """

    name: str
    cuda: str = ""
    files: tuple[str, ...] = ()


def read_device_request(keywords: Mapping[str, object]) -> DeviceRequest:
    """Return what the marker's keywords ask for, the slots in the order of their names. Raises ``UsageProblem``."""
    unknown = keywords.keys() - {"slots", "without"}
    if unknown:
        raise UsageProblem(MARKER, f"it has no {min(unknown)}", "it takes slots and without")
    without = keywords.get("without", "run")
    if without not in ("run", "skip"):
        raise UsageProblem(MARKER, f"invalid choice without={without!r} (choose from 'run', 'skip')")
    slots = keywords.get("slots", {})
    if not isinstance(slots, Mapping) or not all(_is_count(name, count) for name, count in slots.items()):
        raise UsageProblem(MARKER, f"slots={slots!r} are no numbers of devices", 'write it like slots={"gpu": 1}')
    return DeviceRequest(tuple(sorted(slots.items())), skips=without == "skip")


def _is_count(name: object, count: object) -> bool:
    return isinstance(name, str) and bool(SLOT_NAME.fullmatch(name)) and type(count) is int and count > 0


class Slots:
    """The devices of a run by slot, which its workers share by locks below a directory that they have in common."""

    def __init__(self, directory: Path, devices: Mapping[str, Sequence[Device]]) -> None:
        self._directory = directory
        self._devices = devices

    def lack(self, need: DeviceRequest) -> str:
        """Return what there is too little of, as ``it needs 2 of gpu, and there is 1``; empty where there is enough."""
        for name, count in need.slots:
            there = len(self._devices.get(name, ()))
            if there < count:
                return f"it needs {count} of {name}, and there {'is' if there == 1 else 'are'} {there}"
        return ""

    @contextlib.contextmanager
    def held(self, need: DeviceRequest) -> Iterator[Mapping[str, Sequence[Device]]]:
        """Wait for the devices, hold them, and yield them by slot; no device of any where there are too few.

        Everybody gathers in the order of the slots' names, so nobody waits for one who waits for him.
        """
        enough = not self.lack(need)
        with contextlib.ExitStack() as stack:
            given: dict[str, Sequence[Device]] = {}
            for name, count in need.slots:
                devices = self._devices[name] if enough else ()
                taken = stack.enter_context(acquire_some(self._directory / name, len(devices), count if enough else 0))
                given[name] = [devices[number] for number in taken]
            yield given


def variables(given: Mapping[str, Sequence[Device]]) -> dict[str, str]:
    """Return the variables that name devices by slot: ``SPIP_SLOT_GPU=0,1``, and what CUDA reads."""
    named = {f"SPIP_SLOT_{slot.upper()}": ",".join(one.name for one in devices) for slot, devices in given.items()}
    cuda = ",".join(one.cuda or one.name for one in given.get(GPU, ()))
    return named | ({"CUDA_VISIBLE_DEVICES": cuda} if GPU in given else {})


def files(given: Mapping[str, Sequence[Device]]) -> tuple[str, ...]:
    """Return the files of devices, each once."""
    return tuple(dict.fromkeys(file for devices in given.values() for one in devices for file in one.files))
