"""Options with which pytest only lists something: no run is made for them."""

from __future__ import annotations

import pytest

__all__ = ["only_lists"]

LISTING = ("collectonly", "setuponly", "setupplan", "showfixtures", "show_fixtures_per_test", "cacheshow", "markers")
"""Such options, by their names in ``config.option``."""


def only_lists(config: pytest.Config) -> bool:
    """Return whether a session ends without running anything."""
    return any(config.getoption(name, None) for name in LISTING)
