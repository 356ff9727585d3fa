"""What builds run in, as this room sees it. The room that closes sandboxes is joined to it in ``session``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from pytest_spip.model import Limits

__all__ = ["Confine", "Confined", "End"]


class End(Protocol):
    """How a program ended."""

    @property
    def status(self) -> int:
        """As ``subprocess`` has it: negative for a signal."""

    @property
    def cut(self) -> str:
        """Empty, or the value of the reason for which it was killed."""

    @property
    def evidence(self) -> str:
        """What was seen then."""

    @property
    def output(self) -> str:
        """The tail of what it wrote, made harmless."""


class Confined(Protocol):
    """Runs programs inside one sandbox."""

    def __call__(self, command: Sequence[str], *, environment: Mapping[str, str], cwd: str, limits: Limits) -> End:
        """Run a program to its end. Raises ``HarnessProblem`` when the sandbox is gone."""


class Confine(Protocol):
    """Closes sandboxes without network, in which nothing can be seen but the system, an interpreter and what is named.

    Raises ``SandboxProblem`` where that cannot be done.
    """

    @property
    def level(self) -> int:
        """How strong they are, as ``model.Sandbox`` has it."""

    def __call__(self, python: str, *, environment: str, write: Sequence[str]) -> AbstractContextManager[Confined]:
        """Open a sandbox for an interpreter; ``write`` are directories that its programs come to own.

        So is ``environment``, of which nothing that a program changes lasts, where the level allows that; else they read it.
        """

    def stop(self) -> None:
        """Kill what runs in any of them, and refuse to open more."""
