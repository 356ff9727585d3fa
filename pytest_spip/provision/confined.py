"""What builds run in, as this room sees it. The room that closes sandboxes is joined to it in ``session``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from pytest_spip.model import Limits

__all__ = ["Confine", "Confined", "End", "KeptSandbox"]


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


class KeptSandbox(Confined, Protocol):
    """Runs scripts that call a backend's hooks, from where they have loaded it. Raises ``HarnessProblem`` where that cannot be."""

    @property
    def root(self) -> Path:
        """Where the directories are that its programs come to own, once it runs them."""


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

    @property
    def forks(self) -> bool:
        """Whether there are sandboxes that are kept."""

    def kept(self, python: str, *, environment: str, write: Sequence[str]) -> AbstractContextManager[KeptSandbox]:
        """Have a sandbox that is kept for others who want the same: with empty directories of the names ``write``."""

    def close_idle(self) -> None:
        """End those that are kept and not used."""

    def stop(self) -> None:
        """Kill what runs in any of them, and refuse to open more."""
