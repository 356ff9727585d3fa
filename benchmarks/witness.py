"""What a person sees who tries a combination by hand: the output of uv and of a cold interpreter, for a disagreement."""

from __future__ import annotations

import importlib.metadata
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.commands import UV, run, uv_environment
from benchmarks.matrix import Planned
from tests.support.oracle import public_modules

__all__ = ["testimony"]

SUFFIXES = "import importlib.machinery, json; print(json.dumps(importlib.machinery.all_suffixes()))"


def testimony(combination: Planned, exclude_newer: str, index_url: str) -> str:
    """Install the combination into a new environment, import its modules one by one, and return what was said."""
    with tempfile.TemporaryDirectory(prefix="witness-") as name:
        room = Path(name)
        env = uv_environment(index_url, room / "cache")
        wanted = f"{combination.package}=={combination.version}"
        install = ["pip", "install", "-q", "--python", "venv", "--exclude-newer", exclude_newer, wanted]
        said = [_said([UV, "venv", "-q", "--python", str(combination.path), "venv"], room, env)]
        said += [_said([UV, *install], room, env)]
        said += [_said([_python(room), "-c", f"import {each}"], room, env) for each in _modules(combination, room)]
        return "\n".join(said)


def _modules(combination: Planned, room: Path) -> Sequence[str]:
    """Return the public modules of what was installed; none when nothing was."""
    places = [str(each) for each in room.glob("venv/lib/*/site-packages")]
    found = next(iter(importlib.metadata.distributions(name=combination.package, path=places)), None)
    if found is None:
        return ()
    return public_modules(found, json.loads(run([_python(room), "-c", SUFFIXES], room, {}).output))


def _python(room: Path) -> str:
    return str(room / "venv" / "bin" / "python")


def _said(command: Sequence[str], room: Path, env: Mapping[str, str]) -> str:
    """Return the command, its exit status and the end of its output."""
    done = run(command, room, env)
    last = done.output.splitlines()[-6:]
    return "\n".join([f"$ {Path(command[0]).name} {' '.join(command[1:])} -> {done.status}", *last])
