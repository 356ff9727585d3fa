"""Runs other people's programs: uv, and what it installed."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import uv

__all__ = ["UV", "Ended", "environment", "run", "uv_environment"]

UV = uv.find_uv_bin()
"""Asked for once, before there are threads: sysconfig, which uv's module asks in turn, is not ready for several at first."""


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status and its output, both streams together."""

    status: int
    output: str


def run(command: Sequence[str], directory: Path, env: Mapping[str, str]) -> Ended:
    """Run a command to its end in a directory, which is made if need be."""
    directory.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        command,
        cwd=directory,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    return Ended(done.returncode, done.stdout)


def environment(index_url: str) -> dict[str, str]:
    """Return our environment with one index in it: the user's others would answer one tool and not the other.

    Everybody may keep bytecode, which some of the tools would not be let and others would.
    """
    ours = {name: value for name, value in os.environ.items() if not _chooses_index(name)}
    ours.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**ours, "UV_DEFAULT_INDEX": index_url, "UV_NO_CONFIG": "1", "PIP_CONFIG_FILE": os.devnull}


def uv_environment(index_url: str, cache: Path) -> dict[str, str]:
    """Return an environment in which uv has a cache of its own and brings no interpreters."""
    return environment(index_url) | {"UV_CACHE_DIR": str(cache), "UV_PYTHON_DOWNLOADS": "never"}


def _chooses_index(name: str) -> bool:
    """Tell whether the variable makes uv or pip look for packages elsewhere."""
    return name.startswith(("UV_", "PIP_")) and ("INDEX" in name or "FIND_LINKS" in name)
