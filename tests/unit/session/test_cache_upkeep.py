"""The end of a session has the cache collected, once a day, in the background."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence

import pytest

from pytest_spip.common.cache import Cache
from pytest_spip.session import cache_upkeep
from pytest_spip.session.cache_upkeep import tend_cache

DAY = 86400


@pytest.fixture
def started(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """Return the commands that are started, of a cache that was collected two days ago."""
    commands: list[Sequence[str]] = []
    monkeypatch.setattr(cache_upkeep, "start_in_background", commands.append)
    cache.root.mkdir()
    (cache.root / "gc.lock").touch()
    os.utime(cache.root / "gc.lock", (time.time() - 2 * DAY,) * 2)
    return commands


def test_once_a_day(cache: Cache, started: list[Sequence[str]]) -> None:
    """One of a day's sessions starts the command that a person would type."""
    assert [tend_cache(cache, 1 << 30, offline=False) for _ in range(3)] == [True, False, False]
    (command,) = started
    assert command[:1] == [sys.executable]
    assert {"gc", "--only=cache", "--older=never", "--size=1073741824", f"--spip-cache={cache.root}"} <= {*command}


@pytest.mark.parametrize(("size", "offline"), [(0, False), (1 << 30, True)])
def test_never(cache: Cache, started: list[Sequence[str]], size: int, offline: bool) -> None:
    """Nothing is removed where there is no bound, and nothing that could not be fetched again."""
    assert not tend_cache(cache, size, offline=offline)
    assert started == []


def test_new_cache(cache: Cache, started: list[Sequence[str]]) -> None:
    """A cache that is new is left alone for a day."""
    (cache.root / "gc.lock").unlink()
    assert not tend_cache(cache, 1 << 30, offline=False)
    assert (cache.root / "gc.lock").exists()
    assert started == []


@pytest.mark.parametrize("problem", [OSError(28, "No space left on device"), subprocess.SubprocessError()])
def test_no_failure_of_a_session(
    cache: Cache, started: list[Sequence[str]], monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    """A session does not fail because nothing can be started."""

    def fail(command: Sequence[str]) -> None:
        raise problem

    monkeypatch.setattr(cache_upkeep, "start_in_background", fail)
    assert not tend_cache(cache, 1 << 30, offline=False)
    assert started == []
