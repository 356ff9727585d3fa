"""The cold runner of machines without fork servers: one program of ours per combination, limits and no sandbox."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from pytest_spip.model import Combo, Composed, Environment, Limits, Result, Sandbox
from pytest_spip.run import process
from pytest_spip.run.process import Ended
from pytest_spip.run.runner import NONE
from pytest_spip.run.server import NONCE, RESULT
from pytest_spip.run.trials import Trial, child_environment, tried

__all__ = ["AloneRunner"]

ALONE = str(Path(__file__).parent / "child" / "alone.py")


class AloneRunner:
    """Runs a trial's program in a new process, which the environment's interpreter bounds first."""

    def __init__(self, trial: Trial, sandbox: Sandbox) -> None:
        self._trial = trial
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
        """Run the check. Raises ``OSError`` when the interpreter cannot be started."""
        words = {RESULT: process.RESULT, NONCE: "-1"}
        program = [words.get(word, word) for word in self._trial.program(combo, environment, composed)]
        bounds = str(limits.memory), str(limits.file_size)

        def attempt() -> Ended:
            return process.run(
                [composed.python, "-I", "-B", "-S", ALONE, process.LIFELINE, *bounds, *program],
                environment={**child_environment(composed, self._sandbox.passed), **variables},
                timeout=limits.timeout,
                output_limit=limits.output,
            )

        return dataclasses.replace(tried(self._trial, combo, environment, limits, attempt), runner="cold")

    def bytecode(self, combo: Combo, composed: Composed, limits: Limits) -> Mapping[str, bytes]:
        """Nothing is compiled beforehand here."""
        return {}

    def forget(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing is held."""
