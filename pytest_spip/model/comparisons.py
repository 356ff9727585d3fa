"""Two runs beside one another: what changed, by combination and by test."""

from __future__ import annotations

import dataclasses
import enum
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from pytest_spip.model.verdicts import Outcome, Result, Verdict

__all__ = ["Change", "ChangeKind", "Comparison", "Judged", "LockChange"]


class ChangeKind(enum.StrEnum):
    """What became of a combination between two runs."""

    REGRESSED = "regressed"
    """It passed and does not any more, tests of it newly fail, or it crashes and did not."""
    FIXED = "fixed"
    FLAKY = "flaky"
    """It passed when it was run again."""
    NEW = "new"
    """Only the later run has a verdict of it."""
    REMOVED = "removed"
    """Only the earlier run has a verdict of it."""
    ENVIRONMENT = "environment"
    """An error or a skip on one side, which says nothing about the package."""
    SAME = "same"


class LockChange(NamedTuple):
    """A project whose locked version differs between two environments; a version is empty where it is not installed."""

    name: str
    before: str
    after: str


@dataclasses.dataclass(frozen=True, slots=True)
class Judged:
    """What a comparison looks at in a result. ``tests`` are outcomes by id, of a suite that ran to its end.

    ``locked`` are the versions of its environment by project.
    """

    verdict: Verdict
    tests: Mapping[str, str] = dataclasses.field(default_factory=dict)
    is_flaky: bool = False
    locked: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether it is a pass."""
        return self.verdict.outcome is Outcome.PASSED

    @classmethod
    def from_result(cls, result: Result) -> Judged:
        """Return what there is to compare of a result."""
        return cls(result.verdict, {test.id: test.outcome for test in result.tests}, result.is_flaky, result.locked)


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One combination in two runs; None where a run has no verdict of it. Tests are named by id, sorted.

    ``locked`` are the projects of which the environments had different versions.
    """

    id: str
    kind: ChangeKind
    before: Verdict | None
    after: Verdict | None
    newly_failing: tuple[str, ...] = ()
    newly_passing: tuple[str, ...] = ()
    locked: tuple[LockChange, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """A run beside the one that it is compared with, which is named ``base``; ``changes`` in the order of the plan."""

    base: str
    changes: tuple[Change, ...]

    @property
    def counts(self) -> Mapping[ChangeKind, int]:
        """How many combinations there are of each kind."""
        return Counter(change.kind for change in self.changes)

    def of(self, kind: ChangeKind) -> tuple[Change, ...]:
        """Return the changes of one kind."""
        return tuple(change for change in self.changes if change.kind is kind)

    @property
    def unjudged(self) -> tuple[Change, ...]:
        """Those that the base has a verdict of, and the later run has an error instead."""
        return tuple(
            change
            for change in self.of(ChangeKind.ENVIRONMENT)
            if change.after and change.after.outcome is Outcome.ERROR
        )
