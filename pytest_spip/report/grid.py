"""The grid of a run: releases down, Pythons across, and what further axes make of it. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from pytest_spip.model import Result, Summary
from pytest_spip.model import counted as counted_tests

__all__ = ["HIGHEST", "Row", "Stretch", "grid"]

HIGHEST = "highest"
"""What the default resolution is called where there are several."""
Cells = tuple[Result | None, ...]
"""A verdict for each label across, or None where there is none."""
Key = Callable[[Result | None], object]
"""Returns what cells have in common that are shown as one."""


@dataclasses.dataclass(frozen=True, slots=True)
class Stretch:
    """Neighbouring versions, the newest first."""

    first: str
    last: str
    count: int


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One line of the grid: neighbouring versions with equal verdicts. A cell is None where no verdict was given.

    In a cross ``package`` has all names, and ``others`` the versions of the others. ``resolutions`` are those that the line is
    for, empty where all come to the same.
    """

    package: str
    first: str
    last: str
    count: int
    cells: Cells
    others: tuple[Stretch, ...] = ()
    resolutions: tuple[str, ...] = ()


class _Line(NamedTuple):
    """Versions of each package, and the cells by resolution."""

    stretches: tuple[Stretch, ...]
    cells: Mapping[str, Cells]


def grid(summary: Summary, *, compact: bool, counted: bool = False) -> tuple[tuple[str, ...], tuple[Row, ...]]:
    """Return the labels across and the rows down; compact joins neighbours with equal verdicts, ``counted`` of equal counts too.

    Packages are in the plan's order, of each the newest version first. Versions of a cross are ordered by the first package,
    then by the second, and so on. A version whose resolutions come to different verdicts has a row for each that differs.
    """
    labels = tuple(one.label for one in summary.interpreters)
    resolutions = tuple(dict.fromkeys(combo.resolution for combo in summary.combos))
    rows: list[Row] = []
    for package, lines in _lines(summary, labels, resolutions).items():
        key = _count_key if counted else _key
        for line in _joined(lines, 0, key) if compact else lines:
            rows += _rows(package, line, resolutions, key)
    return labels, tuple(rows)


def _lines(summary: Summary, labels: Sequence[str], resolutions: Sequence[str]) -> dict[str, list[_Line]]:
    """Return the lines of each package, or packages that were crossed, one for each version, or versions."""
    column = {label: place for place, label in enumerate(labels)}
    found: dict[str, dict[tuple[str, ...], dict[str, list[Result | None]]]] = {
        one.packages: {} for one in summary.combos
    }
    for combo in reversed(summary.combos):
        if result := summary.results.get(combo.ordinal):
            versions = tuple(version for _, version in combo.releases)
            line = found[combo.packages].setdefault(versions, {way: [None] * len(labels) for way in resolutions})
            if combo.label in column:  # a project that no index lists has no interpreters
                line[combo.resolution][column[combo.label]] = result
    return {package: [_line(*line) for line in lines.items()] for package, lines in found.items()}


def _line(versions: tuple[str, ...], cells: Mapping[str, Sequence[Result | None]]) -> _Line:
    stretches = tuple(Stretch(version, version, 1) for version in versions)
    return _Line(stretches, {way: tuple(row) for way, row in cells.items()})


def _joined(lines: Sequence[_Line], package: int, key: Key) -> list[_Line]:
    """Join neighbours that differ in the versions of one package alone: of the last package first, then of those before it."""
    if not lines or package == len(lines[0].stretches):
        return list(lines)
    blocks: list[list[_Line]] = []
    for _, group in groupby(lines, key=lambda line: line.stretches[package]):
        block = _joined(list(group), package + 1, key)
        if blocks and _alike(blocks[-1], block, package, key):
            blocks[-1] = [_join(above, below, package) for above, below in zip(blocks[-1], block, strict=True)]
        else:
            blocks.append(block)
    return [line for block in blocks for line in block]


def _alike(above: Sequence[_Line], below: Sequence[_Line], package: int, key: Key) -> bool:
    rest = slice(package + 1, None)
    return len(above) == len(below) and all(
        one.stretches[rest] == other.stretches[rest] and _same(one, other, key)
        for one, other in zip(above, below, strict=True)
    )


def _same(one: _Line, other: _Line, key: Key) -> bool:
    """Return True if verdicts are equal. Where a cross was sampled, a cell that was left out agrees with any other."""
    crossed = len(one.stretches) > 1
    return all(
        key(cell) == key(beside) or (crossed and (cell is None or beside is None))
        for way, cells in one.cells.items()
        for cell, beside in zip(cells, other.cells[way], strict=True)
    )


def _join(above: _Line, below: _Line, package: int) -> _Line:
    one, other = above.stretches[package], below.stretches[package]
    stretches = list(above.stretches)
    stretches[package] = Stretch(one.first, other.last, one.count + other.count)
    cells = {
        way: tuple(cell or beside for cell, beside in zip(row, below.cells[way], strict=True))
        for way, row in above.cells.items()
    }
    return _Line(tuple(stretches), cells)


def _rows(package: str, line: _Line, resolutions: Sequence[str], key: Key) -> Iterable[Row]:
    """Yield a row for each way to resolve that comes to verdicts of its own."""
    alike: dict[object, list[str]] = {}
    for way in resolutions:
        alike.setdefault(tuple(map(key, line.cells[way])), []).append(way)
    own, *others = line.stretches
    for ways in alike.values():
        named = () if len(alike) == 1 else tuple(way or HIGHEST for way in ways)
        yield Row(package, own.first, own.last, own.count, line.cells[ways[0]], tuple(others), named)


def _key(cell: Result | None) -> object:
    return (cell.verdict.outcome, cell.verdict.reason, cell.verdict.is_import_only) if cell else None


def _count_key(cell: Result | None) -> object:
    return _key(cell), counted_tests(cell.tests) if cell else ""
