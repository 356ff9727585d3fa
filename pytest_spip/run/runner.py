"""What a runner is: it tries a check in a composed environment and says what happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Protocol

from pytest_spip.model import Combo, Composed, Environment, Limits, Result
from pytest_spip.run.process import Ended

__all__ = ["NONE", "EnvironmentSession", "Runner"]

NONE: Mapping[str, str] = MappingProxyType({})
"""No variables."""


class EnvironmentSession(Protocol):
    """An environment in which one program after another runs: what one writes the next one finds, of what it starts nothing."""

    def run(
        self, command: Sequence[str], limits: Limits, variables: Mapping[str, str] = NONE, *, stdin: str, apart: bool
    ) -> Ended:
        """Run a program; ``RESULT`` and ``NONCE`` in it become descriptors, ``stdin`` what it reads.

        With ``apart`` its stderr is the result, and both streams are complete. Raises ``HarnessProblem``.
        """

    def attach(self, command: Sequence[str], limits: Limits, variables: Mapping[str, str] = NONE) -> Ended:
        """Run a program with the standard streams of this process, in a terminal of its own where they are one.

        Raises ``HarnessProblem``.
        """

    def extend(self, composed: Composed) -> None:
        """Add what a composition has more than the one before. Raises ``HarnessProblem``."""


class Runner(Protocol):
    """A way to run a check. A runner raises only for faults of our own; everything else is a result."""

    def warms(self, combo: Combo, composed: Composed) -> bool:
        """Return True if a combination can be run warm."""

    def run(
        self,
        combo: Combo,
        environment: Environment,
        composed: Composed,
        limits: Limits,
        *,
        warm: bool,
        variables: Mapping[str, str] = NONE,
    ) -> Result:
        """Run the check in one combination, which has ``variables`` beside those of all combinations in its environment.

        The result carries verdict, times, peak memory and output.
        """

    def showing(self, files: Sequence[str]) -> AbstractContextManager[None]:
        """Let children see device files, and directories that describe devices, until the context's end."""

    def session(self, combo: Combo, composed: Composed, *, network: bool) -> AbstractContextManager[EnvironmentSession]:
        """Open an environment for several programs, which may use the ``network`` where the run may not."""

    def imported(self, composed: Composed) -> tuple[str, ...]:
        """Return the source files that the last run imported of its environment, by path below the prefix, where it was traced."""

    def bytecode(self, combo: Combo, composed: Composed, limits: Limits, sources: Sequence[str]) -> Mapping[str, bytes]:
        """Return the bytecode of source files of the environment; all paths are below the prefix."""

    def rewritten(
        self, combo: Combo, environment: Environment, composed: Composed, limits: Limits
    ) -> Mapping[str, bytes]:
        """Return the bytecode of what the last run imported of its suite's tree, also as pytest rewrites tests."""

    def forget(self) -> None:
        """Give up what is kept between combinations: after a fault nobody knows what it is worth."""

    def close(self) -> None:
        """Give everything back."""
