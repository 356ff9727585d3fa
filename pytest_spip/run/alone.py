"""The cold runner of machines without fork servers: one program of ours per combination, limits and no sandbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_spip.model import Combo, Composed, Environment, Limits, Result, Sandbox
from pytest_spip.run import process
from pytest_spip.run.check import child_environment, import_result
from pytest_spip.run.process import Ended
from pytest_spip.run.runner import NONE

__all__ = ["AloneRunner"]

ALONE = str(Path(__file__).parent / "child" / "alone.py")


class AloneRunner:
    """Imports a combination's public modules in a new process of the environment's interpreter."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def warms(self, combo: Combo, composed: Composed) -> bool:
        """Nothing is warm here."""
        return False

    def run(
        self,
        combo: Combo,
        environment: Environment,
        composed: Composed,
        limits: Limits,
        *,
        warm: bool = False,
        variables: Mapping[str, str] = NONE,
    ) -> Result:
        """Run the import check. Raises ``OSError`` when the interpreter cannot be started."""

        def attempt(modules: Sequence[str]) -> Ended:
            bounds = str(limits.memory), str(limits.file_size)
            return process.run(
                [composed.python, "-I", "-B", "-u", ALONE, process.RESULT, process.LIFELINE, *bounds, *modules],
                environment={**child_environment(composed, self._sandbox.passed), **variables},
                timeout=limits.timeout,
                output_limit=limits.output,
            )

        return import_result(combo, environment, limits, "cold", attempt)

    def bytecode(self, combo: Combo, composed: Composed, limits: Limits) -> Mapping[str, bytes]:
        """Nothing is compiled beforehand here."""
        return {}

    def forget(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing is held."""
