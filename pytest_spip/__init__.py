"""pytest-spip: every released version of a package x every Python, as pytest items.

What users import is here: the type of the fixture ``spip_env``, and the records that hooks hand out.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_spip.errors import CallFailed, InstallFailed, ProgramFailed
    from pytest_spip.model import (
        BisectLine,
        Change,
        ChangeKind,
        Combo,
        Comparison,
        Interpreter,
        Outcome,
        Phase,
        Plan,
        Reason,
        Release,
        Result,
        RunFacts,
        Summary,
        Verdict,
    )
    from pytest_spip.session.loading import load
    from pytest_spip.session.spip_env import Ran, SpipEnvironment

__version__ = "0.1.0"
__all__ = [
    "BisectLine",
    "CallFailed",
    "Change",
    "ChangeKind",
    "Combo",
    "Comparison",
    "InstallFailed",
    "Interpreter",
    "Outcome",
    "Phase",
    "Plan",
    "ProgramFailed",
    "Ran",
    "Reason",
    "Release",
    "Result",
    "RunFacts",
    "SpipEnvironment",
    "Summary",
    "Verdict",
    "load",
]
_HOMES = {
    **dict.fromkeys(("CallFailed", "InstallFailed", "ProgramFailed"), "errors"),
    **dict.fromkeys(("Ran", "SpipEnvironment"), "session.spip_env"),
    "load": "session.loading",
}


def __getattr__(name: str) -> object:
    """Import a name when it is asked for: pytest imports this package in every session."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'model')}"), name)
