"""The interpreters that tests may use: the running one, and those of pyenv where there are any."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

__all__ = ["pythons"]

OLDEST = (3, 8)


def pythons() -> dict[str, Path]:
    """Return one CPython for each ``3.x`` from 3.8 on, oldest first; the running one stands for its own version."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = {_version(path): path for path in sorted(root.glob("versions/*/bin/python"), key=_version)}
    newest = {version[:2]: path for version, path in found.items() if version[:2] >= OLDEST}
    newest[sys.version_info[:2]] = Path(sys.executable)
    return {f"{major}.{minor}": path for (major, minor), path in sorted(newest.items())}


def _version(python: Path) -> tuple[int, int, int]:
    """Return the version that pyenv's directory is named for, zeros for other names (``pypy3.10-7.3.12``)."""
    match = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)", python.parents[1].name)
    return (int(match[1]), int(match[2]), int(match[3])) if match else (0, 0, 0)
