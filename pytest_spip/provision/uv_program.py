"""uv, the program: where it is, and where it looks."""

from __future__ import annotations

import contextlib
import os
import shutil

from pytest_spip.common.urls import redact
from pytest_spip.errors import ToolMissing
from pytest_spip.model import Indexes, digest

__all__ = ["find_uv", "places_of"]


def find_uv() -> str:
    """Return uv's path: the one installed beside us, else the one on PATH. Raises ``ToolMissing``."""
    with contextlib.suppress(ImportError, FileNotFoundError):
        import uv  # a missing package is an answer here, not an error at import

        return os.fsdecode(uv.find_uv_bin())
    if found := shutil.which("uv"):
        return found
    raise ToolMissing("uv", "not found beside pytest-spip nor on PATH", "install it with 'pip install uv'")


def places_of(indexes: Indexes) -> list[str]:
    """Return the indexes and find-links that uv looks at, without credentials, and the user's settings of resolutions, if any."""
    settings = indexes.settings.identity
    places = [redact(place) for place in (*indexes.urls, *indexes.find_links)]
    return [*places, f"settings {digest(settings)}"] if settings else places
