"""The frozen records that cross boundaries, and the closed enums they use. Imports nothing of ours but names.

A name's module is loaded when the name is asked for: a worker has no use for what a report is made of.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_spip.model.bisections import BisectLine, FileChanges, ReleaseChange
    from pytest_spip.model.comparisons import Change, ChangeKind, Comparison, Judged, LockChange
    from pytest_spip.model.environments import (
        PYTHON_PLACEHOLDER,
        BuildPolicy,
        Builds,
        Composed,
        Environment,
        Limits,
        Provisioned,
        Ready,
        Refused,
        Sandbox,
        StoredWheel,
    )
    from pytest_spip.model.measures import CONTROLLER, HostSample, Span, seconds_by_phase
    from pytest_spip.model.plans import (
        NEEDS,
        NO_CHECK,
        NTH,
        UNLISTED,
        Check,
        Combo,
        DistFile,
        Indexes,
        IndexOptions,
        Interpreter,
        Plan,
        Release,
        ReleaseFacts,
        digest,
    )
    from pytest_spip.model.resolution import ResolutionSettings
    from pytest_spip.model.run_facts import RunFacts
    from pytest_spip.model.summaries import Group, Summary
    from pytest_spip.model.triage import Affected, Boundary, PackageMetadata, PythonSupport, Support
    from pytest_spip.model.trust import Trust
    from pytest_spip.model.verdicts import (
        IMPORT_ONLY,
        Disagreement,
        Outcome,
        Phase,
        Reason,
        Result,
        Test,
        Verdict,
        counted,
        counts,
        verdict_from_plain,
        verdict_to_plain,
    )

__all__ = [
    "CONTROLLER",
    "IMPORT_ONLY",
    "NEEDS",
    "NO_CHECK",
    "NTH",
    "PYTHON_PLACEHOLDER",
    "UNLISTED",
    "Affected",
    "BisectLine",
    "Boundary",
    "BuildPolicy",
    "Builds",
    "Change",
    "ChangeKind",
    "Check",
    "Combo",
    "Comparison",
    "Composed",
    "Disagreement",
    "DistFile",
    "Environment",
    "FileChanges",
    "Group",
    "HostSample",
    "IndexOptions",
    "Indexes",
    "Interpreter",
    "Judged",
    "Limits",
    "LockChange",
    "Outcome",
    "PackageMetadata",
    "Phase",
    "Plan",
    "Provisioned",
    "PythonSupport",
    "Ready",
    "Reason",
    "Refused",
    "Release",
    "ReleaseChange",
    "ReleaseFacts",
    "ResolutionSettings",
    "Result",
    "RunFacts",
    "Sandbox",
    "Span",
    "StoredWheel",
    "Summary",
    "Support",
    "Test",
    "Trust",
    "Verdict",
    "counted",
    "counts",
    "digest",
    "seconds_by_phase",
    "verdict_from_plain",
    "verdict_to_plain",
]
_HOMES = {
    "bisections": ("BisectLine", "FileChanges", "ReleaseChange"),
    "comparisons": ("Change", "ChangeKind", "Comparison", "Judged", "LockChange"),
    "environments": (
        "PYTHON_PLACEHOLDER",
        "BuildPolicy",
        "Builds",
        "Composed",
        "Environment",
        "Limits",
        "Provisioned",
        "Ready",
        "Refused",
        "Sandbox",
        "StoredWheel",
    ),
    "measures": ("CONTROLLER", "HostSample", "Span", "seconds_by_phase"),
    "plans": (
        "NEEDS",
        "NO_CHECK",
        "NTH",
        "UNLISTED",
        "Check",
        "Combo",
        "DistFile",
        "Indexes",
        "IndexOptions",
        "Interpreter",
        "Plan",
        "Release",
        "ReleaseFacts",
        "digest",
    ),
    "resolution": ("ResolutionSettings",),
    "run_facts": ("RunFacts",),
    "summaries": ("Group", "Summary"),
    "triage": ("Affected", "Boundary", "PackageMetadata", "PythonSupport", "Support"),
    "trust": ("Trust",),
    "verdicts": (
        "IMPORT_ONLY",
        "Disagreement",
        "Outcome",
        "Phase",
        "Reason",
        "Result",
        "Test",
        "Verdict",
        "counted",
        "counts",
        "verdict_from_plain",
        "verdict_to_plain",
    ),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Import a name when it is asked for, and keep it."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    return value
