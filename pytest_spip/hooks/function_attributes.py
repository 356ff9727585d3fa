"""What conftests and plugins read of items without asking whether they are functions."""

from __future__ import annotations

import functools
import sys
from typing import Any

__all__ = ["FunctionAttributes"]


def combination() -> None:
    """Run one release of a package on one Python, in an environment of its own."""


class FunctionAttributes:
    """The attributes that pytest's own ``Function`` items have, for items that ask for no fixtures and lie in no module.

    ``function`` is one, for those who look at its name, its docstring or its globals. All may be set, as on a function's item.
    """

    function = obj = staticmethod(combination)
    module = sys.modules[__name__]
    cls: type | None = None
    instance: object = None

    @functools.cached_property
    def fixturenames(self) -> list[str]:
        """No fixtures, until somebody adds one."""
        return []

    @functools.cached_property
    def funcargs(self) -> dict[str, Any]:
        """No fixtures' values."""
        return {}
