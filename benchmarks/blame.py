"""A pytest plugin that notes over which combination each worker died: ``-p benchmarks.blame``, with a file named by ``BLAME``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

__all__ = ["BLAME", "noted", "pytest_testnodedown"]

BLAME = "BLAME"
"""The variable that names the file: a line for each worker, with the ordinals of what it held; it died over the first."""


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_testnodedown(node: Any) -> None:
    """Note what a dead worker held, before it is given to others."""
    if hasattr(node, "workeroutput"):
        return  # it ended in order
    distributed = node.config.pluginmanager.get_plugin("dsession")
    held = distributed.sched._scheduler.pending(node.gateway.id)  # noqa: SLF001  # nobody else needs to know
    with Path(os.environ[BLAME]).open("a", encoding="utf-8") as notes:
        print(node.gateway.id, *held, file=notes)


def noted(path: Path) -> dict[str, int | None]:
    """Return the ordinal that each worker died over, by worker; none for one that held nothing."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else ()
    words = [line.split() for line in lines]
    return {name: int(held[0]) if held else None for name, *held in words}
