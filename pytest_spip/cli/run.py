"""``pytest-spip run ARGS...``: pytest with these arguments, and nothing of the project's own pytest configuration."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["run"]

NEUTRAL = ("addopts=", "filterwarnings=", "minversion=", "pythonpath=", "required_plugins=")
"""Settings over which pytest stops before it loads a plugin; what else the project configures, the plugin sets aside."""


def run(arguments: Sequence[str]) -> int:
    """Run pytest; return its exit status."""
    import pytest  # the other commands do without

    overrides = (word for setting in NEUTRAL for word in ("-o", setting))
    return int(pytest.main([*overrides, *arguments]))
