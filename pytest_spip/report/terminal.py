"""The terminal report, as lines of styled spans: the edge writes them with whatever colours the terminal has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_spip.common.plural import plural
from pytest_spip.model import (
    IMPORT_ONLY,
    Boundary,
    Group,
    Outcome,
    Reason,
    Result,
    Summary,
    counted,
)
from pytest_spip.report.analysis import unusual_counts
from pytest_spip.report.grid import HIGHEST, Row, Stretch, grid
from pytest_spip.report.ranges import where_text

__all__ = [
    "Line",
    "boundary_text",
    "cell",
    "closing_lines",
    "disagreement_lines",
    "grid_lines",
    "group_lines",
    "legend",
    "meaning",
    "summary_line",
    "warning_lines",
]

Line = list[tuple[str, str]]
"""Spans of (text, style); a style is a colour's name, ``bold``, ``dim``, or nothing."""

COMPACT_FROM = 24
"""Versions from which equal neighbours are joined: more do not fit a screen."""
LARGEST = 60
"""Rows printed at most; the JSON report has all."""

_CELLS: dict[Outcome, tuple[str, str]] = {
    Outcome.PASSED: ("ok", "green"),
    Outcome.FAILED: ("FAIL", "red"),
    Outcome.SKIPPED: ("skip", "dim"),
    Outcome.KILLED: ("KILL", "red"),
    Outcome.CRASHED: ("CRASH", "red"),
    Outcome.ERROR: ("err", "yellow"),
}
_REASON_CELLS: dict[Reason, tuple[str, str]] = {
    Reason.BUILD_FAILED: ("build", "red"),
    Reason.DEPENDENCY_BUILD_FAILED: ("dep", "red"),
    Reason.BAD_METADATA: ("meta", "red"),
    Reason.IMPORT_ERROR: ("imp", "red"),
    Reason.TIMEOUT: ("time", "red"),
    Reason.OUT_OF_MEMORY: ("mem", "red"),
    Reason.REQUIRES_PYTHON: ("-", "dim"),
    Reason.NO_SOLUTION: ("nosol", "yellow"),
    Reason.NO_WHEEL: ("nowhl", "dim"),
    Reason.INFERRED: ("~", "dim"),
    Reason.URL_REQUIREMENT: ("url", "yellow"),
}
_IMPORT_ONLY = ("io", "yellow")
_MEANINGS = {
    "ok": "passed",
    "io": "import only, no tests",
    "imp": "import failed",
    "build": "build failed",
    "dep": "a dependency's build failed",
    "meta": "bad metadata",
    "time": "timeout",
    "mem": "out of memory",
    "FAIL": "failed",
    "KILL": "killed",
    "CRASH": "crashed",
    "err": "error, no verdict",
    "-": "not for this Python",
    "skip": "skipped",
    "nosol": "no solution",
    "nowhl": "no wheel, none built",
    "url": "requires a URL",
    "~": "not run, as its neighbours",
    ".": "not run",
}


def cell(result: Result | None) -> tuple[str, str]:
    """Return a cell's text and style."""
    if result is None:
        return (".", "dim")
    if result.verdict.is_import_only:
        return _IMPORT_ONLY
    return (
        _REASON_CELLS.get(result.verdict.reason) or _CELLS[result.verdict.outcome]
        if result.verdict.reason
        else _CELLS[result.verdict.outcome]
    )


def meaning(word: str) -> str:
    """Return what a cell's text stands for."""
    return _MEANINGS[word]


def grid_lines(summary: Summary) -> Iterator[Line]:
    """Yield the grid: versions down, Pythons across."""
    versions = {(combo.package, combo.version) for combo in summary.combos}
    compact = any(combo.others for combo in summary.combos) or len(versions) > COMPACT_FROM
    with_counts = summary.shares_suite or not compact
    unusual = unusual_counts(summary)
    labels, rows = grid(summary, compact=compact, counted=with_counts)
    shown = rows[:LARGEST]
    names = _names(shown)
    wide = max(map(len, (*names, *(row.package for row in shown))), default=0)
    cells = [[_counted_cell(result, unusual) if with_counts else cell(result) for result in row.cells] for row in shown]
    columns = _widths(labels, cells)
    package = ""
    for row, name, texts in zip(shown, names, cells, strict=True):
        if row.package != package:
            package = row.package
            yield [
                (f"{package:<{wide}}", "bold"),
                *((f"  {label:>{width}}", "bold") for label, width in zip(labels, columns, strict=True)),
            ]
        yield [(f"{name:<{wide}}", ""), *(_cells(texts, columns) if row.first else ())]
    if len(rows) > LARGEST:
        yield [(f"… {len(rows) - LARGEST} more rows; --spip-report=json:PATH has all of them", "dim")]
    yield legend(shown)
    for note in _notes(summary):
        yield [(note, "dim")]
    yield from _count_lines(summary, unusual)


def _widths(labels: Sequence[str], cells: Sequence[Sequence[tuple[str, str]]]) -> list[int]:
    columns = zip(*(((text for text, _ in row)) for row in cells), strict=True) if cells else ((),) * len(labels)
    return [max(len(label), 5, *map(len, column)) for label, column in zip(labels, columns, strict=True)]


def _counted_cell(result: Result | None, unusual: Mapping[int, int]) -> tuple[str, str]:
    """Return a cell's text with the number of tests that passed, or of those that failed; a star for another number than most."""
    text, style = cell(result)
    if result is None or not result.tests or text not in ("ok", "FAIL"):
        return text, style
    number = sum(test.is_bad if text == "FAIL" else test.outcome == "passed" for test in result.tests)
    return f"{text} {number}{'*' if result.ordinal in unusual else ''}", style


def _count_lines(summary: Summary, unusual: Mapping[int, int]) -> Iterator[Line]:
    """Yield how many tests ran, and which suites ran another number than most."""
    passed = (result for result in summary.results.values() if result.verdict.outcome is Outcome.PASSED)
    variants = Counter(counted(result.tests) for result in passed if result.tests)
    if summary.shares_suite and variants:
        texts = [f"{text} ({count})" if len(variants) > 1 else text for text, count in variants.most_common(3)]
        more = f" and {len(variants) - 3} more" if len(variants) > 3 else ""
        yield [(f"tests where all passed: {'; '.join(texts)}{more}", "dim")]
    if unusual:
        ids = {combo.ordinal: combo.id for combo in summary.combos}
        texts = [
            f"{ids[ordinal]} {len(summary.results[ordinal].tests)} (most {usual})"
            for ordinal, usual in list(unusual.items())[:3]
        ]
        more = f" and {len(unusual) - 3} more" if len(unusual) > 3 else ""
        yield [(f"* not as many tests as most: {', '.join(texts)}{more}", "yellow")]


def _names(rows: Sequence[Row]) -> list[str]:
    """Return what stands before each row; versions of a cross, and resolutions, are in columns."""
    columns: list[dict[int, str]] = []
    for place, row in enumerate(rows):
        versions = [_versions(each) for each in (Stretch(row.first, row.last, row.count), *row.others)]
        parts = [versions[0], *(f"+ {version}" for version in versions[1:])]
        for column, part in enumerate([*parts, f" {', '.join(row.resolutions)}"] if row.resolutions else parts):
            columns += [{}] if column == len(columns) else []
            columns[column][place] = part
    widths = [max(map(len, column.values())) for column in columns]
    return [
        " ".join(f"{column.get(place, ''):<{width}}" for column, width in zip(columns, widths, strict=True)).rstrip()
        for place in range(len(rows))
    ]


def _versions(stretch: Stretch) -> str:
    if not stretch.first:
        return "not listed"
    return stretch.first if stretch.count == 1 else f"{stretch.first} … {stretch.last} ({stretch.count})"


def _notes(summary: Summary) -> Iterator[str]:
    """Explain what further axes make of the grid."""
    ways = dict.fromkeys(combo.resolution for combo in summary.combos)
    names = ", ".join(way or HIGHEST for way in ways)
    if len(ways) > 1:
        yield f"resolutions: {names}; rows that name none stand for all"
    elif any(ways):
        yield f"resolution: {names}"
    releases = {combo.releases for combo in summary.combos if combo.others}
    if len(summary.results) < len(releases) * len(summary.interpreters) * len(ways):
        yield "not all was tried; the cell of several versions stands for those that were"


def _cells(texts: Sequence[tuple[str, str]], columns: Sequence[int]) -> Iterator[tuple[str, str]]:
    for (text, style), width in zip(texts, columns, strict=True):
        yield (f"  {text:>{width}}", style)


def legend(rows: Sequence[Row]) -> Line:
    """Explain the words that the rows use, and no others."""
    used = {cell(result): None for row in rows for result in row.cells if row.first}
    spans: Line = []
    for text, style in sorted(used, key=lambda word: list(_MEANINGS).index(word[0])):
        spans += [("   " if spans else "", ""), (text, style), (f" {_MEANINGS[text]}", "dim")]
    return spans


def group_lines(groups: Sequence[Group], *, most: int = 12) -> Iterator[Line]:
    """Yield the failures by signature, the most frequent first; errors, which say nothing about the package, apart.

    Of each: which releases on which Pythons, where it begins and ends, what is likely behind it, and how to see it again.
    """
    for place, group in enumerate(groups[:most]):
        if group.is_environment and (not place or not groups[place - 1].is_environment):
            yield [("no verdict, for reasons that are not the package's:", "yellow")]
        yield [(f"{group.count:>5} x ", "bold"), (group.signature, "red")]
        yield from ([("        ", ""), (text, style)] for text, style in _group_texts(group))
    if len(groups) > most:
        yield [(f"      … and {len(groups) - most} more signatures", "dim")]


def _group_texts(group: Group) -> Iterator[tuple[str, str]]:
    yield where_text(group), ""
    if text := boundary_text(group.boundaries):
        yield text, "dim"
    if group.likely:
        yield f"likely: {group.likely}", "yellow"
    if group.example:
        yield f"{group.ids[0]}: {group.example}", "dim"
    if group.results[0].reproduce:
        yield group.results[0].reproduce, ""


def boundary_text(boundaries: Sequence[Boundary]) -> str:
    """Return where failures begin and end: ``first bad 0.7.7, 0.7.6 passes; last bad 0.8.7, 0.8.8 passes``."""
    return "; ".join(
        f"{'first' if one.begins else 'last'} bad {one.bad}, {one.good} passes{f' (on {one.pythons})' if one.pythons else ''}"
        for one in boundaries
    )


def _first_of(ids: Sequence[str]) -> str:
    more = f" … and {len(ids) - 3} more" if len(ids) > 3 else ""
    return ", ".join(ids[:3]) + more


def disagreement_lines(summary: Summary, *, most: int = 5) -> Iterator[Line]:
    """Yield where the warm and the cold runner did not agree."""
    ids = {combo.ordinal: combo.id for combo in summary.combos}
    events = summary.disagreements
    for event in events[:most]:
        text = f"{ids[event.ordinal]} warm: {event.warm}; cold, which counts: {event.cold}"
        yield [("spip: disagreement: ", "yellow"), (text, "")]
    if len(events) > most:
        yield [(f"      … and {len(events) - most} more disagreements", "dim")]


def warning_lines(summary: Summary, *, most: int = 10) -> Iterator[Line]:
    """Yield each warning once, the most frequent first, with the combinations that it is about."""
    ids: dict[str, list[str]] = {}
    for combo in summary.combos:
        for text in summary.results[combo.ordinal].warnings if combo.ordinal in summary.results else ():
            ids.setdefault(text, []).append(combo.id)
    for text in sorted(ids, key=lambda text: -len(ids[text]))[:most]:
        yield [("spip: warning: ", "yellow"), (text, ""), (f"  ({_first_of(ids[text])})", "dim")]
    if len(ids) > most:
        yield [(f"      … and {len(ids) - most} more warnings; --spip-report=json:PATH has all of them", "dim")]


def summary_line(summary: Summary) -> str:
    """Return the line that everybody reads."""
    named = {outcome.value: summary.counts.get(outcome, 0) for outcome in Outcome}
    named[Outcome.PASSED.value] -= summary.import_only
    named = {"passed": named.pop("passed"), IMPORT_ONLY: summary.import_only, **named}
    flaky = sum(result.is_flaky for result in summary.results.values())
    again = {"passed": f" ({flaky} flaky)"} if flaky else {}
    texts = {what: plural(count, what) if what == "error" else f"{count} {what}" for what, count in named.items()}
    counts = ", ".join(f"{texts[what]}{again.get(what, '')}" for what, count in named.items() if count)
    missing = f", {summary.missing} not run" if summary.missing else ""
    missing += f", {summary.reused} reused" if summary.reused else ""
    speed = f"{summary.seconds:.1f} s, {summary.per_second:.1f} combinations/s, CPU {summary.cpu:.0%}, iowait {summary.iowait:.1%}"
    return f"{plural(len(summary.results), 'combination')}: {counts or 'none'}{missing} in {speed}"


def closing_lines(summary: Summary) -> Iterator[str]:
    """Yield what limited the run, and which telemetry is damaged, below the line that everybody reads.

    A worker that died took its last spans along: that is in the JSON report, and nothing that a person can change.
    """
    yield from summary.limits
    if summary.facts.agents:
        yield f"shared by {', '.join(map(_agent_text, summary.facts.agents))}"
    files = summary.facts.damaged_telemetry
    damaged = {worker: lost for worker, lost in summary.untold.items() if f"{worker}.sqlite" in files}
    if damaged:
        ran = sum(bool(result.runner) for result in summary.results.values())
        names = ", ".join(f"{worker} damaged" for worker in damaged)
        yield f"telemetry: {sum(damaged.values())} of {ran} combinations have no spans ({names})"
    yield from _undone(summary)
    if summary.results and not summary.tried:
        yield from _nothing_tried(summary)


def _agent_text(agent: Mapping[str, Any]) -> str:
    return f"{agent['id']} ({agent['judged']} verdicts{', lost' if agent['is_lost'] else ''})"


def _undone(summary: Summary) -> Iterator[str]:
    """Yield the combinations without a verdict, those of one release together."""
    if not summary.undone:
        return
    yield f"not run: {len(summary.undone)} of {len(summary.selected)} combinations have no verdict; --spip-resume finishes them:"
    releases: dict[str, list[str]] = {}
    for combo in summary.undone:
        name = " + ".join(f"{package} {version}" for package, version in combo.releases)
        releases.setdefault(name, []).append(f"{combo.label}{f'-{combo.resolution}' if combo.resolution else ''}")
    for name, labels in list(releases.items())[:LARGEST]:
        yield f"    {name}: {' '.join(labels)}"
    if len(releases) > LARGEST:
        yield f"    … and of {len(releases) - LARGEST} more releases; --spip-report=json:PATH has all of them"


def _nothing_tried(summary: Summary) -> Iterator[str]:
    """Yield why no combination could be tried, with one example's own words."""
    reasons = Counter(result.verdict.reason for result in summary.results.values())
    counts = ", ".join(f"{count} {reason.value if reason else 'skipped'}" for reason, count in reasons.most_common())
    ids = {combo.ordinal: combo.id for combo in summary.combos}
    example = next((result for result in summary.results.values() if result.verdict.detail), None)
    words = f"; {ids[example.ordinal]}: {example.verdict.detail}" if example else ""
    yield f"nothing was tried: {counts or 'no verdict'}{words}"
