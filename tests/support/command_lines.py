"""Command lines, read by pytest's parser and by ours, without a session."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_spip.options import OPTIONS, Settings, joined_arguments
from pytest_spip.settings import make_settings

__all__ = ["parsed"]


def parsed(config: pytest.Config, arguments: Sequence[str], base: Path) -> Settings:
    """Return what pytest's parser and ours make of a command line."""
    known = vars(config._parser.parse(joined_arguments(arguments)))
    return make_settings({option.name: known[option.dest] for option in OPTIONS}, base)
