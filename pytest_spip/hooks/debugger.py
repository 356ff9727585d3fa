"""--pdb: where it helps, and a line why not where it does not."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_spip.hooks.items import MatrixItem, failed_result

__all__ = ["Debugger"]

NAME = "pdbinvoke"
"""What pytest calls its plugin that enters the debugger."""


class Debugger:
    """Takes the place of pytest's plugin: a combination failed in a process that has ended, and left nothing to look at."""

    def __init__(self, config: pytest.Config, original: Any) -> None:
        self._config = config
        self._original = original

    @classmethod
    def install(cls, config: pytest.Config) -> None:
        """Stand before pytest's plugin, if it is there."""
        original = config.pluginmanager.unregister(name=NAME) if config.pluginmanager.has_plugin(NAME) else None
        if original is not None:
            config.pluginmanager.register(cls(config, original), NAME)

    def pytest_exception_interact(
        self, node: pytest.Item, call: pytest.CallInfo[Any], report: pytest.TestReport
    ) -> None:
        """Enter the debugger for tests and whatever raised here; for a combination say how to come near it."""
        result = failed_result(call) if isinstance(node, MatrixItem) else None
        if result is None:
            self._original.pytest_exception_interact(node=node, call=call, report=report)
            return
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            again = f"; reproduce: {result.reproduce}" if result.reproduce else ""
            reporter.ensure_newline()
            reporter.write_line(f"spip: --pdb: {node.name} failed in a process of its own, which has ended{again}")

    def pytest_internalerror(self, excrepr: object, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Enter the debugger for an error of pytest's."""
        self._original.pytest_internalerror(excrepr=excrepr, excinfo=excinfo)
