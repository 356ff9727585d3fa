"""pytest-forked: what a matrix runs has processes of its own, and the items are not forked."""

from __future__ import annotations

import pytest
from _pytest.runner import runtestprotocol

from pytest_spip.hooks.functions import combo_of

__all__ = ["Unforked"]


class Unforked:
    """Takes the place of pytest-forked's protocol where an item has a combination.

    A fork of this process has neither its threads, which provision, nor a right to its databases and fork servers.
    """

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """Run an item here, as pytest itself does."""
        if not _would_fork(item) or combo_of(item) is None:
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        runtestprotocol(item, nextitem=nextitem)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True


def _would_fork(item: pytest.Item) -> bool:
    plugin = item.config.pluginmanager.has_plugin("pytest_forked")
    return plugin and bool(item.config.getoption("forked", False) or item.get_closest_marker("forked"))
