"""The command ``pytest-spip doctor``."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have a cache of one's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("home")
def test_doctor_names_what_is_there() -> None:
    """Each level, the places, the tools and the Pythons have a line; one level is the one that runs use."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest_spip.cli", "doctor"], capture_output=True, text=True, check=False
    )
    lines = done.stdout.splitlines()
    told = {line[6:].partition(" (")[0].partition(":")[0] for line in lines if re.match("  (ok|--)  ", line)}
    assert {"sandbox level 3", "sandbox level 2", "sandbox level 1", "warm interpreters"} <= told
    assert {"environments", "cache", "git", "uv", "Pythons"} <= told
    assert done.stdout.count("runs use it") == 1
    assert sum(line.startswith("  --") for line in lines) == sum("fix: " in line for line in lines)
    assert done.returncode == int("  --" in done.stdout)
    assert done.stderr == ""


@pytest.mark.usefixtures("home")
def test_doctor_has_a_fix_for_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that is not there is told with the fix; the status says so."""
    monkeypatch.setenv("PATH", "/nowhere")
    done = subprocess.run(
        [sys.executable, "-m", "pytest_spip.cli", "doctor"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "  --  git: not found on PATH\n      fix: install git" in done.stdout
