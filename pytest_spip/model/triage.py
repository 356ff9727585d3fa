"""What a run's failures have in common, and what of a package works: for people who decide what to do."""

from __future__ import annotations

import dataclasses

__all__ = ["Affected", "Boundary", "PackageMetadata", "PythonSupport", "Support"]


@dataclasses.dataclass(frozen=True, slots=True)
class Affected:
    """Neighbouring releases that a failure touches, the oldest first, all on the same Pythons.

    ``package`` has all names of a cross, ``others`` the first and last version of each further package. ``pythons`` is text,
    such as ``>= 3.10``; empty where it is every Python. ``resolutions`` are empty where it is every resolution.
    """

    package: str
    first: str
    last: str
    count: int
    pythons: str = ""
    others: tuple[tuple[str, str], ...] = ()
    resolutions: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Boundary:
    """Where a failure begins or ends: the release that fails beside the one that passes.

    ``begins`` is true where the failing release is the newer one. ``pythons`` is text, such as ``>= 3.10``; empty where it is
    so on all Pythons that the failure touches.
    """

    package: str
    bad: str
    good: str
    begins: bool
    pythons: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class PackageMetadata:
    """What a release's metadata declare: the Pythons that its classifiers name, and its requirements as PEP 508 texts.

    ``version`` is the release.
    """

    classifiers: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    version: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class PythonSupport:
    """What was seen of a package's releases on some Pythons, which all came to the same. ``pythons`` is text: ``>= 3.10``.

    All releases pass from ``works_from`` to ``works_until``, the newest that passes; on ``broken_from``, if there is one, and
    what is newer none passes. ``oldest`` is the oldest that passes at all. All are empty where there is none.
    ``failing_choice`` is the release that an installer takes when nothing else is asked for, of those that were planned, if
    that fails.
    """

    pythons: str
    labels: tuple[str, ...]
    works_from: str
    works_until: str
    broken_from: str
    oldest: str
    failing_choice: str


@dataclasses.dataclass(frozen=True, slots=True)
class Support:
    """What a package declares beside what was seen.

    ``requires_python`` and ``classifiers`` are those of the ``newest`` release that was tried; there are no classifiers where
    no wheel of it is there to read them from. ``declared`` is what the project
    under test requires of the package. ``findings`` say where what is declared and what was seen differ. ``suggestion`` is a
    requirement for what passed on all Pythons, with what was ``tested``; both are empty where nothing passed.
    """

    package: str
    releases: int
    newest: str
    requires_python: str
    classifiers: tuple[str, ...]
    pythons: tuple[PythonSupport, ...]
    declared: str = ""
    findings: tuple[str, ...] = ()
    suggestion: str = ""
    tested: str = ""
