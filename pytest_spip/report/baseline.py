"""The baseline: a text file, kept in a repository, of the combinations that are known to fail. Pure.

One line names a stretch of neighbouring releases on one Python that fail with the same reason::

    colorama  0.1.8 ... 0.1.15  py312  failed build-failed

A cross names its other releases behind the package's, a resolution stands behind the Python.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pytest_spip.common.releases import version_order
from pytest_spip.model import Combo, Judged, Outcome, Phase, Reason, Result, Verdict

__all__ = ["BaselineError", "KnownFailure", "baseline_text", "known_failures", "parse_baseline", "updated"]

HEADER = """\
# Combinations that are known to fail, as pytest-spip found them. Everything else is expected to pass.
# Write it anew with --spip-update-baseline; each line is: package  releases  Python  outcome and reason
"""
GAP = re.compile(r" {2,}|\t")
RANGE = " ... "


class BaselineError(ValueError):
    """A line that is no line of a baseline; carries its number, from 1."""

    def __init__(self, number: int, why: str) -> None:
        self.number = number
        super().__init__(f"line {number}: {why}")


@dataclasses.dataclass(frozen=True, slots=True)
class KnownFailure:
    """Releases of a package, from ``first`` to ``last``, that fail alike on one Python.

    ``package`` is followed by the releases of a cross, ``axis`` is the Python's label and the resolution behind it.
    """

    package: str
    first: str
    last: str
    axis: str
    outcome: Outcome
    reason: Reason | None

    @property
    def line(self) -> str:
        """The line of a baseline."""
        releases = self.first if self.first == self.last else f"{self.first}{RANGE}{self.last}"
        verdict = f"{self.outcome.value} {self.reason.value}" if self.reason else self.outcome.value
        return f"{self.package}  {releases}  {self.axis}  {verdict}"

    def covers(self, combo: Combo) -> bool:
        """Return True if a combination is one of these."""
        if (self.package, self.axis) != (_package(combo), _axis(combo)):
            return False
        return version_order(self.first) <= version_order(combo.version) <= version_order(self.last)

    @property
    def judged(self) -> Judged:
        """What a comparison takes for the verdict of a combination that is known to fail."""
        return Judged(Verdict(self.outcome, Phase.TEST, self.reason, "as the baseline says"))


PASSES = Judged(Verdict(Outcome.PASSED, Phase.TEST))


def parse_baseline(text: str) -> tuple[KnownFailure, ...]:
    """Return what a baseline says. Raises ``BaselineError``."""
    lines = enumerate(text.splitlines(), 1)
    return tuple(_parse(number, line) for number, line in lines if line.strip() and not line.startswith("#"))


def _parse(number: int, line: str) -> KnownFailure:
    parts = GAP.split(line.strip())
    if len(parts) != 4:
        raise BaselineError(
            number, f"{line.strip()!r} has {len(parts)} columns, 4 were expected, two spaces between them"
        )
    package, releases, axis, verdict = parts
    first, _, last = releases.partition(RANGE)
    outcome, _, reason = verdict.partition(" ")
    try:
        return KnownFailure(package, first, last or first, axis, Outcome(outcome), Reason(reason) if reason else None)
    except ValueError as error:
        raise BaselineError(number, str(error)) from error


def known_failures(known: Sequence[KnownFailure], combos: Iterable[Combo]) -> dict[str, Judged]:
    """Return, by id, what a baseline expects of combinations: those that it does not name pass."""
    by_axis: dict[tuple[str, str], list[KnownFailure]] = {}
    for one in known:
        by_axis.setdefault((one.package, one.axis), []).append(one)
    expected: dict[str, Judged] = {}
    for combo in combos:
        lines = by_axis.get((_package(combo), _axis(combo)), ())
        found = next((one for one in lines if one.covers(combo)), None)
        expected[combo.id] = found.judged if found else PASSES
    return expected


def updated(
    known: Sequence[KnownFailure], combos: Sequence[Combo], results: Mapping[int, Result]
) -> tuple[KnownFailure, ...]:
    """Return the baseline after a run.

    What the run says nothing about stays as it was: other packages and Pythons, and combinations without a verdict.
    """
    expected = known_failures(known, combos)
    failing = [(combo, _verdict(results.get(combo.ordinal), expected[combo.id])) for combo in combos]
    tried = {(_package(combo), _axis(combo)) for combo in combos}
    kept = [one for one in known if (one.package, one.axis) not in tried]
    return tuple(sorted({*kept, *_stretches(failing)}, key=_order))


def _verdict(result: Result | None, expected: Judged) -> Verdict:
    if result is None or result.verdict.outcome in (Outcome.ERROR, Outcome.SKIPPED):
        return expected.verdict
    return result.verdict


def _stretches(failing: Iterable[tuple[Combo, Verdict]]) -> Iterator[KnownFailure]:
    """Yield the stretches of neighbours, in the plan, that fail alike."""
    columns: dict[tuple[str, str], list[tuple[str, Verdict]]] = {}
    for combo, verdict in failing:
        columns.setdefault((_package(combo), _axis(combo)), []).append((combo.version, verdict))
    for (package, axis), cells in columns.items():
        made: KnownFailure | None = None
        for version, verdict in sorted(cells, key=lambda cell: version_order(cell[0])):
            same = made and (made.outcome, made.reason) == (verdict.outcome, verdict.reason)
            if made and not same:
                yield made
                made = None
            if verdict.outcome.is_bad:
                first = made.first if made else version
                made = KnownFailure(package, first, version, axis, verdict.outcome, verdict.reason)
        if made:
            yield made


def baseline_text(known: Iterable[KnownFailure]) -> str:
    """Return a baseline's text: the same for the same failures."""
    return HEADER + "".join(f"{one.line}\n" for one in known)


def _package(combo: Combo) -> str:
    return " + ".join([combo.package, *(f"{package} {version}" for package, version in combo.others)])


def _axis(combo: Combo) -> str:
    return f"{combo.label} {combo.resolution}" if combo.resolution else combo.label


def _order(one: KnownFailure) -> tuple[object, ...]:
    digits = [(int(part) if part.isdigit() else -1, part) for part in re.split(r"(\d+)", one.axis)]
    return one.package, digits, version_order(one.first)
