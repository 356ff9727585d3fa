"""A wheel that stands in for requirements: what it requires is not direct, so ``lowest-direct`` does not lower it."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path

from pytest_spip.common.cache import Cache
from pytest_spip.model import digest
from pytest_spip.provision.resolver import BuiltWheel

__all__ = ["STAND_IN", "StandIns"]

STAND_IN = "pytest-spip-test-requirements"
"""The wheel's project, which no environment holds: it is only resolved with."""


class StandIns:
    """The cache's stand-ins, one for equal requirements."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def wheel(self, requirements: Sequence[str]) -> BuiltWheel:
        """Return the wheel that requires these."""
        lines = ["Metadata-Version: 2.1", f"Name: {STAND_IN}", "Version: 0"]
        lines += [f"Requires-Dist: {text}" for text in requirements]
        place, sha256 = self.file(STAND_IN, "\n".join([*lines, ""]))
        return BuiltWheel(place, sha256, "", fresh=False)

    def file(self, name: str, metadata: str) -> tuple[Path, str]:
        """Return the path and hash of a wheel of version 0 that holds nothing but metadata."""
        stem = f"{name.replace('-', '_')}-0"
        place = self._cache.builds / "stand-ins" / digest(metadata)[:40] / f"{stem}-py3-none-any.whl"
        self._cache.file(place, lambda staging: _write(staging, f"{stem}.dist-info", metadata))
        return place, hashlib.sha256(place.read_bytes()).hexdigest()


def _write(path: Path, info: str, metadata: str) -> None:
    files = {
        "METADATA": metadata,
        "WHEEL": "Wheel-Version: 1.0\nGenerator: pytest-spip\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files["RECORD"] = "".join(f"{info}/{name},{_hash(text)},{len(text.encode())}\n" for name, text in files.items())
    files["RECORD"] += f"{info}/RECORD,,\n"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(f"{info}/{name}", (1980, 1, 1, 0, 0, 0)), text)


def _hash(text: str) -> str:
    return f"sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip('=')}"
