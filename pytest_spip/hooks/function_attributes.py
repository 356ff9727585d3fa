"""What conftests and plugins read of items without asking whether they are functions."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

__all__ = ["FunctionAttributes"]


def combination() -> None:
    """Run one release of a package on one Python, in an environment of its own."""


class FunctionAttributes:
    """The attributes that pytest's own ``Function`` items have, for items that ask for no fixtures and lie in no module."""

    cls: type | None = None
    instance: object = None

    @property
    def function(self) -> Callable[[], None]:
        """A function, for those who look at its name, its docstring or its globals."""
        return combination

    @property
    def obj(self) -> Callable[[], None]:
        """The same as ``function``."""
        return combination

    @property
    def module(self) -> ModuleType:
        """The module of ``function``."""
        return sys.modules[__name__]

    @property
    def fixturenames(self) -> list[str]:
        """No fixtures; a new list for each who asks, for some add to it."""
        return []

    @property
    def funcargs(self) -> dict[str, Any]:
        """No fixtures' values."""
        return {}
