"""Lines that reproduce a verdict, executed."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from pytest_spip.provision.uv_program import find_uv
from tests.support.machine import LABEL, Done, Machine

__all__ = ["PROGRAMS", "again", "line_of"]

PROGRAMS = os.pathsep.join((str(Path(sys.executable).parent), str(Path(find_uv()).parent)))


def again(machine: Machine, line: str, project: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Execute a printed line."""
    environ = machine.environment(env)
    environ |= {"PATH": f"{PROGRAMS}{os.pathsep}{environ['PATH']}", "UV_CACHE_DIR": str(machine.root / "fresh")}
    environ = {name: value for name, value in environ.items() if value}
    cwd = machine.project_path(project)
    return subprocess.run(
        shlex.split(line), cwd=cwd, env=environ, capture_output=True, text=True, check=False, timeout=120
    )


def line_of(done: Done, name: str) -> str:
    """Return the line of a combination."""
    line: str = done.combinations[f"{name}-{LABEL}]"]["reproduce"]
    return line
