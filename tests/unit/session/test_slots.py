"""Devices for combinations: who gets which, and who waits."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from pytest_spip.common.owners import acquire_some
from pytest_spip.errors import UsageProblem
from pytest_spip.session.slots import Device, DeviceRequest, Slots, read_device_request, variables

PATIENCE = 20.0
TWO = (Device("0"), Device("1"))
HOLDER = """\
import pathlib, sys
from pytest_spip.common.owners import acquire_some
with acquire_some(pathlib.Path(sys.argv[1]), 1, 1):
    print("held", flush=True)
    sys.stdin.read()
"""

NOTHING = DeviceRequest()


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ({"slot": {"gpu": 1}}, "it has no slot; it takes slots and without"),
        ({"without": "wait"}, "invalid choice without='wait' (choose from 'run', 'skip')"),
        ({"slots": "gpu"}, "slots='gpu' are no numbers of devices; write it like slots={\"gpu\": 1}"),
        ({"slots": {"gpu": 0}}, "slots={'gpu': 0} are no numbers of devices; write it like slots={\"gpu\": 1}"),
        ({"slots": {"gpu": True}}, "slots={'gpu': True} are no numbers of devices; write it like slots={\"gpu\": 1}"),
        ({"slots": {"a b": 1}}, "slots={'a b': 1} are no numbers of devices; write it like slots={\"gpu\": 1}"),
        ({"slots": {1: 1}}, 'slots={1: 1} are no numbers of devices; write it like slots={"gpu": 1}'),
    ],
)
def test_bad_marker(told: Mapping[str, object], line: str) -> None:
    """What a marker cannot mean is told in one line that names the marker and the fix."""
    with pytest.raises(UsageProblem) as caught:
        read_device_request(told)
    assert str(caught.value) == f"@pytest.mark.spip: {line}"


def test_variables() -> None:
    """Each slot has a variable; that of gpu is also CUDA's; where there is no device they are empty."""
    assert variables({"gpu": [Device("0"), Device("3")], "tpu": [Device("x")]}) == {
        "SPIP_SLOT_GPU": "0,3",
        "SPIP_SLOT_TPU": "x",
        "CUDA_VISIBLE_DEVICES": "0,3",
    }
    assert variables({"gpu": [Device("1", cuda="GPU-8932")]}) == {
        "SPIP_SLOT_GPU": "1",
        "CUDA_VISIBLE_DEVICES": "GPU-8932",
    }
    assert variables({"gpu": []}) == {"SPIP_SLOT_GPU": "", "CUDA_VISIBLE_DEVICES": ""}
    assert variables({"tpu": []}) == {"SPIP_SLOT_TPU": ""}
    assert variables({}) == {}


def test_too_few(tmp_path: Path) -> None:
    """What there is too little of is named; the item then has none of any slot, and what is left is free for others."""
    slots = Slots(tmp_path, {"gpu": TWO})
    assert slots.lack(DeviceRequest((("gpu", 2),))) == ""
    assert slots.lack(DeviceRequest((("gpu", 3),))) == "it needs 3 of gpu, and there are 2"
    assert slots.lack(DeviceRequest((("gpu", 1), ("tpu", 1)))) == "it needs 1 of tpu, and there are 0"
    with slots.held(DeviceRequest((("gpu", 2),))), slots.held(DeviceRequest((("gpu", 1), ("tpu", 1)))) as given:
        assert given == {"gpu": [], "tpu": []}


def test_devices_are_exclusive(tmp_path: Path) -> None:
    """Two who hold a device each hold different ones, by the names that were given."""
    slots = Slots(tmp_path, {"gpu": (Device("GPU-8932"), Device("3"))})
    one = DeviceRequest((("gpu", 1),))
    with slots.held(one) as first, slots.held(one) as second:
        assert {one.name for one in (*first["gpu"], *second["gpu"])} == {"GPU-8932", "3"}
    with slots.held(DeviceRequest((("gpu", 2),))) as both:
        assert [one.name for one in both["gpu"]] == ["GPU-8932", "3"]


def test_waits_for_a_device(tmp_path: Path) -> None:
    """Who needs what another has gets it when that one lets go, and not before."""
    held = threading.Event()

    def wait() -> None:
        with acquire_some(tmp_path, 1, 1):
            held.set()

    thread = threading.Thread(target=wait)
    with acquire_some(tmp_path, 1, 1):
        thread.start()
        assert not held.wait(0.1)
    assert held.wait(PATIENCE)
    thread.join(PATIENCE)


def test_death_gives_devices_back(tmp_path: Path) -> None:
    """What a killed process held is free again."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.kill()
    with acquire_some(tmp_path, 1, 1) as taken:
        assert taken == [0]


def test_nobody_waits_for_good(tmp_path: Path) -> None:
    """Many who each need both devices of two slots, named in either order, all have their turn, one after another."""
    slots = Slots(tmp_path, {"gpu": TWO, "tpu": TWO})
    needs = [read_device_request({"slots": {"gpu": 2, "tpu": 1}}), read_device_request({"slots": {"tpu": 2, "gpu": 1}})]
    inside, most, turns = 0, 0, 0

    def work(need: DeviceRequest) -> None:
        nonlocal inside, most, turns
        for _ in range(5):
            with slots.held(need):
                inside += 1
                most = max(most, inside)
                turns += 1
                inside -= 1

    threads = [threading.Thread(target=work, args=(needs[number % 2],), daemon=True) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    assert (turns, most) == (30, 1)


@pytest.mark.parametrize(
    ("told", "need"),
    [
        ({}, NOTHING),
        ({"slots": {}}, NOTHING),
        ({"slots": {"gpu": 1}}, DeviceRequest((("gpu", 1),))),
        ({"slots": {"gpu": 1}, "without": "run"}, DeviceRequest((("gpu", 1),))),
        ({"slots": {"tpu": 2, "gpu": 1}, "without": "skip"}, DeviceRequest((("gpu", 1), ("tpu", 2)), skips=True)),
    ],
)
def test_marker(told: Mapping[str, object], need: DeviceRequest) -> None:
    """A marker tells how many devices of each slot an item needs, and what happens where there are too few."""
    assert need == read_device_request(told)
