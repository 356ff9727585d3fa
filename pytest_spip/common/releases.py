"""Versions as texts, in their order."""

from __future__ import annotations

from packaging.version import InvalidVersion, Version

__all__ = ["version_order"]


def version_order(version: str) -> tuple[int, Version | str]:
    """Return a key for sorting; what is no version comes first."""
    try:
        return 1, Version(version)
    except InvalidVersion:
        return 0, version
