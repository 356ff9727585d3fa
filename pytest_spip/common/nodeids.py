"""Node ids of combinations, read back: ``spip::numpy+pandas[1.26.4-2.1.0-py312-lowest]``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pytest_spip.errors import UsageProblem
from pytest_spip.model import NTH, UNLISTED

__all__ = ["Named", "label_to_python", "options_for", "read"]

RESOLUTIONS = ("lowest-direct", "lowest")
"""What an id may end with; an id of the highest resolution names none."""


class Named(NamedTuple):
    """What a node id names. A version is empty where none is named, as in ``spip::numpy``; so are label and resolution."""

    packages: tuple[str, ...]
    versions: tuple[str, ...]
    label: str = ""
    resolution: str = ""


def read(nodeid: str) -> Named:
    """Return what a node id names; raises ``UsageProblem`` for one that has not a version for each package."""
    names, bracket, rest = nodeid.split("::", 1)[1].partition("[")
    packages, rest = tuple(names.split("+")), rest.removesuffix("]")
    resolution = next((way for way in RESOLUTIONS if rest.endswith(f"-{way}")), "")
    pinned, _, label = (rest.removesuffix(f"-{resolution}") if resolution else rest).rpartition("-")
    if not bracket or pinned == UNLISTED:
        return Named(packages, ("",) * len(packages))
    versions = tuple(pinned.split("-"))
    if len(versions) != len(packages):
        raise UsageProblem(nodeid, "no combination has such an id", "see --collect-only for those there are")
    return Named(packages, versions, label, resolution)


def options_for(nodeids: Sequence[str], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values of options that make the smallest matrix with these ids, so that an id alone can be pasted back.

    What ``values`` say of interpreters and resolutions stands. Raises ``UsageProblem`` for ids that no matrix holds together.
    """
    named = [read(nodeid) for nodeid in nodeids]
    cross = len(named[0].packages) > 1
    for nodeid, one in zip(nodeids, named, strict=True):
        if one.packages != named[0].packages and (cross or len(one.packages) > 1):
            other = "+".join(named[0].packages)
            raise UsageProblem(nodeid, f"it is of another cross than those of {other}", "run it on its own")
    requirements = (
        f"{package}=={version}" if version else package
        for one in named
        for package, version in zip(one.packages, one.versions, strict=True)
    )
    pythons = [] if values["python"] else _once(_python(nodeid, read(nodeid).label) for nodeid in nodeids)
    return {
        "matrix": _once(requirements),
        "python": values["python"] or ",".join(filter(None, pythons)),
        "resolution": values["resolution"] or _once(one.resolution or "highest" for one in named),
        "cross": cross,
    }


def _python(nodeid: str, label: str) -> str:
    """Return what finds the interpreter of a label; raises ``UsageProblem`` where only its path does."""
    first, further, _ = label.partition(NTH)
    if further:
        what = f"{label} is not the only {first} of its run, and only paths tell them apart"
        raise UsageProblem(nodeid, what, "name the same paths with --spip-python=PATH,PATH")
    return label_to_python(label) if label else ""


def _once(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def label_to_python(label: str) -> str:
    """Return what ``--spip-python`` calls a label: ``py312`` and ``py312_2`` are ``3.12``, ``pypy310`` is ``pypy3.10``."""
    kind = "pypy" if label.startswith("pypy") else "py"
    number = label.removeprefix(kind).partition(NTH)[0]
    dotted = number if "." in number else f"{number[:1]}.{number[1:]}"
    return ("pypy" if kind == "pypy" else "") + dotted
