"""Which combinations of a shared run a host is to judge."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_spip.session.readiness import Listener, Readiness
from pytest_spip.session.shared_work import SharedWork

COMBOS: Any = [SimpleNamespace(ordinal=ordinal) for ordinal in range(4)]


class Provisioning:
    """Stands for a provisioner: it notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def add(self, combos: Any) -> None:
        """Take combinations."""
        self.asked += [combo.ordinal for combo in combos]


@pytest.fixture
def provisioning() -> Any:
    """Return a provisioner's stand-in."""
    return Provisioning()


def test_claims(provisioning: Any) -> None:
    """What is provisioned already can be run at once, and the rest is asked for."""
    ready: list[int] = []
    work = SharedWork(COMBOS, Readiness([1]), provisioning)
    work.listener(Listener(ready=ready.extend)).ready([1, 2])
    assert (ready, provisioning.asked) == ([1], [2])
    assert [work.may_judge(ordinal) for ordinal in range(4)] == [False, True, True, False]


def test_withdrawn(provisioning: Any) -> None:
    """What was withdrawn is not run when it gets ready later; claimed again, it is."""
    gone: list[int] = []
    work = SharedWork(COMBOS, Readiness([]), provisioning)
    listener = work.listener(Listener(withdrawn=gone.extend))
    listener.ready([2, 3])
    listener.withdrawn([3])
    assert (gone, work.may_judge(2), work.may_judge(3)) == ([3], True, False)
    listener.ready([3])
    assert work.may_judge(3)
