"""Everything pytest-spip raises on purpose.

::

    SpipError
    ├── UsageProblem          the person asked for something that cannot be; names option and mend (exit status 4)
    │   └── UnknownPackage    the index does not know the project
    ├── IndexProblem          an index could not be read: unreachable, malformed, refused
    ├── NetworkProblem        a download failed for reasons of the network; never a verdict, never cached
    ├── HashMismatch          a file is not the file the lock or the index named
    ├── BadWheel              a wheel that must not be installed; carries what is wrong with it
    ├── ToolMissing           git or uv is not to be found
    └── HarnessProblem        the machinery itself failed (environment, interpreter, disk)
        └── SandboxProblem    the sandbox could not be closed around package code, which then was not run
"""

from __future__ import annotations

__all__ = [
    "BadWheel",
    "HarnessProblem",
    "HashMismatch",
    "IndexProblem",
    "NetworkProblem",
    "SandboxProblem",
    "SpipError",
    "ToolMissing",
    "UnknownPackage",
    "UsageProblem",
]


class SpipError(Exception):
    """Base of all errors of pytest-spip."""


class UsageProblem(SpipError):
    """A request that cannot be fulfilled, in one line: ``option``, what is wrong, and the mend."""

    def __init__(self, option: str, what: str, mend: str) -> None:
        self.option = option
        self.what = what
        self.mend = mend
        super().__init__(f"{option}: {what}; {mend}")


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


class HashMismatch(SpipError):
    """The bytes received are not those that were promised."""


class BadWheel(SpipError):
    """The wheel breaks the wheel specification in a way that forbids installing it."""


class ToolMissing(UsageProblem):
    """A program that pytest-spip needs is not installed."""


class HarnessProblem(SpipError):
    """Our own machinery failed; says nothing about the package."""


class SandboxProblem(HarnessProblem):
    """The sandbox could not be set up; no package code was run."""
