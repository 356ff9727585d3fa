"""What a session comes to: its verdicts, failures of one kind together, and where the time went."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pytest_spip.model.plans import Combo, Interpreter
from pytest_spip.model.run_facts import RunFacts
from pytest_spip.model.triage import Affected, Boundary, Support
from pytest_spip.model.verdicts import Disagreement, Outcome, Result

if TYPE_CHECKING:
    from pytest_spip.model.bisections import BisectLine
    from pytest_spip.model.comparisons import Comparison

__all__ = ["Group", "Summary"]


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """Failures of one kind: ``signature``, how many, and the ids of some.

    ``example`` are one combination's own words, where the signature leaves out what is in them; nothing where it says all.
    ``affected`` are the ranges that it touches, ``boundaries`` where it begins and ends, and ``likely`` is the change that most
    of its combinations have in common with one another, and not with neighbours that pass.
    """

    signature: str
    results: tuple[Result, ...]
    ids: tuple[str, ...]
    example: str = ""
    affected: tuple[Affected, ...] = ()
    boundaries: tuple[Boundary, ...] = ()
    likely: str = ""

    @property
    def is_environment(self) -> bool:
        """Whether they are errors, which say nothing about the package."""
        return self.results[0].verdict.outcome is Outcome.ERROR

    @property
    def count(self) -> int:
        """How many combinations share the signature."""
        return len(self.results)


@dataclasses.dataclass(frozen=True, slots=True)
class Summary:
    """A finished session. ``facts`` are those of the run; times in seconds, shares between 0 and 1.

    ``workers`` says where each worker's time went, ``controller`` its CPU seconds for each verdict of the last session,
    ``limits`` what limited the run; ``untold`` how many combinations each worker ran of which its telemetry has nothing;
    ``comparison`` what changed, where the run is compared with anything; ``bisect`` what a bisection found; ``support`` what of
    each package works.
    """

    facts: RunFacts
    combos: tuple[Combo, ...]
    interpreters: tuple[Interpreter, ...]
    results: Mapping[int, Result]
    selected: frozenset[int]
    groups: tuple[Group, ...]
    phases: Mapping[str, float]
    work: Mapping[str, int]
    seconds: float
    cpu: float
    iowait: float
    disagreements: tuple[Disagreement, ...] = ()
    workers: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    controller: float = 0.0
    limits: tuple[str, ...] = ()
    untold: Mapping[str, int] = dataclasses.field(default_factory=dict)
    comparison: Comparison | None = None
    bisect: tuple[BisectLine, ...] = ()
    support: tuple[Support, ...] = ()

    @property
    def counts(self) -> Mapping[Outcome, int]:
        """How many combinations ended with each outcome."""
        return Counter(result.verdict.outcome for result in self.results.values())

    @property
    def per_second(self) -> float:
        """Verdicts a second over the time in which combinations ran."""
        return len(self.results) / self.seconds if self.seconds else 0.0

    @property
    def import_only(self) -> int:
        """How many of those that passed are suites without tests."""
        return sum(result.verdict.is_import_only for result in self.results.values())

    @property
    def reused(self) -> int:
        """How many verdicts an earlier run gave."""
        return sum(result.reused for result in self.results.values())

    @property
    def tried(self) -> bool:
        """Whether any combination was tried: built, imported or tested, whatever came of it."""
        return any(result.verdict.outcome is not Outcome.SKIPPED for result in self.results.values())

    @property
    def shares_suite(self) -> bool:
        """Whether all combinations run one suite, that of a project, and not each release its own."""
        return bool(self.facts.project)

    @property
    def missing(self) -> int:
        """How many selected combinations have no verdict."""
        return len(self.selected - self.results.keys())

    @property
    def undone(self) -> tuple[Combo, ...]:
        """The selected combinations that have no verdict, in the plan's order."""
        left = self.selected - self.results.keys()
        return tuple(combo for combo in self.combos if combo.ordinal in left) if left else ()
