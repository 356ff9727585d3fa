"""A comparison for people: changes of one cause together, with where they lie and what else changed. Pure."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

from pytest_spip.common.nodeids import read
from pytest_spip.common.plural import plural
from pytest_spip.errors import UsageProblem
from pytest_spip.model import Change, ChangeKind, Combo, Comparison, Interpreter, Result, Verdict
from pytest_spip.names import MODULE_PREFIX
from pytest_spip.report.analysis import signature
from pytest_spip.report.ranges import Cells, affected, affected_text
from pytest_spip.report.triage import likely_change, lock_text

__all__ = ["Cause", "causes", "change_line", "comparison_lines"]

SHOWN = 20
"""Causes of one kind that are printed at most."""
RANGES = 4
"""Ranges of one cause that are named."""
_PLAIN = re.compile(r"py(\d)(\d+)")


class Cause(NamedTuple):
    """Changes that have one cause: where they are, and what a person is shown of them."""

    where: str
    lines: tuple[str, ...]


def comparison_lines(comparison: Comparison) -> Iterator[list[tuple[str, str]]]:
    """Yield the comparison for a terminal: what regressed first, and at the end the counts of all kinds."""
    cells = _cells(comparison)
    shown = ((ChangeKind.REGRESSED, "red"), (ChangeKind.FLAKY, "yellow"), (ChangeKind.FIXED, "green"))
    for kind, style in shown:
        yield from _lines(kind.value, style, comparison.of(kind), cells)
    yield from _lines("no verdict", "yellow", comparison.unjudged, cells)
    counts = comparison.counts
    text = ", ".join(f"{counts[kind]} {kind.value}" for kind in ChangeKind if counts.get(kind))
    yield [(f"compared with {comparison.base}: {text or 'nothing in common'}", "bold")]


def _lines(head: str, style: str, changes: Sequence[Change], cells: Cells | None) -> Iterator[list[tuple[str, str]]]:
    grouped = _grouped(changes)
    for group in grouped[:SHOWN]:
        first, *more = _texts(group, cells)
        yield [(f"{head}: ", style), (first, "")]
        yield from ([(" " * (len(head) + 2), ""), (text, "dim")] for text in more)
    if len(grouped) > SHOWN:
        rest = sum(map(len, grouped[SHOWN:]))
        yield [(f"  … and {rest} more {head}, of {plural(len(grouped) - SHOWN, 'cause')}", "dim")]


def causes(comparison: Comparison, kind: ChangeKind) -> Iterator[Cause]:
    """Yield the changes of one kind, those of one cause together."""
    cells = _cells(comparison)
    for group in _grouped(comparison.of(kind)):
        where = group[0].id if len(group) == 1 else _where([change.id for change in group], cells)
        yield Cause(where, tuple(_texts(group, cells)))


def _grouped(changes: Sequence[Change]) -> list[list[Change]]:
    """Part changes by what happened: verdicts, the normalised text, the tests that newly fail; the largest group first."""
    groups: dict[Hashable, list[Change]] = {}
    for change in changes:
        text = signature(Result(0, change.after)) if change.after else ""
        groups.setdefault((_text(change.before), _text(change.after), text, change.newly_failing), []).append(change)
    return sorted(groups.values(), key=lambda group: -len(group))


def _texts(group: Sequence[Change], cells: Cells | None) -> Iterator[str]:
    """Yield a line that says all of one change, or what the changes of one cause have in common, and where they lie."""
    if len(group) == 1:
        yield change_line(group[0])
    else:
        yield f"{len(group)} x {_what(group[0], normal=True)}"
        yield _where([change.id for change in group], cells)
    detail = group[0].after.detail if group[0].after else ""
    if changes := likely_change([change.locked for change in group], detail):
        yield f"other versions: {lock_text(changes)}"


def _where(ids: Sequence[str], cells: Cells | None) -> str:
    if cells is None:
        texts = list(ids)
    else:
        names = set(ids)
        members = [ordinal for ordinal, combo in cells.combos.items() if combo.id in names]
        texts = [affected_text(one) for one in affected(cells, members)]
    return "; ".join(texts[:RANGES]) + (f"; … {len(texts) - RANGES} more" if len(texts) > RANGES else "")


def change_line(change: Change) -> str:
    """Return one line on a change: the combination, what it was, what it is, and how many tests newly fail."""
    return f"{change.id}: {_what(change)}"


def _what(change: Change, *, normal: bool = False) -> str:
    """Say what happened to a combination, or to several that are alike: ``normal`` leaves out what differs between these."""
    parts = [f"{_text(change.before)} -> {_text(change.after)}"]
    if change.newly_failing:
        count = len(change.newly_failing)
        more = f" and {count - 1} more" if count > 1 else ""
        parts.append(
            f"{plural(count, 'test')} newly {'fails' if count == 1 else 'fail'}: {change.newly_failing[0]}{more}"
        )
    elif change.after and change.after.outcome.is_bad and change.after.detail:
        own = change.after.detail.partition("\n")[0]
        parts.append(signature(Result(0, change.after)).partition(": ")[2] if normal else own)
    return ": ".join(parts)


def _text(verdict: Verdict | None) -> str:
    if verdict is None:
        return "none"
    return f"{verdict.outcome.value} ({verdict.reason.value})" if verdict.reason else verdict.outcome.value


def _cells(comparison: Comparison) -> Cells | None:
    """Return the combinations as their ids name them; None where an id is none of ours."""
    combos: list[Combo] = []
    results: dict[int, Result] = {}
    try:
        for ordinal, change in enumerate(comparison.changes):
            combos.append(_combo(ordinal, change.id))
            if change.after:
                results[ordinal] = Result(ordinal, change.after)
    except (UsageProblem, ValueError):
        return None
    if list(dict.fromkeys(combo.id for combo in combos)) != [change.id for change in comparison.changes]:
        return None
    return Cells(combos, [_interpreter(label) for label in dict.fromkeys(one.label for one in combos)], results)


def _combo(ordinal: int, text: str) -> Combo:
    named = read(f"{MODULE_PREFIX}::{text}")
    (package, *_), (version, *_) = named.packages, named.versions
    others = tuple(zip(named.packages, named.versions, strict=True))[1:]
    label = named.label or text.removesuffix("]").rpartition("-")[2]  # of what no index lists
    return Combo(ordinal, package, version, label, label, others=others, resolution=named.resolution)


def _interpreter(label: str) -> Interpreter:
    """Return what a label says of a Python."""
    if found := _PLAIN.fullmatch(label):
        return Interpreter(label, label, f"{found[1]}.{found[2]}", "cpython", "")
    return Interpreter(label, label, "0.0", "", "")
