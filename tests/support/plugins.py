"""Plugins of pytest, fetched from the public index, each into a directory of its own that PYTHONPATH can name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

__all__ = ["Plugins"]

FURTHER = {"pytest-html": ("pytest-metadata", "jinja2", "markupsafe"), "pytest-cov": ("coverage",)}
FURTHER |= {"pytest-sugar": ("termcolor",)}
"""What plugins need beside pytest, which is to stay the one that is here."""


class Plugins:
    """Below ``root``; what was fetched once stays."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def variables(self, *requirements: str) -> dict[str, str]:
        """Return the variables with which an interpreter has these plugins as if they were installed."""
        return {"PYTHONPATH": os.pathsep.join(str(self._directory(one)) for one in requirements)}

    def _directory(self, requirement: str) -> Path:
        place = self._root / requirement
        if not place.exists():
            self._install((requirement, *FURTHER.get(requirement, ())), place)
        return place

    def _install(self, requirements: Sequence[str], place: Path) -> None:
        command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--target", str(place)]
        cache = {"UV_CACHE_DIR": str(self._root / "cache"), "UV_PYTHON": sys.executable}
        ended = subprocess.run([*command, *requirements], check=False, timeout=300, env={**os.environ, **cache})
        if ended.returncode:
            assert os.environ.get("SPIP_MUST_WORK") != "1", f"{requirements} cannot be had"
            pytest.skip(f"{requirements} cannot be had from the index")
