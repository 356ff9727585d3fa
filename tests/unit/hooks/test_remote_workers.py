"""Which workers xdist may be asked for."""

from __future__ import annotations

import pytest

from pytest_spip.errors import UsageProblem
from pytest_spip.hooks.remote_workers import check_workers


@pytest.mark.parametrize(
    ("specification", "where"),
    [
        ("ssh=user@host", "ssh=user@host"),
        ("3*ssh=host//python=python3.12", "ssh=host"),
        ("popen//ssh=host", "ssh=host"),
        ("socket=10.0.0.7:8888", "socket=10.0.0.7:8888"),
        ("vagrant_ssh=box", "vagrant_ssh=box"),
    ],
)
def test_workers_elsewhere(specification: str, where: str) -> None:
    """They are refused in a line that says why, and what does the same."""
    with pytest.raises(UsageProblem, match=f"^--tx: a worker at {where} cannot reach .*--spip-queue"):
        check_workers(["popen", specification])


@pytest.mark.parametrize(
    "specification", ["popen", "4*popen", "popen//id=one", "popen//via=one", "popen//chdir=/ssh=x"]
)
def test_workers_here(specification: str) -> None:
    """What runs on this machine may work."""
    check_workers([specification])
