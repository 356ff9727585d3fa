"""What a runner is: it tries a check in a composed environment and says what happened."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from pytest_spip.model import Combo, Composed, Environment, Limits, Result

__all__ = ["NONE", "Runner"]

NONE: Mapping[str, str] = MappingProxyType({})
"""No variables."""


class Runner(Protocol):
    """A way to run a check. A runner raises only for faults of our own; everything else is a result."""

    def warms(self, combo: Combo, composed: Composed) -> bool:
        """Tell whether a combination can be run warm."""

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

    def bytecode(self, combo: Combo, composed: Composed, limits: Limits) -> Mapping[str, bytes]:
        """Return, by path below the prefix, the bytecode of what the last warm run imported of its environment."""

    def forget(self) -> None:
        """Give up what is kept between combinations: after a fault nobody knows what it is worth."""

    def close(self) -> None:
        """Give everything back."""
