"""Whether a combination runs warm or cold, and which of the two counts."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from pytest_spip.model import Combo, Composed, Environment, Limits, Outcome, Result, digest
from pytest_spip.record.telemetry import Telemetry
from pytest_spip.run.confirming import confirmed, run_cold
from pytest_spip.run.runner import Runner
from pytest_spip.session.worker_spec import WorkerSpec

__all__ = ["Judge"]

SAMPLE = 50
"""One in so many warm passes is run cold as well."""


class Judge:
    """Runs a worker's combinations warm where that can be, and confirms cold what is not a pass, and a sample of the passes.

    A suite after one of the same packages that failed runs cold at once: such ones come in a row, and each would run twice.
    """

    def __init__(self, spec: WorkerSpec, runner: Runner, telemetry: Telemetry) -> None:
        self._spec = spec
        self._runner = runner
        self._telemetry = telemetry
        self._failing: set[tuple[str, str]] = set()

    def result(
        self,
        combo: Combo,
        environment: Environment,
        composed: Composed,
        limits: Limits,
        variables: Mapping[str, str],
        *,
        cold: bool,
    ) -> Result:
        """Run a combination, ``cold`` where it is to be; raises what its runner raises."""
        run = functools.partial(self._runner.run, combo, environment, composed, limits, variables=variables)
        kind = (combo.packages, combo.interpreter)
        cold = cold or self._spec.runner == "cold" or kind in self._failing
        if cold or not self._runner.warms(combo, composed):
            result = run_cold(run)
        else:
            doubts = int(digest(self._spec.run, combo.ordinal)[:8], 16) % SAMPLE == 0
            result, disagreement = confirmed(run, doubts_passes=doubts, trusts=self._spec.runner == "warm")
            if disagreement:
                self._telemetry.disagreement(disagreement)
        if self._spec.runner == "auto" and self._spec.check.kind == "suite":
            self._learn(kind, result.verdict.outcome)
        return result

    def _learn(self, kind: tuple[str, str], outcome: Outcome) -> None:
        if outcome.is_bad and outcome is not Outcome.ERROR:
            self._failing.add(kind)
        else:
            self._failing.discard(kind)
