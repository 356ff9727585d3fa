"""xdist's ways to keep tests together, with our scheduler: --dist=loadscope and loadfile; for loadgroup see test_plugins."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

from tests.conftest import MakeMachine
from tests.support.distributions import wheel
from tests.support.machine import LABEL, Machine

VERSIONS = tuple(f"{number}.0" for number in range(1, 9))
NOTED = """\
import os, json, pytest
def note(name):
    with open({path!r}, "a") as stream:
        stream.write(json.dumps([name, os.environ.get("PYTEST_XDIST_WORKER")]) + "\\n")

class TestOne:
    @pytest.mark.parametrize("n", range(4))
    def test_a(self, n):
        note("{name}::TestOne")
    def test_b(self):
        note("{name}::TestOne")

class TestTwo:
    @pytest.mark.parametrize("n", range(4))
    def test_a(self, n):
        note("{name}::TestTwo")

def test_combination(spip_env):
    note("{name}::")
"""


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:
    """Serve eight releases."""
    machine = make_machine()
    for version in VERSIONS:
        wheel(machine.files, "demo", version, {"demo.py": ""})
    return machine


@pytest.mark.parametrize("mode", ["loadscope", "loadfile"])
def test_scopes_stay_with_a_worker(machine: Machine, mode: str) -> None:
    """Tests of one class and module, or of one file, are run by one worker beside a matrix, whatever combination they need."""
    notes = machine.root / f"{mode}.jsonl"
    files = {f"test_{name}.py": NOTED.format(path=str(notes), name=name) for name in "xyz"}
    machine.project(mode, files)
    done = machine.run("--spip-matrix=demo", "-n3", f"--dist={mode}", ".", project=mode)
    assert done.status == 0, done.stdout
    told = [json.loads(line) for line in Path(notes).read_text("utf-8").splitlines()]
    assert len(told) == 3 * (9 + len(VERSIONS))
    workers: dict[str, set[str]] = defaultdict(set)
    for name, worker in told:
        workers[name if mode == "loadscope" else name[0]].add(worker)
    assert all(len(names) == 1 for names in workers.values()), workers
    assert len(done.combinations) == len(VERSIONS)
    assert f"demo[1.0-{LABEL}]" in done.outcomes
