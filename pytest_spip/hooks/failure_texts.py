"""The text of a failed combination, as ``--tb`` and ``-v`` have it; one that repeats is printed once."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from pytest_spip.model import Result
from pytest_spip.report.analysis import FailureKey, failure_key
from pytest_spip.report.texts import TAIL, failure_text, one_line

__all__ = ["FailureTexts"]

WHOLE = 1000
"""Lines that are shown where all are wanted."""
SHORT = 3
"""Lines of output, or of a test's report, with ``--tb=short``: the exception, and where it was raised."""


class FailureTexts:
    """Chooses the texts of a session's failures."""

    def __init__(self, config: pytest.Config) -> None:
        self._style: str = config.getoption("tbstyle", "auto")
        self._whole = config.get_verbosity() > 0 or bool(config.getoption("fulltrace", False))
        self._shown: dict[FailureKey, str] = {}

    def text(self, nodeid: str, result: Result) -> Any:
        """Return an item's failure, as a report's ``longrepr`` has it."""
        if self._style in ("line", "no"):
            return _Line(nodeid, one_line(result))
        first = self._shown.setdefault(failure_key(result), nodeid)
        if first != nodeid and not self._whole:
            return failure_text(dataclasses.replace(result, output=f"like {first}", tests=()), lines=1)
        if self._style == "native":
            return re.sub(r"(?m)^ {4}", "", failure_text(result, lines=WHOLE))
        return failure_text(result, lines=WHOLE if self._whole else self._lines)

    @property
    def _lines(self) -> int:
        return SHORT if self._style == "short" else TAIL


class _Line:
    """One line, for pytest asks for ``reprcrash`` where it shows no more; of that the ``message`` names no place."""

    def __init__(self, place: str, message: str) -> None:
        self.message = message
        self._text = f"{place}: {message}"

    def __str__(self) -> str:
        return self._text

    @property
    def reprcrash(self) -> _Line:
        """The line."""
        return self

    def toterminal(self, writer: object) -> None:
        """Write nothing: pytest writes the line, where it wants one."""
