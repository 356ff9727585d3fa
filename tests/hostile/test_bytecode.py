"""Bytecode that is kept for later combinations: no package decides on another's, or on anything outside a layer."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pytest_spip.common.cache import Cache
from pytest_spip.compose.layers import Layers
from pytest_spip.model import Check
from pytest_spip.run.checks import check_runner_of
from pytest_spip.run.process import Ended
from tests.support.distributions import wheel
from tests.support.machine import LABEL, Machine
from tests.support.ways import must_work

SITE = "lib/python3.12/site-packages"
IMPORTED = ("/env/good.py", "/usr/lib/os.py", "/env/good.txt", "", "/environment/x.py")
COMPILED = f"{SITE}/__pycache__/good.cpython-312.pyc"


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    """Have two layers that both hold a module of one name."""
    layers = Layers(Cache(tmp_path / "cache"), 0)
    for name in ("good", "evil"):
        (layers.root / name / SITE).mkdir(parents=True)
        (layers.root / name / SITE / "good.py").write_text("", "utf-8")
    return layers


def bytecode_in(layers: Layers, name: str) -> list[str]:
    """Return the names of the bytecode that was filed with a layer."""
    return sorted(path.name for path in (layers.root / f"{name}c").rglob("*.pyc"))


def test_bytecode_is_filed_with_its_source(layers: Layers) -> None:
    """A layer that nothing hides gets the bytecode of what it holds."""
    layers.compile("good", {COMPILED: b"bytecode"})
    assert bytecode_in(layers, "good") == ["good.cpython-312.pyc"]


def test_bytecode_of_another_layer_is_left_out(layers: Layers) -> None:
    """Where a layer above hid a source, the bytecode is that layer's and not filed with the one below."""
    layers.compile("good", {COMPILED: b"bytecode"}, ["evil"])
    assert bytecode_in(layers, "good") == []


@pytest.mark.parametrize("place", ["{outside}/__pycache__/good.pyc", "../../{name}/__pycache__/good.pyc"])
def test_bytecode_stays_in_its_layer(layers: Layers, tmp_path: Path, place: str) -> None:
    """A path that leads out of the layer is left out, also where a source lies there."""
    outside = tmp_path / "cache" / "outside"
    outside.mkdir()
    (outside / "good.py").write_text("", "utf-8")
    layers.compile("good", {place.format(outside=outside, name="outside"): b"bytecode"})
    assert (list(outside.iterdir()), bytecode_in(layers, "good")) == ([outside / "good.py"], [])


@pytest.mark.parametrize(
    ("kind", "told"),
    [("import", "warm\0001\0{}\0\0".format("\n".join(IMPORTED))), ("suite", json.dumps(["sources", *IMPORTED, 3]))],
)
def test_only_sources_of_the_environment_are_compiled(kind: str, told: str) -> None:
    """Of what a child says it imported, only sources below the environment count."""
    ended = Ended(0, "", "", told.encode(), 0.0, 0.0, 0)
    assert check_runner_of(Check(kind), network=False).sources(ended, ("/env/",)) == ("/env/good.py",)


def test_bytecode_of_a_hidden_module_does_not_reach_the_next(machine: Machine) -> None:
    """A package that overwrites a dependency's module, with the same size and age, changes it for nobody else."""
    must_work(3)
    wheel(machine.files, "good", "1.0", {"good.py": "WHO = 'good'\n"})
    # Of two wheels with one file that of the later name counts.
    wheel(
        machine.files, "wicked", "1.0", {"wicked.py": "import good\n", "good.py": "WHO = 'evil'\n"}, requires=["good"]
    )
    wheel(machine.files, "user", "1.0", {"user.py": "import good\nassert good.WHO == 'good'\n"}, requires=["good"])
    warm = ("--spip-sandbox=strict", "--spip-runner=warm")
    assert machine.run("--spip-matrix=wicked", *warm).outcomes == {f"wicked[1.0-{LABEL}]": "passed"}
    for source in machine.cache.rglob("good.py"):
        os.utime(source, (1_000_000_000, 1_000_000_000))

    done = machine.run("--spip-matrix=wicked", "--spip-matrix=user", *warm)

    assert done.outcomes == {f"wicked[1.0-{LABEL}]": "passed", f"user[1.0-{LABEL}]": "passed"}, done.stdout
