"""What a person sees who tries a combination by hand: the output of uv and of a cold interpreter, for a disagreement."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import uv

from benchmarks.matrix import Planned, environment
from tests.support.oracle import public_modules

__all__ = ["testimony"]

SUFFIXES = "import importlib.machinery, json; print(json.dumps(importlib.machinery.all_suffixes()))"


def testimony(combination: Planned, exclude_newer: str, index_url: str) -> str:
    """Install the combination into a new environment, import its modules one by one, and return what was said."""
    with tempfile.TemporaryDirectory(prefix="witness-") as name:
        room = Path(name)
        env = environment(index_url) | {"UV_CACHE_DIR": str(room / "cache"), "UV_PYTHON_DOWNLOADS": "never"}
        wanted = f"{combination.package}=={combination.version}"
        install = ["pip", "install", "-q", "--python", "venv", "--exclude-newer", exclude_newer, wanted]
        said = [_said([uv.find_uv_bin(), "venv", "-q", "--python", str(combination.path), "venv"], room, env)]
        said += [_said([uv.find_uv_bin(), *install], room, env)]
        said += [_said([_python(room), "-c", f"import {each}"], room, env) for each in _modules(combination, room)]
        return "\n".join(said)


def _modules(combination: Planned, room: Path) -> Sequence[str]:
    """Return the public modules of what was installed; none when nothing was."""
    places = [str(each) for each in room.glob("venv/lib/*/site-packages")]
    found = next(iter(importlib.metadata.distributions(name=combination.package, path=places)), None)
    if found is None:
        return ()
    suffixes = subprocess.run([_python(room), "-c", SUFFIXES], check=True, capture_output=True, text=True).stdout
    return public_modules(found, json.loads(suffixes))


def _python(room: Path) -> str:
    return str(room / "venv" / "bin" / "python")


def _said(command: Sequence[str], room: Path, env: Mapping[str, str]) -> str:
    """Return the command's last words, its exit status and the end of its output."""
    done = subprocess.run(
        command,
        cwd=room,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    return "\n".join(
        [f"$ {Path(command[0]).name} {' '.join(command[1:])} -> {done.returncode}", *done.stdout.splitlines()[-6:]]
    )
