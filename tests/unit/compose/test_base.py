"""Names of branches in the base repository."""

from __future__ import annotations

from pytest_spip.compose.base import branch
from tests.support.rooms import interpreter


def test_other_path_is_another_environment() -> None:
    """The same version in another place has a branch of its own."""
    assert branch(interpreter(path="/one")) != branch(interpreter(path="/two"))
