"""Which releases on which Pythons: many cells as a few ranges. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pytest_spip.common.releases import version_order
from pytest_spip.model import Affected, Combo, Group, Interpreter, Outcome, Result
from pytest_spip.report.grid import HIGHEST

__all__ = ["ELLIPSIS", "Cells", "Line", "affected", "affected_text", "pythons_text", "says_nothing", "where_text"]

FEW = 2
"""Failures that are named by id."""
RANGES = 4
"""Ranges of one group that are named."""
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
Releases = tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """The releases of one package that differ in nothing else, the oldest first; of each, the ordinals by label."""

    package: str
    others: Releases
    resolution: str
    versions: tuple[str, ...]
    rows: tuple[Mapping[str, int], ...]

    @property
    def packages(self) -> str:
        """All names, as node ids have them."""
        return "+".join((self.package, *(name for name, _ in self.others)))


class Cells:
    """A plan's combinations as lines, with what became of each. ``labels`` are the Pythons, in their order."""

    def __init__(
        self, combos: Iterable[Combo], interpreters: Iterable[Interpreter], results: Mapping[int, Result]
    ) -> None:
        self.results = results
        self.interpreters = {one.label: one for one in sorted(interpreters, key=_python_order)}
        self.labels = tuple(self.interpreters)
        self.combos = {combo.ordinal: combo for combo in combos}
        self.resolutions = frozenset(combo.resolution for combo in self.combos.values())
        self.lines = tuple(_lines(self.combos.values()))
        self._used: dict[str, set[str]] = {}
        for line in self.lines:
            self._used.setdefault(line.packages, set()).update(label for row in line.rows for label in row)
        self._passing: dict[tuple[str, str, str], list[int]] | None = None
        self._line_of = {ordinal: line for line in self.lines for row in line.rows for ordinal in row.values()}

    def lines_of(self, ordinals: Iterable[int]) -> list[Line]:
        """Return the lines in which these combinations are, each once."""
        return list({id(line): line for line in (self._line_of[ordinal] for ordinal in ordinals)}.values())

    def used_by(self, packages: str) -> list[Interpreter]:
        """Return the Pythons on which a package, or packages that were crossed, were planned."""
        return [self.interpreters[label] for label in self.labels if label in self._used[packages]]

    def passing(self, ordinal: int) -> Sequence[int]:
        """Return the combinations that pass, and differ from this one in the resolution, or in a further package's release."""
        if self._passing is None:
            self._passing = {}
            for one, combo in self.combos.items():
                if not self.is_silent(one) and not self.is_bad(one):
                    self._passing.setdefault(_place(combo), []).append(one)
        return self._passing.get(_place(self.combos[ordinal]), ())

    def is_bad(self, ordinal: int) -> bool:
        """Return True if a combination that was tried did not pass."""
        return self.results[ordinal].verdict.outcome.is_bad

    def is_silent(self, ordinal: int | None) -> bool:
        """Return True if nothing is known of a combination: it is not there, was skipped, or ended with an error of ours."""
        return ordinal is None or says_nothing(self.results.get(ordinal))


def _place(combo: Combo) -> tuple[str, str, str]:
    return combo.packages, combo.version, combo.label


def says_nothing(result: Result | None) -> bool:
    """Return True if a result says nothing about the package."""
    return result is None or result.verdict.outcome in (Outcome.SKIPPED, Outcome.ERROR)


def _python_order(one: Interpreter) -> tuple[bool, tuple[int, int], str]:
    return one.implementation != "cpython", one.minor, one.label


def _lines(combos: Iterable[Combo]) -> Iterator[Line]:
    gathered: dict[tuple[str, Releases, str], dict[str, dict[str, int]]] = {}
    for combo in combos:
        rows = gathered.setdefault((combo.package, combo.others, combo.resolution), {})
        rows.setdefault(combo.version, {})[combo.label] = combo.ordinal
    for (package, others, resolution), rows in gathered.items():
        versions = sorted(rows, key=version_order)
        yield Line(package, others, resolution, tuple(versions), tuple(rows[version] for version in versions))


class _Block(NamedTuple):
    """Neighbouring releases of a line that are affected on the same Pythons, and how many."""

    packages: str
    first: str
    last: str
    releases: int
    labels: frozenset[str]


def affected(cells: Cells, ordinals: Collection[int]) -> tuple[Affected, ...]:
    """Return where these combinations lie, as few ranges as can be had.

    A range holds no combination that was tried and is none of them; what says nothing does not break it.
    """
    members = frozenset(ordinals)
    blocks: dict[_Block, list[Line]] = {}
    for line in cells.lines_of(ordinals):
        for block in _blocks(cells, line, members):
            blocks.setdefault(block, []).append(line)
    return tuple(made for block, lines in blocks.items() for made in _ranges(cells, block, lines))


def _ranges(cells: Cells, block: _Block, lines: Sequence[Line]) -> Iterator[Affected]:
    pythons = pythons_text(block.labels, cells.used_by(block.packages))
    for run in _neighbours(cells, lines):
        ways = tuple(dict.fromkeys(line.resolution for line in run))
        named = () if len(ways) == len(cells.resolutions) else tuple(way or HIGHEST for way in ways)
        others = tuple((one, other) for (_, one), (_, other) in zip(run[0].others, run[-1].others, strict=True))
        yield Affected(block.packages, block.first, block.last, block.releases, pythons, others, named)


def _blocks(cells: Cells, line: Line, members: frozenset[int]) -> Iterator[_Block]:
    places: list[int] = []
    labels: frozenset[str] = frozenset()
    for place, row in enumerate(line.rows):
        own = frozenset(label for label, ordinal in row.items() if ordinal in members)
        joined = labels | own
        again = range(places[0], place) if places and joined != labels else ()  # what held for these labels holds still
        if places and all(_holds(cells, line.rows[one], members, joined) for one in (*again, place)):
            places += [place] if own else []
            labels = joined
            continue
        if places:
            yield _block(line, places, labels)
        places, labels = ([place], own) if own else ([], frozenset())
    if places:
        yield _block(line, places, labels)


def _block(line: Line, places: Sequence[int], labels: frozenset[str]) -> _Block:
    return _Block(line.packages, line.versions[places[0]], line.versions[places[-1]], len(places), labels)


def _holds(cells: Cells, row: Mapping[str, int], members: frozenset[int], labels: Iterable[str]) -> bool:
    return all(row.get(label) in members or cells.is_silent(row.get(label)) for label in labels)


def _neighbours(cells: Cells, lines: Sequence[Line]) -> list[list[Line]]:
    """Part lines into runs that differ in the resolution, or lie side by side in the release of the one other package."""
    if len(lines[0].others) != 1:
        runs: dict[Releases, list[Line]] = {}
        for line in lines:
            runs.setdefault(line.others, []).append(line)
        return list(runs.values())
    package = lines[0].packages
    versions = sorted({one.others[0][1] for one in cells.lines if one.packages == package}, key=version_order)
    place = {version: number for number, version in enumerate(versions)}
    ways: dict[int, list[Line]] = {}
    for line in sorted(lines, key=lambda line: place[line.others[0][1]]):
        ways.setdefault(place[line.others[0][1]], []).append(line)
    made: list[list[Line]] = []
    before, resolutions = -2, set[str]()
    for number, beside in ways.items():
        own = {line.resolution for line in beside}
        if number - before == 1 and own == resolutions:
            made[-1] += beside
        else:
            made.append(beside)
        before, resolutions = number, own
    return made


def affected_text(one: Affected) -> str:
    """Return a range for a person: ``colorama 0.1 … 0.2.7 (12) on >= 3.10``."""
    names = one.package.split("+")
    parts = [_stretch(names[0], one.first, one.last, one.count)]
    parts += [_stretch(name, *pair, 0) for name, pair in zip(names[1:], one.others, strict=True)]
    text = " + ".join(parts) + (f" {', '.join(one.resolutions)}" if one.resolutions else "")
    return f"{text} on {one.pythons}" if one.pythons else f"{text} on every Python"


def where_text(group: Group, most: int = RANGES) -> str:
    """Return where a group's failures lie: ranges, or the ids where they are one or two."""
    if group.count <= FEW:
        return ", ".join(group.ids)
    texts = [affected_text(one) for one in group.affected]
    return "; ".join(texts[:most]) + (f"; {ELLIPSIS} {len(texts) - most} more ranges" if len(texts) > most else "")


def _stretch(name: str, first: str, last: str, count: int) -> str:
    first = first or "not listed"
    if first == (last or "not listed"):
        return f"{name} {first}"
    return f"{name} {first} {ELLIPSIS} {last}" + (f" ({count})" if count > 2 else "")


def pythons_text(labels: Collection[str], interpreters: Sequence[Interpreter]) -> str:
    """Return which of the Pythons these are: ``>= 3.10``, ``3.9 to 3.11``, ``3.8, pypy310``; nothing where they are all of several.

    ``interpreters`` are in their order. Ranges are of plain CPythons alone; any other is named by its label.
    """
    if len(labels) == len(interpreters) > 1:
        return ""
    plain = [one for one in interpreters if one.is_plain]
    own = [place for place, one in enumerate(plain) if one.label in labels]
    rest = [one.label for one in interpreters if one.label in labels and not one.is_plain]
    return ", ".join([*_range([one.python for one in plain], own), *rest])


def _range(names: Sequence[str], own: Sequence[int]) -> list[str]:
    if len(own) < 2 or own[-1] - own[0] != len(own) - 1:
        return [names[place] for place in own]
    if len(own) == len(names):
        return [f"{names[0]} to {names[-1]}"]
    if own[-1] == len(names) - 1:
        return [f">= {names[own[0]]}"]
    if own[0] == 0:
        return [f"<= {names[own[-1]]}"]
    return [f"{names[own[0]]} to {names[own[-1]]}"]
