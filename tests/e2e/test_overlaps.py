"""Wheels that install files at one place: what a run makes of them."""

from __future__ import annotations

from textwrap import dedent

import pytest

from tests.conftest import MakeMachine
from tests.support.distributions import wheel
from tests.support.machine import Machine


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:
    """Have packages that need one of two wheels with a file of one size and time, or both."""
    machine = make_machine()
    wheel(machine.files, "zlow", "1.0", {"same.py": "who = 'low'\n"})
    wheel(machine.files, "atop", "1.0", {"same.py": "who = 'top'\n"}, requires=["zlow"])
    wheel(machine.files, "file", "1.0", {"atop_data": ""})
    wheel(machine.files, "dir", "1.0", {"atop_data/x.txt": ""})
    for version in ("1.0", "1.1", "1.2"):
        code = "import same\nassert same.who == 'low', same.who\n"
        wheel(machine.files, "solo", version, {"solo.py": code}, requires=["zlow"])
        code = "import same\nassert same.who == 'top', same.who\n"
        wheel(machine.files, "both", version, {"both.py": code}, requires=["atop", "zlow"])
    wheel(machine.files, "both", "2.0", {"both.py": ""}, requires=["file", "dir"])
    wheel(machine.files, "plain", "1.0", {"plain.py": ""})
    return machine


@pytest.mark.parametrize("level", ["3", "1"])
def test_verdict_is_that_of_the_last(machine: Machine, level: str) -> None:
    """The file that pip leaves is imported, also where the other one's bytecode was kept for packages that it alone serves."""
    env = {"SPIP_SANDBOX_LEVEL": level}
    for _ in range(3):  # so that layers are compiled
        solo = machine.run("--spip-matrix=solo", "--spip-build=never", "-n1", env=env)
        assert (solo.status, set(solo.outcomes.values())) == (0, {"passed"}), solo.stdout
    for _ in range(3):
        both = machine.run("--spip-matrix=both", "--spip-build=never", "-n1", env=env)
        outcomes = {one["version"]: one["reason"] or one["outcome"] for one in both.combinations.values()}
        assert outcomes == {"1.0": "passed", "1.1": "passed", "1.2": "passed", "2.0": "bad-metadata"}, both.stdout
    texts = [text for one in both.combinations.values() for text in one["warnings"]]
    assert len(texts) == 3
    assert all(text.startswith("atop 1.0 replaces files of zlow 1.0 (same.py)") for text in texts)
    assert "file 1.0 has the file atop_data where dir 1.0 has a directory" in both.stdout


TEST = """
def test_it(spip_env):
    spip_env.install("zlow")
    assert spip_env.python("import same; print(same.who)").stdout == "low\\n"
    spip_env.install("atop")
    assert spip_env.python("import same; print(same.who)").stdout == "top\\n"
"""


@pytest.mark.parametrize("level", ["3", "1"])
def test_what_a_test_adds_comes_last(machine: Machine, level: str) -> None:
    """What a test installs later replaces what it installed before."""
    machine.project("adding", {"test_it.py": dedent(TEST)})
    arguments = ("--spip-matrix=plain", "--spip-check=none", "test_it.py")
    done = machine.run(*arguments, project="adding", env={"SPIP_SANDBOX_LEVEL": level})
    assert done.status == 0, done.stdout
