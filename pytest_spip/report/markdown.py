"""The report as Markdown: for a README, an issue, or the summary of a CI job. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pytest_spip.model import Outcome, Result, Summary
from pytest_spip.report.change_lines import comparison_lines
from pytest_spip.report.grid import Row, Stretch, grid
from pytest_spip.report.ranges import where_text
from pytest_spip.report.support_lines import support_lines
from pytest_spip.report.terminal import cell, legend, summary_line

__all__ = ["markdown"]

SYMBOLS = {
    Outcome.PASSED: "\N{WHITE HEAVY CHECK MARK}",
    Outcome.FAILED: "\N{CROSS MARK}",
    Outcome.KILLED: "\N{CROSS MARK}",
    Outcome.CRASHED: "\N{CROSS MARK}",
    Outcome.ERROR: "\N{WARNING SIGN}\N{VARIATION SELECTOR-16}",
    Outcome.SKIPPED: "\N{EM DASH}",
}
GROUPS = 20
SPECIAL = re.compile(r"([\\`*_\[\]<>|~&@#])")
"""What means anything within a line of GitHub's Markdown: emphasis, code, links, HTML, mentions and references."""
CONTROL = re.compile(r"[^\S ]|[\x00-\x1f\x7f]")
LARGEST = 200
"""Rows of a table at most: GitHub shows a summary of up to 1 MiB."""


def markdown(summary: Summary) -> str:
    """Return a table of releases and Pythons for each package, what changed, and the failures by cause."""
    return "\n".join(_lines(summary)) + "\n"


def _lines(summary: Summary) -> Iterator[str]:
    compact = len({combo.releases for combo in summary.combos}) > 1
    labels, rows = grid(summary, compact=compact)
    for package in dict.fromkeys(row.package for row in rows):
        yield from _table(package, labels, [row for row in rows if row.package == package])
    words = "".join(text for text, _ in legend(rows))
    yield from (_plain(words), "", f"**{_plain(summary_line(summary))}**", "")
    if summary.comparison:
        for line in comparison_lines(summary.comparison):
            yield f"- {_plain(''.join(text for text, _ in line))}"
        yield ""
    if summary.groups:
        yield from ("| count | failure | where | likely | reproduce |", "|---:|---|---|---|---|")
        for group in summary.groups[:GROUPS]:
            reproduce = _code(group.results[0].reproduce) if group.results[0].reproduce else ""
            texts = (str(group.count), *map(_plain, (group.signature, where_text(group), group.likely)), reproduce)
            yield f"| {' | '.join(texts)} |"
        if len(summary.groups) > GROUPS:
            yield f"| | … and {len(summary.groups) - GROUPS} more | | | |"
    if lines := [*support_lines(summary.support)]:
        yield ""
        for line in lines:
            text = "".join(span for span, _ in line)
            yield f"{'  ' if text.startswith(' ') else ''}- {_plain(text.strip())}"


def _table(package: str, labels: Sequence[str], rows: Sequence[Row]) -> Iterator[str]:
    yield f"| {_plain(package)} | {' | '.join(map(_plain, labels))} |"
    yield "|---" * (len(labels) + 1) + "|"
    for row in rows[:LARGEST]:
        yield f"| {_plain(_name(row))} | {' | '.join(map(_cell, row.cells))} |"
    if len(rows) > LARGEST:
        yield f"| … {len(rows) - LARGEST} more rows {'| ' * (len(labels) + 1)}"
    yield ""


def _name(row: Row) -> str:
    stretches = (Stretch(row.first, row.last, row.count), *row.others)
    names = [one.first if one.count == 1 else f"{one.first} … {one.last} ({one.count})" for one in stretches]
    return " + ".join(names) + (f" {', '.join(row.resolutions)}" if row.resolutions else "")


def _cell(result: Result | None) -> str:
    word = cell(result)[0]
    return f"{SYMBOLS[result.verdict.outcome]} {_plain(word)}" if result else _plain(word)


def _plain(text: str) -> str:
    """Return a text in which nothing is markup, in one line."""
    return SPECIAL.sub(r"\\\1", CONTROL.sub(" ", text))


def _code(text: str) -> str:
    """Return a text as code in a table's cell, in one line; a fence longer than any in it."""
    text = CONTROL.sub(" ", text).replace("|", "\\|")
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if text[:1] == "`" or text[-1:] == "`" else ""
    return f"{fence}{pad}{text}{pad}{fence}"
