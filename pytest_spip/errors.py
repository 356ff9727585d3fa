"""Everything pytest-spip raises on purpose.

::

    SpipError
    ├── UsageProblem          the person asked for something that cannot be; names the option and the fix (exit status 4)
    │   └── UnknownPackage    the index does not know the project
    ├── IndexProblem          an index could not be read: unreachable, malformed, refused
    ├── NetworkProblem        a download failed for reasons of the network; never a verdict, never cached
    │   └── PassingProblem    it may help to ask again
    ├── HashMismatch          a file is not the file the lock or the index named
    ├── BadWheel              a wheel that must not be installed; carries what is wrong with it
    ├── ProgramFailed         a program that a test ran in an environment ended badly
    ├── CallFailed            a function that a test called in an environment raised, or ended without an answer
    ├── InstallFailed         what a test wanted to install cannot be had beside what is there
    ├── ToolMissing           git or uv is not to be found
    ├── QueueProblem          the database that hosts share refused something
    │   └── QueueUnreachable  it did not answer in time
    └── HarnessProblem        the machinery itself failed (environment, interpreter, disk)
        └── SandboxProblem    the sandbox could not be closed around package code, which then was not run
"""

from __future__ import annotations

__all__ = [
    "BadWheel",
    "CallFailed",
    "HarnessProblem",
    "HashMismatch",
    "IndexProblem",
    "InstallFailed",
    "NetworkProblem",
    "PassingProblem",
    "ProgramFailed",
    "QueueProblem",
    "QueueUnreachable",
    "SandboxProblem",
    "SpipError",
    "ToolMissing",
    "UnknownPackage",
    "UsageProblem",
]


class SpipError(Exception):
    """Base of all errors of pytest-spip."""


class UsageProblem(SpipError):
    """A request that cannot be fulfilled, in one line: ``option``, what is wrong, and the fix where ``what`` does not say it."""

    def __init__(self, option: str, what: str, fix: str = "") -> None:
        self.option = option
        self.what = what
        self.fix = fix
        super().__init__(f"{option}: {what}; {fix}" if fix else f"{option}: {what}")


class IndexProblem(SpipError):
    """An index, named by ``url``, could not be read."""

    def __init__(self, url: str, what: str) -> None:
        self.url = url
        self.what = what
        super().__init__(f"index {url}: {what}")


class UnknownPackage(UsageProblem):
    """No configured index lists the project."""


class NetworkProblem(SpipError):
    """A transfer failed: no connection, a timeout, a truncated body, a 5xx answer."""


class PassingProblem(NetworkProblem):
    """A failure that may be over when one asks again, after ``pause`` seconds if the server named any."""

    def __init__(self, what: str, pause: float = 0.0) -> None:
        self.pause = pause
        super().__init__(what)


class HashMismatch(SpipError):
    """The bytes received are not those that were promised."""


class BadWheel(SpipError):
    """The wheel breaks the wheel specification in a way that forbids installing it."""


class ProgramFailed(SpipError):
    """A program that a test ran in an environment ended with an exit status other than 0, or was killed."""


class CallFailed(SpipError):
    """A function that a test called in an environment raised something; ``kind`` is the exception's type, by its name."""

    def __init__(self, message: str, kind: str = "") -> None:
        self.kind = kind
        super().__init__(message)


class InstallFailed(SpipError):
    """What a test wanted to install cannot be had beside what its environment holds."""


class ToolMissing(UsageProblem):
    """A program that pytest-spip needs is not installed."""


class QueueProblem(SpipError):
    """The database that hosts share refused something; the message says where it is, without a password."""


class QueueUnreachable(QueueProblem):
    """The database that hosts share did not answer in time; what was to be done there may be done later."""


class HarnessProblem(SpipError):
    """Our own machinery failed; says nothing about the package."""


class SandboxProblem(HarnessProblem):
    """The sandbox could not be set up; no package code was run."""
