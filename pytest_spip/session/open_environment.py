"""A combination's environment while programs run in it, for test functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_spip.compose.overlay import Overlay
from pytest_spip.compose.worktree import Worktree
from pytest_spip.model import Composed, Environment, Limits
from pytest_spip.run.process import Ended
from pytest_spip.run.runner import EnvironmentSession

__all__ = ["OpenEnvironment"]


class OpenEnvironment:
    """A combination's environment while programs run in it. ``variables`` name its devices."""

    def __init__(
        self,
        environment: Environment,
        composed: Composed,
        session: EnvironmentSession,
        place: Worktree | Overlay,
        limits: Limits,
        variables: Mapping[str, str],
    ) -> None:
        self.environment = environment
        self.composed = composed
        self.limits = limits
        self._session = session
        self._place = place
        self._variables = variables

    def run(self, command: Sequence[str], limits: Limits, *, stdin: str = "", apart: bool = False) -> Ended:
        """Run a program, as ``EnvironmentSession`` says. Raises ``HarnessProblem``."""
        return self._session.run(command, limits, self._variables, stdin=stdin, apart=apart)

    def extend(self, environment: Environment) -> None:
        """Make it an environment that has further wheels behind its own. Raises ``HarnessProblem``."""
        more = environment.wheels[len(self.environment.wheels) :]
        self.composed = self._place.extended(environment, more)
        self.environment = environment
        self._session.extend(self.composed)
