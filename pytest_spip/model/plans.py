"""What is to be tried: releases, interpreters, and the combinations of a run."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence

from pytest_spip.model.resolution import ResolutionSettings
from pytest_spip.model.trust import Trust
from pytest_spip.model.verdicts import Verdict
from pytest_spip.names import MODULE_PREFIX

__all__ = [
    "NEEDS",
    "NO_CHECK",
    "NTH",
    "UNLISTED",
    "Check",
    "Combo",
    "DistFile",
    "Indexes",
    "Interpreter",
    "Plan",
    "Release",
    "ReleaseFacts",
    "digest",
]

UNLISTED = "unlisted"
"""Stands for the version of a project that the index would not list."""
NO_CHECK = "none"
"""The check of a run that is for test functions alone."""
NTH = "_"
"""Stands in a label before the number of a further interpreter of one version, which only a path names: ``py312_2``."""
NEEDS = "needs.json"
"""Name of the file, below a run's room, in which workers name the functions' items, and the ordinals that these need."""


def digest(*parts: object) -> str:
    """Return the sha256 of the parts as canonical JSON: equal values give equal digests in every process."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclasses.dataclass(frozen=True, slots=True)
class Interpreter:
    """One Python executable, as it described itself when probed.

    ``path`` is the real executable, ``label`` the short name in node ids (``py312``, ``py314t``, ``pypy310``, ``py312_2``).
    ``markers`` are the PEP 508 environment markers, as pairs; ``abis`` the ABI tags from best to least.
    An interpreter that was asked for and not found has an empty path, and ``problem`` says why.
    """

    id: str
    label: str
    version: str
    implementation: str
    path: str
    abis: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    markers: tuple[tuple[str, str], ...] = ()
    problem: str = ""

    @property
    def minor(self) -> tuple[int, int]:
        """Major and minor version as numbers: ``(3, 12)``."""
        major, minor = self.version.split(".")[:2]
        return int(major), int(minor)

    @property
    def python(self) -> str:
        """Major and minor version as text: ``3.12``."""
        return "{}.{}".format(*self.minor)

    @property
    def is_plain(self) -> bool:
        """Whether it is the only CPython of its version, in the usual build: those that ranges of Pythons are made of."""
        return self.implementation == "cpython" and self.label == "py{}{}".format(*self.minor)

    @property
    def library(self) -> str:
        """Name of the library directory below ``lib`` of its environments: ``python3.12``, ``python3.13t``, ``pypy3.9``."""
        folder = "pypy" if self.implementation == "pypy" else "python"
        threads = "t" if self.label.partition(NTH)[0].rstrip("d").endswith("t") else ""
        return f"{folder}{self.python}{threads}"


@dataclasses.dataclass(frozen=True, slots=True)
class DistFile:
    """One file of a release, as the index lists it.

    ``upload_time`` is ISO 8601 in UTC, or empty; ``size`` is in bytes, or 0 where it is not known.
    """

    filename: str
    url: str
    kind: str  # "wheel" or "sdist"
    version: str
    sha256: str = ""
    requires_python: str = ""
    upload_time: str = ""
    yanked: bool = False
    size: int = dataclasses.field(default=0, compare=False, repr=False)
    linked: bool = False  # found by find-links, which no date bounds


@dataclasses.dataclass(frozen=True, slots=True)
class Release:
    """One released version with its usable files, and the index that lists them.

    One that is ``ambiguous`` has local versions beside it, such as ``1.0+cpu`` beside ``1.0``.
    """

    package: str
    version: str
    files: tuple[DistFile, ...]
    source: str = ""
    ambiguous: bool = False

    @property
    def yanked(self) -> bool:
        """PEP 592 marks files; a release counts as yanked when no file of it is left."""
        return bool(self.files) and all(file.yanked for file in self.files)


@dataclasses.dataclass(frozen=True, slots=True)
class IndexOptions:
    """What the user's uv configuration says of one index beside its URL.

    ``ignored_statuses`` are HTTP statuses that mean "not here, ask the next", like 404. ``authenticate`` is
    ``always``, ``never`` or nothing.
    """

    ignored_statuses: tuple[int, ...] = ()
    authenticate: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Indexes:
    """Where packages come from, in order of precedence. A project is taken from the first index that lists it."""

    urls: tuple[str, ...]
    find_links: tuple[str, ...] = ()
    offline: bool = False
    origin: str = "default"  # "uv", "pip" or "default": whose configuration named them
    settings: ResolutionSettings = dataclasses.field(default_factory=ResolutionSettings)
    trust: Trust = dataclasses.field(default_factory=Trust)
    options: tuple[tuple[str, IndexOptions], ...] = ()

    @property
    def logins(self) -> tuple[str, ...]:
        """The indexes whose credentials, if any, may be sent."""
        return tuple(url for url in self.urls if self.options_of(url).authenticate != "never")

    def options_of(self, url: str) -> IndexOptions:
        """Return what the user set for one of the indexes."""
        return dict(self.options).get(url, IndexOptions())


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """What is tried in every environment: ``import``, ``suite`` or ``command``; ``none`` leaves it to test functions.

    ``words`` are the command's, or further arguments for a suite's pytest.
    """

    kind: str = "import"
    words: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class ReleaseFacts:
    """What an index says of a release that matters to those who install it."""

    package: str
    version: str
    requires_python: str = ""
    yanked: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Combo:
    """One package version x one interpreter, in a cross with one version of each of the ``others`` too.

    ``plan_verdict`` is the verdict of a combination that the plan already decides (Requires-Python, no interpreter). ``others``
    are pairs of package and version, ``others_extras`` the extras of each of them. ``resolution`` says which versions of all
    else are taken: ``lowest-direct``, ``lowest``, or nothing for the highest. ``exact`` are the packages of which local versions
    are listed beside the one that is meant, such as ``1.0+cpu`` beside ``1.0``, so that ``==`` would admit both.
    """

    ordinal: int
    package: str
    version: str
    interpreter: str
    label: str
    extras: tuple[str, ...] = ()
    plan_verdict: Verdict | None = None
    others: tuple[tuple[str, str], ...] = ()
    others_extras: tuple[tuple[str, ...], ...] = ()
    resolution: str = ""
    exact: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """``colorama[0.4.6-py312]``; with all axes ``numpy+pandas[1.26.4-2.1.0-py312-lowest]``.

        Neither a project's normalised name has a plus, nor a normalised version or a label a hyphen.
        """
        packages, versions = self.package, self.version or UNLISTED
        for package, version in self.others:
            packages, versions = f"{packages}+{package}", f"{versions}-{version}"
        resolution = f"-{self.resolution}" if self.resolution else ""
        return f"{packages}[{versions}-{self.label}{resolution}]"

    @property
    def lock_name(self) -> str:
        """Name of its lock file below the run's directory of locks: ``colorama-0.4.6-py312.toml``."""
        parts = (*(part for one in self.releases for part in one), self.label, self.resolution)
        return f"{'-'.join(filter(None, parts))}.toml"

    @property
    def nodeid(self) -> str:
        """The id that pytest shows and takes back."""
        return f"{MODULE_PREFIX}::{self.id}"

    @property
    def requirement(self) -> str:
        """The pinned PEP 508 requirement: ``requests[socks]==2.20.0``."""
        return self._pinned(self.package, self.version, self.extras)

    @property
    def requirements(self) -> tuple[str, ...]:
        """All pinned requirements, the own one first."""
        others = zip(self.others, self.others_extras or ((),) * len(self.others), strict=True)
        return (self.requirement, *(self._pinned(package, version, extras) for (package, version), extras in others))

    def _pinned(self, package: str, version: str, extras: Sequence[str]) -> str:
        asked = f"[{','.join(extras)}]" if extras else ""
        return f"{package}{asked}{'===' if package in self.exact else '=='}{version}"

    @property
    def packages(self) -> str:
        """All names: ``numpy``, of a cross ``numpy+pandas``."""
        return "+".join(package for package, _ in self.releases)

    @property
    def releases(self) -> tuple[tuple[str, str], ...]:
        """Pairs of package and version, the own one first."""
        return ((self.package, self.version), *self.others)


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """The frozen, ordered list of combinations of a run, and what it was made from."""

    combos: tuple[Combo, ...]
    interpreters: tuple[Interpreter, ...]
    releases: tuple[Release, ...]
    exclude_newer: str = ""
    notes: tuple[str, ...] = ()

    @property
    def hash(self) -> str:
        """Equal for equal plans, in every process and on every host."""
        return digest([(combo.id, combo.interpreter) for combo in self.combos], self.exclude_newer)
