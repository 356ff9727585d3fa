"""Which runner a check has."""

from __future__ import annotations

from pytest_spip.model import Check
from pytest_spip.run.check_runners import CheckRunner, CommandCheck, ImportCheck

__all__ = ["check_runner_of"]


def check_runner_of(check: Check, *, network: bool, shared: bool = False) -> CheckRunner:
    """Return the runner of a check.

    ``network`` says whether the sandbox is open to it, ``shared`` whether combinations have one suite and not each its own.
    """
    match check.kind:
        case "suite":
            from pytest_spip.run.suite_check import SuiteCheck  # it loads much that imports have no use for

            return SuiteCheck(check.words, network=network, shared=shared)
        case "command":
            return CommandCheck(check.words)
    return ImportCheck()
