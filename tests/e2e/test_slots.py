"""Devices that items have to themselves: what may be asked for, who has what, and what package code sees of it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping
from types import MappingProxyType

import pytest

from tests.conftest import MakeMachine
from tests.support.distributions import wheel
from tests.support.machine import LABEL, Done, Machine

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
