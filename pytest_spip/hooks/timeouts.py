"""pytest-timeout: its limits bound combinations as our own do, and functions while they run."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_spip.hooks.items import MatrixItem

__all__ = ["Timeouts"]


class Timeouts:
    """Takes the place of pytest-timeout's timers where an item is ours.

    Its timers interrupt this process, or end it, wherever it is. A combination runs in processes of its own: these are ended,
    and it has its verdict. What it waits for before that, such as builds, does not count.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._settings: Any = None
        self._until = 0.0

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_timeout_set_timer(self, item: pytest.Item, settings: Any) -> bool | None:
        """Bound a combination; leave functions to pytest-timeout, but for the programs that they run."""
        if isinstance(item, MatrixItem):
            item.timeout = float(settings.timeout)
            return True
        self._settings = settings
        self._until = time.monotonic() + settings.timeout
        return None

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_timeout_cancel_timer(self, item: pytest.Item) -> bool | None:
        """Forget a limit: markers may give another one to the next attempt."""
        if isinstance(item, MatrixItem):
            item.timeout = 0.0
            return True
        self._settings = None
        return None

    @contextlib.contextmanager
    def suspended(self, item: pytest.Item, *, counts: bool = False) -> Iterator[float]:
        """Stop a function's timer meanwhile; yield the seconds that are left of its limit, which go on if this ``counts``."""
        settings, hook = self._settings, self._config.hook
        if settings is None:
            yield math.inf
            return
        start = time.monotonic()
        left = self._until - start
        hook.pytest_timeout_cancel_timer(item=item)
        try:
            yield left
        finally:
            left -= (time.monotonic() - start) * counts
            if left > 0:  # else what ran was ended for that, and the test with it
                rest = _Rest(left)
                rest.whole = settings.timeout
                hook.pytest_timeout_set_timer(item=item, settings=settings._replace(timeout=rest))


class _Rest(float):
    """What is left of a limit; written out it is the whole, as pytest-timeout shows it."""

    whole: float

    def __str__(self) -> str:
        return str(self.whole)
