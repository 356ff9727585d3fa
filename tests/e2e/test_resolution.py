"""The user's settings of resolutions count in a run."""

from __future__ import annotations

from tests.support.distributions import wheel
from tests.support.machine import LABEL, Machine


def test_what_is_locked(machine: Machine) -> None:
    """A run locks what uv locks with the same settings, says so, and never what another run locked with others."""
    for version in ("1.0", "2.0", "3.0a1"):
        wheel(machine.files, "deep", version, {"deep.py": ""})
    wheel(machine.files, "top", "1.0", {"top.py": "import deep\n"}, requires=["deep"])
    machine.project("settings", {"limits.txt": "deep<2\n"})
    ways: dict[str, dict[str, str]] = {
        "2.0": {},
        "1.0": {"UV_CONSTRAINT": "limits.txt"},
        "3.0a1": {"UV_PRERELEASE": "allow"},
    }
    for expected, env in ways.items():
        done = machine.run("--spip-matrix=top", project="settings", env=env)
        assert done.combinations[f"top[1.0-{LABEL}]"]["locked"]["deep"] == expected, done.stdout + done.stderr
        assert ("resolved with your settings: " in done.stdout) == bool(env)
