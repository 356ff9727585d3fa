"""Items that other plugins run several times: the last attempt is the verdict, the others are counted."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from pytest_spip.hooks.items import MatrixItem, attach_result

__all__ = ["FINAL", "Attempts"]

FINAL = ("passed", "failed", "skipped")
"""pytest's outcomes. A plugin gives another one to the report of an attempt that it repeats: ``rerun``, ``retried`` ..."""


class Attempts:
    """In the process that runs items: sees that each report carries the result of its own attempt.

    pytest-rerunfailures makes reports for each attempt; pytest-retry makes one, and changes it when it has tried again.
    """

    def __init__(self) -> None:
        self._item: MatrixItem | None = None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Know the item at hand, and let go of its result at the end: items live as long as the session does."""
        if not isinstance(item, MatrixItem):
            return (yield)
        self._item = item
        item.begin()
        try:
            return (yield)
        finally:
            self._item = None
            item.begin()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None, None, None]:
        """Have a report that outlived further attempts carry the last one's result, before anybody reads it."""
        item, plain = self._item, vars(report).get("spip")
        if item and item.result and plain and report.nodeid == item.nodeid and _is_older(plain, item):
            report.when = "call"
            report.user_properties = list(item.user_properties)
            attach_result(report, item.result)
        return (yield)


def _is_older(plain: dict[str, Any], item: MatrixItem) -> bool:
    return item.result is not None and plain["reruns"] < item.result.reruns
