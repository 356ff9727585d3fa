"""Names of branches in the base repository, and git where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_spip.compose.base import branch, check_git
from pytest_spip.errors import ToolMissing
from tests.support.rooms import interpreter


def test_other_path_is_another_environment() -> None:
    """The same version in another place has a branch of its own."""
    assert branch(interpreter(path="/one")) != branch(interpreter(path="/two"))


def test_git_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without git on PATH the user is told to install it."""
    check_git()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match=r"^git: not found on PATH; install git"):
        check_git()
