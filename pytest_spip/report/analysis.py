"""What a run says: counts, the grid, failures grouped by signature. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pytest_spip.model import Combo, Disagreement, Interpreter, Outcome, Result

__all__ = ["Group", "Row", "Summary", "grid", "groups", "signature", "summarise"]


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """Failures of one kind: ``signature``, how many, and the ids of some."""

    signature: str
    results: tuple[Result, ...]
    ids: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many combinations share the signature."""
        return len(self.results)


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One line of the grid: neighbouring versions with equal verdicts. A cell is None where no verdict was given."""

    package: str
    first: str
    last: str
    count: int
    cells: tuple[Result | None, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Summary:
    """A finished session. ``facts`` are those of the run; times in seconds, shares between 0 and 1.

    ``workers`` tells where each worker's time went, ``controller`` its CPU seconds for each verdict of the last session,
    ``limits`` what limited the run; ``untold`` how many combinations each worker ran of which its telemetry has nothing.
    """

    facts: Mapping[str, Any]
    combos: tuple[Combo, ...]
    interpreters: tuple[Interpreter, ...]
    results: Mapping[int, Result]
    selected: frozenset[int]
    counts: Mapping[Outcome, int]
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

    @property
    def per_second(self) -> float:
        """Verdicts a second over the time in which combinations ran."""
        return len(self.results) / self.seconds if self.seconds else 0.0

    @property
    def missing(self) -> int:
        """How many selected combinations have no verdict."""
        return len(self.selected - self.results.keys())


def summarise(
    *,
    facts: Mapping[str, Any],
    combos: Sequence[Combo],
    interpreters: Sequence[Interpreter],
    results: Mapping[int, Result],
    selected: Iterable[int],
    phases: Mapping[str, float],
    work: Mapping[str, int],
    seconds: float,
    cpu: float,
    iowait: float,
    disagreements: Sequence[Disagreement] = (),
    workers: Mapping[str, Mapping[str, float]] | None = None,
    controller: float = 0.0,
    limits: Sequence[str] = (),
    untold: Mapping[str, int] | None = None,
) -> Summary:
    """Gather what a session knows into a summary."""
    return Summary(
        facts=facts,
        combos=tuple(combos),
        interpreters=tuple(interpreters),
        results=results,
        selected=frozenset(selected),
        counts=Counter(result.verdict.outcome for result in results.values()),
        groups=groups(combos, results),
        phases=phases,
        work=work,
        seconds=seconds,
        cpu=cpu,
        iowait=iowait,
        disagreements=tuple(disagreements),
        workers=workers or {},
        controller=controller,
        limits=tuple(limits),
        untold=untold or {},
    )


_NORMAL: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"0x[0-9a-fA-F]+"), "0x…"),
    (re.compile(r"(?:/[^\s/'\":,)]+){2,}/?"), lambda found: "…/" + found[0].rstrip("/").rpartition("/")[2]),
    (re.compile(r"\bline \d+"), "line …"),
    (re.compile(r"\b[0-9a-f]{12,}\b"), "…"),
    (re.compile(r"\b\d+(?:\.\d+)+(?:[a-z]+\d+)?(?:\.\w+)?\b"), "…"),
    (re.compile(r"\s+"), " "),
)


def signature(result: Result) -> str:
    """Return a failure's normalised signature: equal causes give equal texts, whatever the path, address or version."""
    text = result.verdict.detail.splitlines()[0] if result.verdict.detail else ""
    for pattern, replacement in _NORMAL:
        text = pattern.sub(replacement, text)
    text = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    reason = result.verdict.reason.value if result.verdict.reason else result.verdict.outcome.value
    return f"{reason}: {text.strip()[:160]}" if text.strip() else reason


def groups(combos: Sequence[Combo], results: Mapping[int, Result]) -> tuple[Group, ...]:
    """Group what went wrong by signature, the largest group first."""
    ids = {combo.ordinal: combo.id for combo in combos}
    gathered: dict[str, list[Result]] = {}
    for ordinal in sorted(results):
        if results[ordinal].verdict.outcome.is_bad:
            gathered.setdefault(signature(results[ordinal]), []).append(results[ordinal])
    made = (
        Group(name, tuple(members), tuple(ids[one.ordinal] for one in members)) for name, members in gathered.items()
    )
    return tuple(sorted(made, key=lambda group: (-group.count, group.signature)))


def grid(summary: Summary, *, compact: bool) -> tuple[tuple[str, ...], tuple[Row, ...]]:
    """Return the labels across and the rows down; compact joins neighbours with equal verdicts.

    Packages are in the plan's order, of each the newest version first.
    """
    labels = tuple(one.label for one in summary.interpreters)
    rows: list[Row] = []
    for (package, version), cells in _lines(summary, labels).items():
        above = rows[-1] if rows else None
        if compact and above and above.package == package and _same(above.cells, cells):
            rows[-1] = dataclasses.replace(above, last=version, count=above.count + 1)
        else:
            rows.append(Row(package, version, version, 1, tuple(cells)))
    return labels, tuple(rows)


def _lines(summary: Summary, labels: Sequence[str]) -> dict[tuple[str, str], list[Result | None]]:
    lines: dict[tuple[str, str], list[Result | None]] = {}
    column = {label: place for place, label in enumerate(labels)}
    for combo in reversed(summary.combos):
        if result := summary.results.get(combo.ordinal):
            cells = lines.setdefault((combo.package, combo.version), [None] * len(labels))
            if combo.label in column:  # a project that no index lists has no interpreters
                cells[column[combo.label]] = result
    places = {package: place for place, package in enumerate(dict.fromkeys(combo.package for combo in summary.combos))}
    return dict(sorted(lines.items(), key=lambda line: places[line[0][0]]))


def _same(one: Sequence[Result | None], other: Sequence[Result | None]) -> bool:
    return [_key(cell) for cell in one] == [_key(cell) for cell in other]


def _key(cell: Result | None) -> object:
    return (cell.verdict.outcome, cell.verdict.reason) if cell else None
