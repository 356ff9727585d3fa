"""The import check, apart from how its process is made: what it is given, and what its end means."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

from packaging.utils import canonicalize_name

from pytest_spip.model import Combo, Composed, Environment, Limits, Outcome, Phase, Reason, Result, StoredWheel, Verdict
from pytest_spip.run.metadata import metadata_problem
from pytest_spip.run.process import Ended
from pytest_spip.run.reasons import import_verdict

__all__ = ["child_environment", "import_result"]

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
_known_problem = functools.lru_cache(maxsize=512)(metadata_problem)  # a filed wheel never changes


def import_result(
    combo: Combo, environment: Environment, limits: Limits, runner: str, attempt: Callable[[Sequence[str]], Ended]
) -> Result:
    """Return the result of importing a combination's public modules; ``attempt(modules)`` does it."""
    wheel = _own_wheel(combo, environment)
    if problem := _known_problem(wheel.root, combo.package, combo.version):
        verdict = Verdict(Outcome.FAILED, Phase.INSTALL, Reason.BAD_METADATA, problem)
        return Result(combo.ordinal, verdict, runner=runner)
    ended = attempt(wheel.modules)
    verdict, trace, peak_rss = import_verdict(ended, limits, wheel.modules)
    return Result(
        ordinal=combo.ordinal,
        verdict=verdict,
        seconds=ended.seconds,
        cpu_seconds=ended.cpu_seconds,
        peak_rss=peak_rss or ended.peak_rss,
        output="" if verdict.outcome is Outcome.PASSED else _story(ended.output, trace),
        runner=runner,
    )


def _own_wheel(combo: Combo, environment: Environment) -> StoredWheel:
    name = canonicalize_name(combo.package)
    return next(wheel for wheel in environment.wheels if wheel.name == name)


def _story(output: str, trace: str) -> str:
    """Return the end of what the child wrote, and the traceback on lines of its own."""
    gap = "\n" if output and trace and not output.endswith("\n") else ""
    return (output + gap + trace)[-8192:]


def child_environment(composed: Composed, passed: Sequence[tuple[str, str]] = ()) -> Mapping[str, str]:
    """Return the environment variables of a combination: of the user's only those that were named."""
    return dict(passed) | {
        "PATH": f"{composed.prefix}/bin:{SYSTEM_PATH}",
        "HOME": composed.home,
        "TMPDIR": composed.tmp,
        "PWD": composed.cwd,
        "VIRTUAL_ENV": composed.prefix,
        "LANG": "C.UTF-8",
    }
