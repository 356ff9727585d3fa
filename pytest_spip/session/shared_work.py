"""Which combinations of a shared run this host is to judge, between the queue, provisioning and the scheduler."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pytest_spip.model import Combo
from pytest_spip.session.readiness import Listener, Readiness

if TYPE_CHECKING:
    from pytest_spip.provision.provisioner import Provisioner

__all__ = ["SharedWork"]


class SharedWork:
    """Has claimed combinations provisioned, and run when they are; what was withdrawn is not run."""

    def __init__(self, combos: Sequence[Combo], ready: Readiness, provisioner: Provisioner) -> None:
        self._combos = combos
        self._ready = ready
        self._provisioner = provisioner
        self._claims: set[int] = set()

    def may_judge(self, ordinal: int) -> bool:
        """Return True if a combination is this host's to judge."""
        return ordinal in self._claims

    def listener(self, to: Listener) -> Listener:
        """Return what the queue is to call: ``ready`` gets what is claimed, provisioned or not."""

        def claimed(ordinals: Sequence[int]) -> None:
            self._claim(ordinals, to.ready)

        def withdrawn(ordinals: Sequence[int]) -> None:
            self._claims.difference_update(ordinals)
            to.withdrawn(ordinals)

        return dataclasses.replace(to, ready=claimed, withdrawn=withdrawn)

    def _claim(self, ordinals: Sequence[int], on_ready: Callable[[Sequence[int]], None]) -> None:
        self._claims.update(ordinals)  # first: what gets ready meanwhile is run
        ready = [ordinal for ordinal in ordinals if ordinal in self._ready]
        self._provisioner.add(self._combos[one] for one in ordinals if one not in ready)
        on_ready(ready)
