"""What became of a combination: the closed enums, verdicts, tests, results."""

from __future__ import annotations

import dataclasses
import enum
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = [
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
]

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
    URL_REQUIREMENT = "url-requirement"
    NO_INTERPRETER = "no-interpreter"
    EXCLUDED = "excluded"
    INFERRED = "inferred"

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


def verdict_to_plain(verdict: Verdict) -> list[str | None]:
    """Return a verdict as a list of texts."""
    reason = None if verdict.reason is None else verdict.reason.value
    return [verdict.outcome.value, verdict.phase.value, reason, verdict.detail]


def verdict_from_plain(plain: Sequence[str | None]) -> Verdict:
    """Rebuild a verdict; raises ``ValueError`` for a word outside the enums."""
    outcome, phase, reason, detail = plain
    return Verdict(Outcome(outcome or ""), Phase(phase or ""), None if reason is None else Reason(reason), detail or "")


class Test(NamedTuple):
    """One test of a suite. ``outcome`` is passed, failed, skipped, xfailed, xpassed or error; ``detail`` says why, if at all.

    It is that of the last attempt, after so many ``reruns``.
    """

    id: str
    outcome: str
    seconds: float = 0.0
    detail: str = ""
    reruns: int = 0

    @property
    def is_bad(self) -> bool:
        """Whether it makes its suite fail."""
        return self.outcome in ("failed", "error")

    @property
    def headline(self) -> str:
        """The first line of its detail."""
        return self.detail.partition("\n")[0]


Test.__test__ = False  # type: ignore[attr-defined]  # else pytest takes it for tests wherever it is imported


def counts(tests: Iterable[Test]) -> dict[str, int]:
    """Return how many tests had each outcome, the most frequent first."""
    return dict(Counter(test.outcome for test in tests).most_common())


def counted(tests: Iterable[Test]) -> str:
    """Return ``28 passed, 2 skipped``, the most frequent outcome first."""
    return ", ".join(f"{count} {outcome}" for outcome, count in counts(tests).items())


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What running one combination showed. Times in seconds, ``peak_rss`` in bytes; ``tests`` are a suite's, as they ended.

    ``warnings`` are the environment's, see ``Environment``. ``attempts`` are ours, after faults of the machinery; ``reruns`` those
    before this one that the user asked for. ``reused`` says that an earlier run of an equal experiment gave the verdict.
    """

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
    warnings: tuple[str, ...] = ()
    reruns: int = 0
    reused: bool = False

    @property
    def is_flaky(self) -> bool:
        """Whether it passed, and only when it was run again."""
        return bool(self.reruns) and self.verdict.outcome is Outcome.PASSED

    def to_plain(self) -> dict[str, Any]:
        """Return plain data that JSON and execnet carry; :meth:`from_plain` is the way back."""
        plain = {name: getattr(self, name) for name in self.__slots__}  # not asdict(), which copies what is below
        tests = [tuple(test) for test in self.tests]  # execnet takes no named ones
        return plain | {"verdict": verdict_to_plain(self.verdict), "tests": tests}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Result:
        """Rebuild a result from :meth:`to_plain`'s data."""
        tests = tuple(Test(*test) for test in plain["tests"])
        made = {"verdict": verdict_from_plain(plain["verdict"]), "tests": tests, "warnings": tuple(plain["warnings"])}
        return cls(**{**plain, **made})


@dataclasses.dataclass(frozen=True, slots=True)
class Disagreement:
    """A combination on which the warm and the cold runner did not agree; the cold verdict counts."""

    ordinal: int
    warm: str
    cold: str
