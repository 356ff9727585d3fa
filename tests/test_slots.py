"""Devices that items have to themselves: what may be asked for, who has what, and what package code sees of it."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from pytest_spip.common.owners import acquire_some
from pytest_spip.errors import UsageProblem
from pytest_spip.session.slots import NOTHING, Device, DeviceRequest, Slots, read_device_request, variables
from tests.conftest import MakeMachine
from tests.support.distributions import wheel
from tests.support.machine import LABEL, Done, Machine

PATIENCE = 20.0
TWO = (Device("0"), Device("1"))
HOLDER = """\
import pathlib, sys
from pytest_spip.common.owners import acquire_some
with acquire_some(pathlib.Path(sys.argv[1]), 1, 1):
    print("held", flush=True)
    sys.stdin.read()
"""

# -- what a marker says -------------------------------------------------------------------------------------------------


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


# -- who has what -------------------------------------------------------------------------------------------------------


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


# -- end to end ---------------------------------------------------------------------------------------------------------

CONFTEST = """\
import pytest

def pytest_collection_modifyitems(items):
    for item in items:
        if item.combo.package != "free":
            item.add_marker(pytest.mark.spip({arguments}))
"""
LOUD = "import os\nraise ImportError(' '.join('%s=%s' % (name, os.environ.get(name)) for name in {names!r}))\n"
NAMES = ("SPIP_SLOT_GPU", "CUDA_VISIBLE_DEVICES")
NEEDY = """\
import os, time
assert os.environ["SPIP_SLOT_GPU"] == os.environ["CUDA_VISIBLE_DEVICES"] == "7", dict(os.environ)
device = {place!r} + "/7"
os.close(os.open(device, os.O_CREAT | os.O_EXCL))  # fails where another one has it
time.sleep(0.05)  # a computation
os.unlink(device)
with open({place!r} + "/log", "a") as log:
    log.write(os.environ["SPIP_SLOT_GPU"])
"""
ONE = {"conftest.py": CONFTEST.format(arguments='slots={"gpu": 1}')}
SKIPPING = {"conftest.py": CONFTEST.format(arguments='slots={"gpu": 3}, without="skip"')}
BAD = {"conftest.py": CONFTEST.format(arguments='slots={"gpu": "all"}')}
OPEN = "--spip-sandbox=off"
NONE: Mapping[str, str] = MappingProxyType({})


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:
    """Serve ten releases of needy, which wants the one device, and one of loud and free each, which tell what they see."""
    machine = make_machine()
    place = machine.root / "device"
    place.mkdir()
    place.chmod(0o777)
    for number in range(10):
        wheel(machine.files, "needy", f"{number}.0", {"needy.py": NEEDY.format(place=str(place))})
    for name in ("loud", "free"):
        wheel(machine.files, name, "1.0", {f"{name}.py": LOUD.format(names=NAMES)})
    return machine


def run(machine: Machine, *arguments: str, files: Mapping[str, str] = NONE, project: str) -> Done:
    """Run in a project of its own."""
    machine.project(project, files)
    return machine.run(*arguments, project=project)


@pytest.mark.parametrize("workers", ["-n0", "-n2"])
@pytest.mark.parametrize("runner", ["warm", "cold"])
def test_never_two_at_once(machine: Machine, workers: str, runner: str) -> None:
    """Each of ten items sees the one device and has it to itself, whoever runs them and how."""
    log = machine.root / "device" / "log"
    log.unlink(missing_ok=True)
    how = ("--spip-matrix=needy", "--spip-slots=gpu:7,", OPEN, f"--spip-runner={runner}", workers)
    done = run(machine, *how, files=ONE, project=f"one{workers}-{runner}")
    assert done.status == 0, done.stdout
    assert log.read_text() == "7" * 10
    assert {one["runner"] for one in done.combinations.values()} == {runner}


@pytest.mark.parametrize(
    ("slots", "seen"),
    [
        ("--spip-slots=gpu:1", "SPIP_SLOT_GPU=0 CUDA_VISIBLE_DEVICES=0"),
        ("--spip-slots=tpu:1", "SPIP_SLOT_GPU= CUDA_VISIBLE_DEVICES="),
    ],
)
@pytest.mark.parametrize("runner", ["warm", "cold"])
def test_what_packages_see(machine: Machine, slots: str, seen: str, runner: str) -> None:
    """In the sandbox an item sees its device, or empty variables where there is none; one that needs none sees nothing."""
    how = ("--spip-matrix=loud", "--spip-matrix=free", slots, f"--spip-runner={runner}")
    done = run(machine, *how, files=ONE, project=f"seen-{slots[-5:-2]}-{runner}")
    told = {name: one["detail"] for name, one in done.combinations.items()}
    assert told == {
        f"loud[1.0-{LABEL}]": f"ImportError: {seen}",
        f"free[1.0-{LABEL}]": "ImportError: SPIP_SLOT_GPU=None CUDA_VISIBLE_DEVICES=None",
    }


@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_skipped_without(machine: Machine, workers: str) -> None:
    """Where the marker says so, an item for which there are too few devices is skipped as excluded; the others are run."""
    how = ("--spip-matrix=loud", "--spip-matrix=free", "--spip-slots=gpu:2", workers, "-rs")
    done = run(machine, *how, files=SKIPPING, project=f"skip{workers}")
    assert done.cells == {
        f"loud[1.0-{LABEL}]": ("skipped", "plan", "excluded"),
        f"free[1.0-{LABEL}]": ("failed", "import", "import-error"),
    }
    assert "excluded: it needs 3 of gpu, and there are 2" in done.stdout


def test_waiting_is_counted(machine: Machine) -> None:
    """The wait for a device is in the telemetry, as waiting of the worker that waited."""
    done = run(machine, "--spip-matrix=needy", "--spip-slots=gpu:7,", OPEN, "-n2", files=ONE, project="waiting")
    with contextlib.closing(sqlite3.connect(done.project / ".spip" / "latest" / "run.sqlite")) as database:
        (waited,) = database.execute("SELECT count(*) FROM phase WHERE phase = 'wait' AND seconds > 0").fetchone()
    assert waited >= 10


def test_bad_marker_is_a_usage_error(machine: Machine) -> None:
    """Without workers a marker that means nothing ends the session with status 4 and one line, before anything is run."""
    done = run(machine, "--spip-matrix=loud", "-n0", files=BAD, project="bad")
    assert done.status == 4
    assert "ERROR: @pytest.mark.spip: slots={'gpu': 'all'} are no numbers of devices; write it" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_bad_marker_in_a_worker(machine: Machine) -> None:
    """In workers it is an error of the item, told in the same line; the item is not run."""
    done = run(machine, "--spip-matrix=loud", "-n2", files=BAD, project="bad-n2")
    assert done.status == 1
    assert "@pytest.mark.spip: slots={'gpu': 'all'} are no numbers of devices; write it like" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert done.cells == {}


def test_mended_marker(machine: Machine) -> None:
    """What was not run for its marker is run when the run goes on with a better one."""
    run(machine, "--spip-matrix=loud", "-n2", files=BAD, project="mended")
    machine.project("mended", ONE)
    resumed = machine.run("--spip-resume", "--spip-report=json:report.json", project="mended", bare=True)
    assert resumed.cells == {f"loud[1.0-{LABEL}]": ("failed", "import", "import-error")}


def test_marker_is_told(machine: Machine) -> None:
    """``--markers`` tells the marker's arguments."""
    assert (
        "@pytest.mark.spip(versions, python, timeout, network, slots, without): "
        in machine.run("--markers", bare=True).stdout
    )
