"""What ``-n auto`` and ``-n logical`` mean to a matrix."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_spip.common.machine import Machine, worker_count
from pytest_spip.dispatch.autoscale import PROFILES
from pytest_spip.errors import UsageProblem
from pytest_spip.settings import make_settings

__all__ = ["auto_workers"]

KNOWN = ("pytest_spip.plugin", "xdist.plugin")


def auto_workers(config: pytest.Config) -> int | None:
    """Return how many workers to start, as affinity, control groups, memory and profile have it; None where others decide.

    Others are xdist's own variable, and whoever implements the hook beside xdist and us. Raises ``UsageError``.
    """
    hook = config.hook.pytest_xdist_auto_num_workers
    foreign = [impl for impl in hook.get_hookimpls() if getattr(impl.plugin, "__name__", "") not in KNOWN]
    if foreign or os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return None
    profile = PROFILES[_profile(config) or "balanced"]
    logical = profile.threads or config.getoption("numprocesses") == "logical"
    pinned = config.getoption("spip_pin") or config.getini("spip_pin")  # a spare one would share a core, and slow it
    return worker_count(Machine(), logical=logical, share=profile.share, spares=profile.share == 1 and not pinned)


def _profile(config: pytest.Config) -> str:
    given = config.getoption("spip_profile") or config.getini("spip_profile")
    try:
        return make_settings({"profile": given}, Path()).profile
    except UsageProblem as problem:
        raise pytest.UsageError(str(problem)) from problem
