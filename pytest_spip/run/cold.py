"""The cold runner: one fresh interpreter per combination, as a person would start it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from packaging.utils import canonicalize_name

from pytest_spip.model import Combo, Composed, Environment, Limits, Outcome, Phase, Reason, Result, Verdict
from pytest_spip.run import process
from pytest_spip.run.metadata import metadata_problem
from pytest_spip.run.reasons import import_verdict

__all__ = ["ColdRunner"]

CHECK_IMPORT = str(Path(__file__).parent / "child" / "check_import.py")
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


class ColdRunner:
    """Imports a combination's public modules in a new process of the environment's interpreter."""

    name = "cold"

    def run(self, combo: Combo, environment: Environment, composed: Composed, limits: Limits) -> Result:
        """Run the import check. Raises ``OSError`` when the interpreter cannot be started."""
        problem = metadata_problem(composed.site, combo.package, combo.version)
        if problem:
            return Result(combo.ordinal, Verdict(Outcome.FAILED, Phase.INSTALL, Reason.BAD_METADATA, problem))
        modules = next(wheel.modules for wheel in environment.wheels if wheel.name == canonicalize_name(combo.package))
        bounds = str(limits.memory), str(limits.file_size)
        ended = process.run(
            [composed.python, "-I", "-B", "-u", CHECK_IMPORT, process.RESULT, process.LIFELINE, *bounds, *modules],
            environment=child_environment(composed),
            timeout=limits.timeout,
            output_limit=limits.output,
        )
        verdict, trace, peak_rss = import_verdict(ended, limits, modules)
        return Result(
            ordinal=combo.ordinal,
            verdict=verdict,
            seconds=ended.seconds,
            cpu_seconds=ended.cpu_seconds,
            peak_rss=peak_rss or ended.peak_rss,
            output="" if verdict.outcome is Outcome.PASSED else _story(ended.output, trace),
        )


def _story(output: str, trace: str) -> str:
    """Return the end of what the child wrote, and the traceback on lines of its own."""
    gap = "\n" if output and trace and not output.endswith("\n") else ""
    return (output + gap + trace)[-8192:]


def child_environment(composed: Composed) -> Mapping[str, str]:
    """Return the environment variables of a combination: nothing of the user's."""
    return {
        "PATH": f"{composed.prefix}/bin:{SYSTEM_PATH}",
        "HOME": composed.home,
        "TMPDIR": composed.tmp,
        "PWD": composed.cwd,
        "VIRTUAL_ENV": composed.prefix,
        "LANG": "C.UTF-8",
    }
