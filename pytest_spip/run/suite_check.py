"""The check that runs a test suite, by the environment's own pytest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_spip.model import Combo, Composed, Environment, Limits, Outcome, Result
from pytest_spip.run.check_runners import FAILURE_TEXT, ProgramCheck, files_below, measured
from pytest_spip.run.jobs import Zygote
from pytest_spip.run.process import Ended
from pytest_spip.run.runner import NONE
from pytest_spip.run.server import CHILD, NONCE, RESULT
from pytest_spip.run.suite import suite_sources, suite_verdict
from pytest_spip.run.zygotes import mentions, zygotes_of

__all__ = ["SuiteCheck"]

CHECK_SUITE = str(CHILD / "check_suite.py")
PYARGS = "--pyargs"
REWRITES_OTHERWISE = "enable_assertion_pass_hook"
"""An option with which pytest makes something else of assertions than child/bytecode.py does."""


class SuiteCheck(ProgramCheck):
    """A test suite that lies in the working directory, run by the environment's own pytest."""

    warm, streams = False, True

    def __init__(self, words: Sequence[str], *, network: bool, shared: bool) -> None:
        self._words = words
        self._network = network
        self._shared = shared

    def _words_for(self, environment: Environment) -> tuple[str, ...]:
        """Return what pytest is asked for; who names packages gets them, and no others."""
        return (*(() if PYARGS in self._words else environment.suite), *self._words)

    def program(self, combo: Combo, environment: Environment, composed: Composed) -> tuple[str, ...]:
        """Return the environment's pytest."""
        words = self._words_for(environment)
        return (composed.python, "-u", CHECK_SUITE, RESULT, NONCE, ":".join(composed.traced), *words)

    def zygotes(
        self, combo: Combo, environment: Environment, composed: Composed, limits: Limits, variables: Mapping[str, str]
    ) -> tuple[Zygote, ...]:
        """Return pytest as far as it comes without the package."""

        def program(hook: str) -> tuple[str, ...]:
            return (composed.python, "-u", CHECK_SUITE, RESULT, "zygote", hook, *self._words_for(environment))

        packages = [package for package, _ in combo.releases]
        return zygotes_of(packages, environment, composed, limits, program, variables, begun=self._shared)

    def rewriting(self, combo: Combo, environment: Environment, composed: Composed, limits: Limits) -> tuple[str, ...]:
        """Return the layers of the last zygote, unless an option changes what pytest makes of assertions."""
        if mentions(REWRITES_OTHERWISE, self._words, environment):
            return ()
        zygotes = self.zygotes(combo, environment, composed, limits, NONE)
        return zygotes[-1].layers if zygotes else ()

    def sources(self, ended: Ended, tops: tuple[str, ...]) -> tuple[str, ...]:
        """Return the source files that the suite imported."""
        return files_below(tops, suite_sources(ended.result))

    def result(self, combo: Combo, environment: Environment, ended: Ended, limits: Limits) -> Result:
        """Return what became of the tests."""
        verdict, tests, peak_rss = suite_verdict(ended, limits, network=self._network)
        output = "" if verdict.outcome is Outcome.PASSED else ended.output[-FAILURE_TEXT:]
        return measured(combo, ended, verdict, output, peak_rss=peak_rss, tests=tests)
