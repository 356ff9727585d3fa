"""A session builds in sandboxes."""

from __future__ import annotations

from pytest_spip.run.levels import FORCE
from tests.support.distributions import builds, simple_sdist
from tests.support.machine import LABEL, Machine


def test_session(machine: Machine, level: int) -> None:
    """A session builds in sandboxes of its level, and tries again what failed in others; the counter lies outside."""
    simple_sdist(machine.files, "made", "1.0", {"made.py": ""}, counter=machine.root / "counter")
    confined = machine.run("--spip-matrix=made", env={FORCE: str(level)})
    assert confined.cells == {f"made[1.0-{LABEL}]": ("failed", "build", "build-failed")}
    assert "counter" in confined.combinations[f"made[1.0-{LABEL}]"]["detail"]
    assert machine.run("--spip-matrix=made", "--spip-sandbox=off").outcomes == {f"made[1.0-{LABEL}]": "passed"}
    assert len(builds(machine.root / "counter")) == 1
