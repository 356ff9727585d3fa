"""Pictures for a README: a badge, and the grid. Pure; nothing in them is loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from pytest_spip.model import Outcome, Result, Summary
from pytest_spip.report.grid import grid
from pytest_spip.report.terminal import cell

__all__ = ["badge", "grid_svg"]

GREEN, RED, YELLOW, GREY = "#2f7d32", "#b3261e", "#8a6100", "#5f6368"
COLOURS = {
    Outcome.PASSED: GREEN,
    Outcome.FAILED: RED,
    Outcome.KILLED: RED,
    Outcome.CRASHED: RED,
    Outcome.ERROR: YELLOW,
    Outcome.SKIPPED: GREY,
}
LETTER = 7
"""Pixels that a letter takes at 12 pixels; texts are stretched to what is reckoned."""
FONT = 'font-family="Verdana, DejaVu Sans, sans-serif" font-size="11"'
CELL, LINE, LARGEST = 52, 20, 60


def badge(summary: Summary) -> str:
    """Return a badge: how many of the combinations that were tried passed."""
    tried = [one for one in summary.results.values() if one.verdict.outcome is not Outcome.SKIPPED]
    passed = sum(one.verdict.outcome is Outcome.PASSED for one in tried)
    name = ", ".join(dict.fromkeys(combo.package for combo in summary.combos))[:40] or "pytest-spip"
    text = f"{passed} of {len(tried)} pass" if tried else "nothing tried"
    colour = GREY if not tried else GREEN if passed == len(tried) else RED if passed == 0 else YELLOW
    left, right = (LETTER * len(word) + 12 for word in (name, text))
    size = f'width="{left + right}" height="20"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{_text(f"{name}: {text}")}">',
            f"<title>{_text(f'{name}: {text}')}</title>",
            f'<rect width="{left}" height="20" fill="#444"/>',
            f'<rect x="{left}" width="{right}" height="20" fill="{colour}"/>',
            f'<g fill="#fff" text-anchor="middle" {FONT}>',
            _centred(name, left / 2, 14, left - 12),
            _centred(text, left + right / 2, 14, right - 12),
            "</g></svg>",
            "",
        ]
    )


def grid_svg(summary: Summary) -> str:
    """Return the grid: releases down, Pythons across; neighbours with equal verdicts share a line."""
    return "\n".join(_grid_lines(summary)) + "\n"


def _grid_lines(summary: Summary) -> Iterator[str]:
    labels, rows = grid(summary, compact=True)
    shown = rows[:LARGEST]
    names = [row.first if row.count == 1 else f"{row.first} … {row.last} ({row.count})" for row in shown]
    packages = list(dict.fromkeys(row.package for row in shown))
    wide = max((LETTER * len(name) + 16 for name in (*names, *packages)), default=16)
    left_out = len(rows) > len(shown)
    height = LINE * (len(shown) + len(packages) + left_out) + 8
    width = wide + CELL * len(labels)
    title = f"{', '.join(packages)}: releases and Pythons"
    yield f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" role="img" aria-label="{_text(title)}">'
    yield f"<title>{_text(title)}</title>"
    yield f'<rect width="{width}" height="{height}" fill="#fff"/><g {FONT}>'
    y, package = 0, ""
    for row, name in zip(shown, names, strict=True):
        if row.package != package:
            package, y = row.package, y + LINE
            yield f'<text x="8" y="{y}" font-weight="bold" fill="#202124">{_text(package)}</text>'
            for column, label in enumerate(labels):
                yield _centred(label, wide + CELL * (column + 0.5), y, CELL - 8, "#202124")
        y += LINE
        yield f'<text x="8" y="{y}" fill="#202124">{_text(name)}</text>'
        for column, result in enumerate(row.cells):
            yield from _cell(result, wide + CELL * column, y)
    if left_out:
        yield f'<text x="8" y="{y + LINE}" fill="{GREY}">… {len(rows) - len(shown)} more rows</text>'
    yield "</g></svg>"


def _cell(result: Result | None, x: float, y: float) -> Iterator[str]:
    colour = COLOURS[result.verdict.outcome] if result else GREY
    yield f'<rect x="{x + 2}" y="{y - 14}" width="{CELL - 4}" height="{LINE - 2}" rx="2" fill="{colour}"/>'
    yield _centred(cell(result)[0], x + CELL / 2, y, CELL - 10, "#fff")


def _centred(text: str, x: float, y: float, most: float, colour: str = "") -> str:
    length = min(LETTER * len(text), most)
    fill = f' fill="{colour}" text-anchor="middle"' if colour else ""
    return (
        f'<text x="{x:g}" y="{y:g}" textLength="{length:g}" lengthAdjust="spacingAndGlyphs"{fill}>{_text(text)}</text>'
    )


def _text(text: str) -> str:
    return escape("".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text))
