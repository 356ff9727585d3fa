"""What a combination is tried in: wheels, environments, and the limits of both."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

from pytest_spip.model.measures import Span, seconds_by_phase
from pytest_spip.model.verdicts import Verdict

__all__ = [
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
]

PYTHON_PLACEHOLDER = "/spip-python"
"""Stands for the interpreter in stored scripts until an environment is composed."""


@dataclasses.dataclass(frozen=True, slots=True)
class StoredWheel:
    """An unpacked wheel in the store. ``modules`` are its importable top-level modules, ``root`` its directory.

    ``warnings`` say what is wrong with it that installers overlook. Where it installs modules as data, into the library of
    some Python, ``libraries`` are pairs of that directory's name and all modules that are seen with it.
    """

    sha256: str
    name: str
    version: str
    root: str
    modules: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    libraries: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def within(self, library: str) -> StoredWheel:
        """Return the wheel as environments with a library directory of that name have it: ``modules`` are those that they see."""
        modules = dict(self.libraries).get(library, self.modules)
        return dataclasses.replace(self, modules=modules, libraries=()) if self.libraries else self


@dataclasses.dataclass(frozen=True, slots=True)
class Environment:
    """What an environment of one combination consists of, in installation order.

    ``tree`` is a directory with a checkout's files, such as a test suite; its name changes with its files. ``place`` is where the
    suite is run: the name that the checkout's top directory goes by, and the path below it. ``suite`` are words by which pytest
    finds a suite that lies elsewhere: in a package that is installed. ``warnings`` are what a person should know of the
    environment whatever the verdict: a sentence each, without the combination's name. Where the files of one wheel ``replaces``
    another's, they have to be laid out together.
    """

    wheels: tuple[StoredWheel, ...]
    fingerprint: str
    lock: str = ""
    tree: str = ""
    suite: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    place: str = ""
    replaces: bool = False

    @property
    def locked(self) -> dict[str, str]:
        """Project name to version, as the lock pins them."""
        return {wheel.name: wheel.version for wheel in self.wheels}


@dataclasses.dataclass(frozen=True, slots=True)
class Composed:
    """An environment on disk, ready to run in: ``prefix`` is its ``sys.prefix``, ``site`` its site-packages.

    ``home``, ``tmp`` and ``cwd`` lie outside of it, and are the combination's alone; ``sources`` is the directory that the
    checkout's top directory, if there is one, lies in.

    ``layers`` are laid over the prefix, ``trees`` over ``sources``, the uppermost first; ``uncompiled`` are those layers that
    bytecode would pay for, and ``unrewritten`` is the layer of ``trees`` to be made for the bytecode of a suite's tests, where that
    would pay; ``layer_of`` names, by a wheel's sha256, its layer, where each wheel has one of its own.
    """

    prefix: str
    python: str
    site: str
    home: str
    tmp: str
    cwd: str
    sources: str
    layers: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()
    uncompiled: tuple[str, ...] = ()
    unrewritten: str = ""
    scripts: tuple[tuple[str, str], ...] = ()
    layer_of: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def traced(self) -> tuple[str, ...]:
        """The directories, with a slash, of whose modules it is worth knowing that they were imported."""
        return (f"{self.prefix}/", f"{self.sources}/") if self.uncompiled or self.unrewritten else ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Provision:
    """What all ends of provisioning have in common.

    ``spans`` tell where the time went, one after the other; ``work`` counts what was really done, not found in a cache
    (``resolved``, ``downloaded``, ``built``, ``filed``).
    """

    spans: tuple[Span, ...] = ()
    work: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def phases(self) -> dict[str, float]:
        """Seconds per phase."""
        return seconds_by_phase(self.spans)


@dataclasses.dataclass(frozen=True, slots=True)
class Ready(_Provision):
    """A combination was provisioned: its environment can be composed."""

    ordinal: int
    environment: Environment


@dataclasses.dataclass(frozen=True, slots=True)
class Refused(_Provision):
    """A combination cannot be provisioned: its verdict, and the tail of a failed tool's output."""

    ordinal: int
    verdict: Verdict
    output: str = ""


Provisioned = Ready | Refused
"""What provisioning a combination ended with."""


class Builds(NamedTuple):
    """What is being built: a text for each and the ``time.monotonic()`` of its begin, the longest first; and how many are left."""

    running: tuple[tuple[str, float], ...] = ()
    left: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one combination: seconds, bytes of memory, bytes a single file and all files may have, bytes of output.

    ``inactivity`` are the seconds without output and work after which it is given up; 0 waits for the timeout.
    ``processes`` bounds processes and threads together. ``head`` are bytes of output that are kept of its beginning, beside
    its end.
    """

    timeout: float = 60.0
    memory: int = 2 << 30
    file_size: int = 1 << 30
    room: int = 1 << 30
    output: int = 16 << 20
    inactivity: float = 0.0
    processes: int = 512
    head: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class BuildPolicy:
    """Whether sdists are built, and the bounds of one build: seconds, and bytes of memory."""

    never: bool = False
    timeout: float = 1800.0
    memory: int = 8 << 30


@dataclasses.dataclass(frozen=True, slots=True)
class Sandbox:
    """How package code is confined: 3 namespaces, 2 Landlock and a system call filter, 1 limits alone, 0 the same, by wish.

    ``why`` says what is missing for the next level. ``network`` and ``passed``, variables of the user's environment, are
    what was opened by name.
    """

    level: int
    why: str = ""
    network: bool = False
    passed: tuple[tuple[str, str], ...] = ()

    @property
    def summary(self) -> str:
        """One line for the header and the report."""
        what = {3: "namespaces", 2: "Landlock and a system call filter", 1: "limits only", 0: "off, limits only"}[
            self.level
        ]
        opened = [*(["network"] if self.network else []), *(name for name, _ in self.passed)]
        parts = [what, *([f"open: {', '.join(opened)}"] if opened else []), *([self.why] if self.why else [])]
        return f"level {self.level} ({'; '.join(parts)})"
