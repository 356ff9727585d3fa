"""The frozen records that cross boundaries, and the closed enums they use. Imports nothing of ours."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = [
    "CONTROLLER",
    "IMPORT_ONLY",
    "MODULE_PREFIX",
    "NEEDS",
    "NO_CHECK",
    "PYTHON_PLACEHOLDER",
    "UNLISTED",
    "Check",
    "Combo",
    "Composed",
    "DistFile",
    "Environment",
    "HostSample",
    "Indexes",
    "Interpreter",
    "Limits",
    "Outcome",
    "Phase",
    "Plan",
    "Provisioned",
    "Reason",
    "Release",
    "Result",
    "Span",
    "StoredWheel",
    "Test",
    "Verdict",
    "counted",
    "digest",
    "seconds_by_phase",
]

MODULE_PREFIX = "spip"
"""First part of every node id of ours: ``spip::colorama[0.4.6-py312]``."""

UNLISTED = "unlisted"
"""Stands for the version of a project that the index would not list."""
PYTHON_PLACEHOLDER = "/spip-python"
"""Stands for the interpreter in stored scripts until an environment is composed."""
NO_CHECK = "none"
"""The check of a run that is for test functions alone."""
NEEDS = "needs.json"
"""Name of the file, below a run's room, in which workers name the functions' items, and the ordinals that these need."""
CONTROLLER = "controller"
"""Stands for a worker's name in the telemetry of the process that plans and provisions."""
IMPORT_ONLY = "import-only"
"""How the detail of a suite's verdict begins that has no tests: nothing more than an import was tried."""


class Outcome(enum.StrEnum):
    """What happened to a combination."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    KILLED = "killed"
    CRASHED = "crashed"
    ERROR = "error"

    @property
    def is_bad(self) -> bool:
        """Whether a person has something to look at."""
        return self not in (Outcome.PASSED, Outcome.SKIPPED)


class Phase(enum.StrEnum):
    """How far a combination came."""

    PLAN = "plan"
    RESOLVE = "resolve"
    FETCH = "fetch"
    BUILD = "build"
    INSTALL = "install"
    IMPORT = "import"
    TEST = "test"


class Reason(enum.StrEnum):
    """Whose fault and why. A crash's reason is the signal's name, as ``signal(7)`` spells it."""

    BUILD_FAILED = "build-failed"
    DEPENDENCY_BUILD_FAILED = "dependency-build-failed"
    BAD_METADATA = "bad-metadata"
    IMPORT_ERROR = "import-error"
    TEST_FAILED = "test-failed"
    COMMAND_FAILED = "command-failed"

    REQUIRES_PYTHON = "requires-python"
    NO_SOLUTION = "no-solution"
    NO_WHEEL = "no-wheel"
    YANKED = "yanked"
    NO_INTERPRETER = "no-interpreter"
    EXCLUDED = "excluded"

    TIMEOUT = "timeout"
    INACTIVE = "inactive"
    OUT_OF_MEMORY = "out-of-memory"
    TOO_MANY_PROCESSES = "too-many-processes"
    LOG_LIMIT = "log-limit"
    ENVIRONMENT_FULL = "environment-full"

    SIGHUP = "SIGHUP"
    SIGINT = "SIGINT"
    SIGQUIT = "SIGQUIT"
    SIGILL = "SIGILL"
    SIGTRAP = "SIGTRAP"
    SIGABRT = "SIGABRT"
    SIGBUS = "SIGBUS"
    SIGFPE = "SIGFPE"
    SIGKILL = "SIGKILL"
    SIGSEGV = "SIGSEGV"
    SIGPIPE = "SIGPIPE"
    SIGALRM = "SIGALRM"
    SIGTERM = "SIGTERM"
    SIGXCPU = "SIGXCPU"
    SIGXFSZ = "SIGXFSZ"
    SIGSYS = "SIGSYS"
    OTHER_SIGNAL = "other-signal"
    SILENT_EXIT = "silent-exit"

    INDEX_ERROR = "index-error"
    NETWORK = "network"
    NO_SPACE = "no-space"
    SANDBOX = "sandbox"
    WORKER_LOST = "worker-lost"
    INTERNAL = "internal"


def digest(*parts: object) -> str:
    """Return the sha256 of the parts as canonical JSON: equal values give equal digests in every process."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclasses.dataclass(frozen=True, slots=True)
class Interpreter:
    """One Python executable, as it described itself when probed.

    ``path`` is the real executable, ``label`` the short name in node ids (``py312``, ``py314t``, ``pypy310``).
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


@dataclasses.dataclass(frozen=True, slots=True)
class DistFile:
    """One file of a release, as the index lists it. ``upload_time`` is ISO 8601 in UTC, or empty."""

    filename: str
    url: str
    kind: str  # "wheel" or "sdist"
    version: str
    sha256: str = ""
    requires_python: str = ""
    upload_time: str = ""
    yanked: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Release:
    """One released version with its usable files, and the index that lists them."""

    package: str
    version: str
    files: tuple[DistFile, ...]
    source: str = ""

    @property
    def yanked(self) -> bool:
        """PEP 592 marks files; a release counts as yanked when no file of it is left."""
        return bool(self.files) and all(file.yanked for file in self.files)


@dataclasses.dataclass(frozen=True, slots=True)
class Indexes:
    """Where packages come from, in order of precedence. A project is taken from the first index that lists it."""

    urls: tuple[str, ...]
    find_links: tuple[str, ...] = ()
    offline: bool = False
    origin: str = "default"  # "uv", "pip" or "default": whose configuration named them


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """Outcome, phase and reason, with one line of detail for a person."""

    outcome: Outcome
    phase: Phase
    reason: Reason | None = None
    detail: str = ""

    @property
    def is_import_only(self) -> bool:
        """Whether it is the pass of a suite without tests, which must not be read as one of tests."""
        return self.outcome is Outcome.PASSED and self.detail.startswith(IMPORT_ONLY)


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """What is tried in every environment: ``import``, ``suite`` or ``command``; ``none`` leaves it to test functions.

    ``words`` are the command's, or further arguments for a suite's pytest.
    """

    kind: str = "import"
    words: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Combo:
    """One package version x one interpreter, in a cross with one version of each of the ``others`` too.

    ``prejudged`` is the verdict of a combination that the plan already decides (Requires-Python, no interpreter). ``others``
    are pairs of package and version, ``others_extras`` the extras of each of them. ``resolution`` says which versions of all
    else are taken: ``lowest-direct``, ``lowest``, or nothing for the highest.
    """

    ordinal: int
    package: str
    version: str
    interpreter: str
    label: str
    extras: tuple[str, ...] = ()
    prejudged: Verdict | None = None
    others: tuple[tuple[str, str], ...] = ()
    others_extras: tuple[tuple[str, ...], ...] = ()
    resolution: str = ""

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
    def nodeid(self) -> str:
        """The id that pytest shows and takes back."""
        return f"{MODULE_PREFIX}::{self.id}"

    @property
    def requirement(self) -> str:
        """The pinned PEP 508 requirement: ``requests[socks]==2.20.0``."""
        return _pinned(self.package, self.version, self.extras)

    @property
    def requirements(self) -> tuple[str, ...]:
        """All pinned requirements, the own one first."""
        others = zip(self.others, self.others_extras or ((),) * len(self.others), strict=True)
        return (self.requirement, *(_pinned(package, version, extras) for (package, version), extras in others))

    @property
    def releases(self) -> tuple[tuple[str, str], ...]:
        """Pairs of package and version, the own one first."""
        return ((self.package, self.version), *self.others)


def _pinned(package: str, version: str, extras: Sequence[str]) -> str:
    told = f"[{','.join(extras)}]" if extras else ""
    return f"{package}{told}=={version}"


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


@dataclasses.dataclass(frozen=True, slots=True)
class StoredWheel:
    """An unpacked wheel in the store. ``modules`` are its importable top-level modules, ``root`` its directory."""

    sha256: str
    name: str
    version: str
    root: str
    modules: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Environment:
    """What an environment of one combination consists of, in installation order.

    ``tree`` is a directory whose files lie in the working directory, such as a test suite; its name changes with its files.
    ``suite`` are words by which pytest finds a suite that lies elsewhere: in a package that is installed.
    """

    wheels: tuple[StoredWheel, ...]
    fingerprint: str
    lock: str = ""
    tree: str = ""
    suite: tuple[str, ...] = ()

    @property
    def locked(self) -> dict[str, str]:
        """Project name to version, as the lock pins them."""
        return {wheel.name: wheel.version for wheel in self.wheels}


@dataclasses.dataclass(frozen=True, slots=True)
class Composed:
    """An environment on disk, ready to run in: ``prefix`` is its ``sys.prefix``, ``site`` its site-packages.

    ``layers`` are laid over it, the uppermost first; ``uncompiled`` are those of them that bytecode would pay for, and
    ``unrewritten`` is the layer to be made for the bytecode of a suite's tests, where that would pay; ``layer_of`` names, by a
    wheel's sha256, its layer, where each wheel has one of its own.
    """

    prefix: str
    python: str
    site: str
    home: str
    tmp: str
    cwd: str
    layers: tuple[str, ...] = ()
    uncompiled: tuple[str, ...] = ()
    unrewritten: str = ""
    scripts: tuple[tuple[str, str], ...] = ()
    layer_of: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def traced(self) -> str:
        """The directory, with a slash, of whose modules it is worth knowing that they were imported; or nothing."""
        return f"{self.prefix}/" if self.uncompiled or self.unrewritten else ""

    @property
    def trees(self) -> tuple[str, ...]:
        """The layers that are no wheel's but a suite's, the tree itself last, where each wheel has one of its own."""
        wheels = set(self.layer_of.values())
        return tuple(layer for layer in self.layers if layer not in wheels) if wheels else ()


class Span(NamedTuple):
    """A stretch of a process's time: what it was spent on, when it began, and how many seconds it took.

    ``at`` is in seconds since the epoch, so that processes and hosts can be laid beside one another; ``seconds`` are told
    by a clock that nobody sets. ``ordinal`` is None where no combination was at hand. A tuple, for there are half a million.
    """

    phase: str
    at: float
    seconds: float
    ordinal: int | None = None
    worker: str = ""

    @property
    def end(self) -> float:
        """When it was over."""
        return self.at + self.seconds


def seconds_by_phase(spans: Iterable[Span]) -> dict[str, float]:
    """Return the seconds of each phase, in the order in which they first occur."""
    seconds: dict[str, float] = {}
    for span in spans:
        seconds[span.phase] = seconds.get(span.phase, 0.0) + span.seconds
    return seconds


@dataclasses.dataclass(frozen=True, slots=True)
class HostSample:
    """A machine at one instant, ``at`` seconds since the epoch.

    ``cpu`` and ``iowait`` are shares of all processors' time since the sample before; ``available`` is memory and
    ``room_used`` what is used of the file system that environments live on, in bytes. Pressures are the shares of the last
    ten seconds in which some process waited for processors, disks or memory; None where the kernel does not tell them.
    """

    at: float
    cpu: float
    iowait: float
    available: int
    room_used: int
    cpu_pressure: float | None = None
    io_pressure: float | None = None
    memory_pressure: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Provisioned:
    """What provisioning a combination ended with: an environment to compose, or a verdict.

    ``spans`` tell where the time went, one after the other; ``work`` counts what was really done, not found in a cache
    (``resolved``, ``downloaded``, ``built``, ``filed``). ``output`` is the tail of a failed tool's output.
    """

    ordinal: int
    environment: Environment | None = None
    verdict: Verdict | None = None
    output: str = ""
    spans: tuple[Span, ...] = ()
    work: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def phases(self) -> dict[str, float]:
        """Seconds per phase."""
        return seconds_by_phase(self.spans)


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one combination: seconds, bytes of memory, bytes a single file and all files may have, bytes of output.

    ``inactivity`` are the seconds without output and work after which it is given up; 0 waits for the timeout.
    ``processes`` bounds processes and threads together.
    """

    timeout: float = 60.0
    memory: int = 2 << 30
    file_size: int = 1 << 30
    room: int = 1 << 30
    output: int = 16 << 20
    inactivity: float = 0.0
    processes: int = 512


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


@dataclasses.dataclass(frozen=True, slots=True)
class Disagreement:
    """A combination on which the warm and the cold runner did not agree; the cold verdict counts."""

    ordinal: int
    warm: str
    cold: str


class Test(NamedTuple):
    """One test of a suite. ``outcome`` is passed, failed, skipped, xfailed, xpassed or error; ``detail`` says why, if at all."""

    id: str
    outcome: str
    seconds: float = 0.0
    detail: str = ""

    @property
    def is_bad(self) -> bool:
        """Whether it makes its suite fail."""
        return self.outcome in ("failed", "error")

    @property
    def headline(self) -> str:
        """The first line of its detail."""
        return self.detail.partition("\n")[0]


Test.__test__ = False  # type: ignore[attr-defined]  # else pytest takes it for tests wherever it is imported


def counted(tests: Iterable[Test]) -> str:
    """Return ``28 passed, 2 skipped``, the most frequent outcome first."""
    counts = Counter(test.outcome for test in tests)
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in sorted(counts, key=lambda name: -counts[name]))


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What running one combination showed. Times in seconds, ``peak_rss`` in bytes; ``tests`` are a suite's, as they ended."""

    ordinal: int
    verdict: Verdict
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_rss: int = 0
    attempts: int = 1
    runner: str = ""
    worker: str = ""
    host: str = ""
    fingerprint: str = ""
    locked: Mapping[str, str] = dataclasses.field(default_factory=dict)
    reproduce: str = ""
    output: str = ""
    phases: Mapping[str, float] = dataclasses.field(default_factory=dict)
    tests: tuple[Test, ...] = ()

    def to_plain(self) -> dict[str, Any]:
        """Return plain data that JSON and execnet carry; :meth:`from_plain` is the way back."""
        plain = {name: getattr(self, name) for name in self.__slots__}  # not asdict(), which copies what is below
        tests = [tuple(test) for test in self.tests]  # execnet takes no named ones
        return plain | {"verdict": verdict_to_plain(self.verdict), "tests": tests}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Result:
        """Rebuild a result from :meth:`to_plain`'s data."""
        tests = tuple(Test(*test) for test in plain["tests"])
        return cls(**{**plain, "verdict": verdict_from_plain(plain["verdict"]), "tests": tests})


def verdict_to_plain(verdict: Verdict) -> list[str | None]:
    """Return a verdict as a list of texts."""
    reason = None if verdict.reason is None else verdict.reason.value
    return [verdict.outcome.value, verdict.phase.value, reason, verdict.detail]


def verdict_from_plain(plain: Sequence[str | None]) -> Verdict:
    """Rebuild a verdict; raises ``ValueError`` for a word outside the enums."""
    outcome, phase, reason, detail = plain
    return Verdict(Outcome(outcome or ""), Phase(phase or ""), None if reason is None else Reason(reason), detail or "")
