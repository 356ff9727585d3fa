"""The wheel store: every wheel unpacked once, in a directory named by the wheel's sha256, never changed afterwards."""

from __future__ import annotations

import json
from pathlib import Path

from pytest_spip.common.cache import Cache
from pytest_spip.model import StoredWheel

__all__ = ["FORM", "MARK", "WheelStore"]

MARK = "wheel.json"
"""Name of the file that describes a wheel."""
FORM = 4
"""Raise it when a stored wheel's directory holds something else, or another wheel is refused: others are left alone."""


class WheelStore:
    """Wheels by content. A directory appears whole or not at all; its ``wheel.json`` describes it."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self._wheels = str(cache.wheels)
        self._known: dict[str, StoredWheel] = {}

    def root(self, sha256: str) -> Path:
        """Return where a wheel is, or will be."""
        return Path(self._wheels, sha256[:2], f"{sha256}-{FORM}")

    def get(self, sha256: str) -> StoredWheel | None:
        """Return a filed wheel, or None."""
        if sha256 not in self._known:
            root = f"{self._wheels}/{sha256[:2]}/{sha256}-{FORM}"
            if not self.cache.use(root):
                return None
            try:
                with open(f"{root}/{MARK}", "rb") as stream:
                    plain = json.loads(stream.read())
            except OSError:
                return None
            libraries = tuple((name, tuple(modules)) for name, modules in plain["libraries"].items())
            stated = plain["name"], plain["version"], root
            self._known[sha256] = StoredWheel(
                sha256, *stated, tuple(plain["modules"]), tuple(plain["warnings"]), libraries
            )
        return self._known[sha256]
