"""Conditions that hold for some combinations: ``colorama<0.3 ; python_version >= "3.12"``. Pure."""

from __future__ import annotations

import dataclasses

from packaging.markers import InvalidMarker, Marker, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from pytest_spip.errors import UsageProblem
from pytest_spip.model import Combo, Interpreter

__all__ = ["Condition", "allowed_pythons"]

FIX = "write it like colorama<0.3 ; python_version >= '3.12'"


@dataclasses.dataclass(frozen=True, slots=True)
class Condition:
    """A package, empty for any, which of its versions, and a marker for the interpreter, if there is one."""

    text: str
    package: str
    versions: SpecifierSet
    marker: Marker | None = None

    @classmethod
    def parse(cls, option: str, text: str) -> Condition:
        """Read a requirement with or without a marker, or either alone: ``>=0.4``, ``; sys_platform == 'linux'``.

        Raises ``UsageProblem``, which names ``option``.
        """
        what, _, marker = (part.strip() for part in text.partition(";"))
        try:
            if what[:1].isalnum():
                found = Requirement(text.strip())
                return cls(text.strip(), canonicalize_name(found.name), found.specifier, found.marker)
            return cls(text.strip(), "", SpecifierSet(what), Marker(marker) if marker else None)
        except (InvalidRequirement, InvalidSpecifier, InvalidMarker) as error:
            reason = str(error).splitlines()[0]
            raise UsageProblem(option, f"{text!r} is no condition ({reason})", FIX) from error

    def holds(self, combo: Combo, interpreter: Interpreter) -> bool:
        """Return True if it holds for a combination; a version that there is not fits no specifier."""
        if self.package and self.package != canonicalize_name(combo.package):
            return False
        if len(self.versions) and not _fits(self.versions, combo.version):
            return False
        if self.marker is None:
            return True
        try:
            return self.marker.evaluate(dict(interpreter.markers))
        except UndefinedEnvironmentName:
            return False


def allowed_pythons(option: str, text: str) -> SpecifierSet:
    """Read which Pythons are meant, like ``>=3.9``. Raises ``UsageProblem``."""
    try:
        return SpecifierSet(text)
    except InvalidSpecifier as error:
        raise UsageProblem(option, f"python={text!r} is no version specifier", "write it like '>=3.9,<3.13'") from error


def _fits(versions: SpecifierSet, version: str) -> bool:
    try:
        return versions.contains(version, prereleases=True)
    except InvalidVersion:
        return False
