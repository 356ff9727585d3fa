"""A run as columns of plain data: what the HTML report carries. Pure.

Texts stand in a table once, and columns hold their places in it: 20 000 combinations are then a few lists that a browser
reads in some milliseconds. What only an opened combination shows is in chunks of their own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pytest_spip.model import ChangeKind, Combo, Comparison, Interpreter, Result, Summary, Verdict, counted
from pytest_spip.report import terminal
from pytest_spip.report.analysis import unusual_counts
from pytest_spip.report.grid import HIGHEST
from pytest_spip.report.ranges import where_text

__all__ = ["CHUNK", "Table", "detail_chunks", "index_columns", "readable"]

CHUNK = 256
"""Combinations whose details are unpacked together."""
BRIEF = 400
"""Characters of a detail that the index has; the details have all."""
NOT_RUN = {"outcome": "none", "word": ".", "reason": "", "meaning": "not run"}
NONE = -1
"""Stands in a column for a text or a place that is not there."""

_COLOURS = re.compile(r"\x1b\[[0-9;:?]*[ -/]*[@-~]")
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


def readable(text: str) -> str:
    """Return a text without colours, and with a code in the place of each character that hides, or turns what is beside it."""
    plain = _COLOURS.sub("", text).replace("\r\n", "\n")
    return _HIDDEN.sub(_code, plain)


def _code(found: re.Match[str]) -> str:
    return f"\N{MATHEMATICAL LEFT ANGLE BRACKET}U+{ord(found[0]):04X}\N{MATHEMATICAL RIGHT ANGLE BRACKET}"


class Table:
    """Texts that occur, each once, and all readable."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def place(self, text: str) -> int:
        """Return where a text stands; ``NONE`` for none."""
        return self._places.setdefault(text, len(self._places)) if text else NONE

    @property
    def texts(self) -> list[str]:
        """All texts in their order."""
        return [readable(text) for text in self._places]


def index_columns(summary: Summary) -> dict[str, Any]:
    """Return what grid, filters and groups need. Cells are in the order of :func:`ordered`."""
    table, combos = Table(), ordered(summary)
    rows, row_of = _rows(combos, table)
    labels = _labels(summary, combos)
    kinds: dict[tuple[str, str], dict[str, str]] = {}
    groups = {one.ordinal: place for place, group in enumerate(summary.groups) for one in group.results}
    unusual = unusual_counts(summary)
    cells: dict[str, list[int]] = {name: [] for name in ("row", "python", "kind", "text", "detail", "group", "ms")}
    for combo in combos:
        result = summary.results.get(combo.ordinal)
        kind = _kind(result)
        kinds.setdefault((kind["word"], kind["reason"]), kind)
        cells["row"].append(row_of[combo.ordinal])
        cells["python"].append(labels.index(combo.label))
        cells["kind"].append(list(kinds).index((kind["word"], kind["reason"])))
        cells["text"].append(table.place(_count(result, starred=combo.ordinal in unusual)))
        cells["detail"].append(table.place(result.verdict.detail[:BRIEF] if result else ""))
        cells["group"].append(groups.get(combo.ordinal, NONE))
        cells["ms"].append(round(result.seconds * 1000) if result else 0)
    known = {one.label: one for one in summary.interpreters}
    return {
        "chunk": CHUNK,
        "pythons": [_python(label, known.get(label)) for label in labels],
        "resolutions": list(dict.fromkeys(combo.resolution or HIGHEST for combo in summary.combos)),
        "kinds": list(kinds.values()),
        "rows": rows,
        "cells": cells,
        "groups": [
            {
                "signature": readable(group.signature),
                "example": readable(group.example),
                "count": group.count,
                "where": readable(where_text(group, 3)),
                "edges": readable(terminal.boundary_text(group.boundaries)),
                "likely": readable(group.likely),
                "environment": group.is_environment,
            }
            for group in summary.groups
        ],
        **({"comparison": _comparison(summary.comparison, combos, table)} if summary.comparison else {}),
        "strings": table.texts,
    }


def _comparison(comparison: Comparison, combos: Sequence[Combo], table: Table) -> dict[str, Any]:
    """Return for each cell its kind of change, what it was before, and the tests that newly fail; and what only the base has."""
    changes = {change.id: change for change in comparison.changes}
    own = [changes.get(combo.id) for combo in combos]
    kinds = list(ChangeKind)
    return {
        "base": readable(comparison.base),
        "kinds": [kind.value for kind in kinds],
        "kind": [kinds.index(change.kind if change else ChangeKind.SAME) for change in own],
        "was": [table.place(_was(change.before)) if change and change.before else NONE for change in own],
        "failing": {
            place: [table.place(test) for test in change.newly_failing]
            for place, change in enumerate(own)
            if change and change.newly_failing
        },
        "removed": [table.place(change.id) for change in comparison.of(ChangeKind.REMOVED)],
    }


def _was(verdict: Verdict) -> str:
    return f"{verdict.outcome.value}: {verdict.reason.value}" if verdict.reason else verdict.outcome.value


def ordered(summary: Summary) -> list[Combo]:
    """Return what has a verdict or waits for one: packages in the plan's order, of each the newest version first."""
    wanted = [one for one in summary.combos if one.ordinal in summary.results or one.ordinal in summary.selected]
    packages: dict[str, dict[tuple[str, ...], list[Combo]]] = {one.packages: {} for one in wanted}
    for combo in reversed(wanted):
        packages[combo.packages].setdefault(_versions(combo), []).insert(0, combo)
    return [combo for versions in packages.values() for combos in versions.values() for combo in combos]


def _versions(combo: Combo) -> tuple[str, ...]:
    return tuple(version for _, version in combo.releases)


def _rows(combos: Sequence[Combo], table: Table) -> tuple[dict[str, list[Any]], dict[int, int]]:
    """Return a row for each release, or releases, and resolution; and the row of each combination by ordinal."""
    places: dict[tuple[str, tuple[str, ...], str], int] = {}
    row_of = {
        one.ordinal: places.setdefault((one.packages, _versions(one), one.resolution), len(places)) for one in combos
    }
    rows: dict[str, list[Any]] = {
        "package": [table.place(package) for package, _, _ in places],
        "versions": [[table.place(version) for version in versions] for _, versions, _ in places],
        "resolution": [table.place(resolution) for _, _, resolution in places],
    }
    return rows, row_of


def _labels(summary: Summary, combos: Sequence[Combo]) -> list[str]:
    """Return the labels across: of interpreters, and those that stand for none, as of a project that no index lists."""
    used = {one.label for one in combos}
    known = [one.label for one in summary.interpreters if one.label in used]
    return [*known, *sorted(used - {*known})]


def _python(label: str, one: Interpreter | None) -> dict[str, str]:
    if one is None:
        return {"label": label, "name": label, "path": ""}
    return {"label": label, "name": f"{one.implementation} {one.version}", "path": readable(one.path)}


def _kind(result: Result | None) -> dict[str, str]:
    if result is None:
        return NOT_RUN
    word, _ = terminal.cell(result)
    outcome = "only" if result.verdict.is_import_only else result.verdict.outcome.value
    reason = result.verdict.reason.value if result.verdict.reason else ""
    return {"outcome": outcome, "word": word, "reason": reason, "meaning": terminal.meaning(word)}


def _count(result: Result | None, *, starred: bool) -> str:
    """Return how many tests passed, or of a suite that failed, how many failed; a star where there are fewer or more than usual."""
    if result is None or not result.tests:
        return ""
    bad = sum(test.is_bad for test in result.tests)
    return f"{bad or sum(test.outcome == 'passed' for test in result.tests)}{'*' if starred else ''}"


def detail_chunks(
    summary: Summary, lock: Callable[[Combo], str], spent: Mapping[int, Mapping[str, float]]
) -> Iterator[dict[str, Any]]:
    """Yield the details of ``CHUNK`` combinations each.

    ``lock`` returns the text of a combination's lock file, or nothing; ``spent`` are the seconds of each phase by ordinal.
    """
    combos = ordered(summary)
    for start in range(0, len(combos), CHUNK):
        table = Table()
        details = [
            _detail(summary.results.get(combo.ordinal), lock(combo), spent.get(combo.ordinal, {}), table)
            for combo in combos[start : start + CHUNK]
        ]
        yield {"details": details, "strings": table.texts}


def _detail(result: Result | None, lock: str, spent: Mapping[str, float], table: Table) -> list[Any]:
    """Return a list, empty without a verdict: objects would repeat their keys."""
    if result is None:
        return []
    tests = [
        [table.place(test.id), table.place(test.outcome), round(test.seconds, 4), table.place(test.detail), test.reruns]
        for test in sorted(result.tests, key=lambda test: not test.is_bad)
    ]
    return [
        table.place(result.verdict.detail),
        table.place(result.verdict.phase.value),
        round(result.seconds, 4),
        round(result.cpu_seconds, 4),
        result.peak_rss,
        result.attempts,
        result.reruns,
        table.place(result.runner),
        table.place(result.worker),
        table.place(result.host),
        table.place(result.fingerprint),
        [[table.place(name), table.place(version)] for name, version in result.locked.items()],
        table.place(lock),
        table.place(result.reproduce),
        table.place(result.output.rstrip()),
        [table.place(text) for text in result.warnings],
        [[table.place(phase), round(seconds, 4)] for phase, seconds in (spent or result.phases).items()],
        tests,
        table.place(counted(result.tests)),
        int(result.reused),
    ]
