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
        self._known: dict[str, StoredWheel] = {}

    def root(self, sha256: str) -> Path:
        """Return where a wheel is, or will be."""
        return self.cache.wheels / sha256[:2] / f"{sha256}-{FORM}"

    def get(self, sha256: str) -> StoredWheel | None:
        """Return a filed wheel, or None."""
        if sha256 not in self._known:
            if not self.cache.use(self.root(sha256)):
                return None
            try:
                plain = json.loads((self.root(sha256) / MARK).read_text("utf-8"))
            except OSError:
                return None
            libraries = tuple((name, tuple(modules)) for name, modules in plain["libraries"].items())
            stated = plain["name"], plain["version"], str(self.root(sha256))
            self._known[sha256] = StoredWheel(
                sha256, *stated, tuple(plain["modules"]), tuple(plain["warnings"]), libraries
            )
        return self._known[sha256]
