"""Which wheels a suite's stem loads: pytest, and what it needs. The rest is told in child/stem.py."""

from __future__ import annotations

import dataclasses
import email.parser
import functools
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from pytest_spip.model import Composed, Environment, Limits, StoredWheel, digest

__all__ = ["Stem", "stem_of"]

FRIENDS = (
    "attrs",
    "colorama",
    "exceptiongroup",
    "importlib-metadata",
    "py",
    "pygments",
    "tomli",
    "typing-extensions",
    "zipp",
)
"""What some pytest looks for without requiring it. A child that would find more than its stem did runs cold."""


@dataclasses.dataclass(frozen=True, slots=True)
class Stem:
    """What a fork server is told of a stem: its layers, the uppermost first, its program, and its variables."""

    key: str
    layers: tuple[str, ...]
    command: tuple[str, ...]
    environment: Mapping[str, str]

    def to_plain(self) -> dict[str, Any]:
        """Return the protocol's fields."""
        return {name: getattr(self, name) for name in self.__slots__} | {"environment": dict(self.environment)}


def stem_of(
    packages: Collection[str],
    environment: Environment,
    composed: Composed,
    limits: Limits,
    command: tuple[str, ...],
    variables: Mapping[str, str],
) -> Stem | None:
    """Return the stem that may be forked for a combination of packages; None when it must run cold.

    None, too, where pytest is what is tried, or where variables change how an interpreter starts.
    """
    tried = {canonicalize_name(package) for package in packages}
    wheels = _loaded(environment.wheels, tried)
    if not wheels or not composed.layer_of or any(wheel.name in tried for wheel in wheels):
        return None
    if any(name.startswith("PYTHON") for name in variables):
        return None
    names = {composed.layer_of[wheel.sha256] for wheel in wheels}
    hashes = sorted(wheel.sha256 for wheel in wheels)
    key = digest(hashes, command, dict(variables), limits.memory, limits.file_size)
    return Stem(key, tuple(layer for layer in composed.layers if layer in names), command, variables)


def _loaded(wheels: Sequence[StoredWheel], tried: Collection[str]) -> tuple[StoredWheel, ...]:
    """Return those wheels that pytest's import may load, in their order; none where there is no pytest.

    What is ``tried`` is among them only if pytest cannot do without it.
    """
    known = {wheel.name: wheel for wheel in wheels}
    if "pytest" not in known:
        return ()
    found: set[str] = set()
    waiting = ["pytest", *(name for name in FRIENDS if name not in tried)]
    while waiting:
        name = waiting.pop()
        if name in known and name not in found:
            found.add(name)
            waiting += _required(known[name].root)
    return tuple(wheel for wheel in wheels if wheel.name in found)


@functools.lru_cache(maxsize=512)  # a filed wheel never changes
def _required(root: str) -> tuple[str, ...]:
    """Return the names that a wheel requires without extras, by whatever markers."""
    names: list[str] = []
    for path in Path(root).glob("*lib/*.dist-info/METADATA"):
        headers = email.parser.HeaderParser().parsestr(path.read_text("utf-8", "replace"))
        names += [name for text in headers.get_all("Requires-Dist", []) if (name := _name(str(text)))]
    return tuple(names)


def _name(text: str) -> str:
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return ""
    return "" if "extra" in str(requirement.marker or "") else canonicalize_name(requirement.name)
