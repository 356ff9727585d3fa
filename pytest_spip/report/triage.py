"""Where failures begin and end, and what changed there: for each group of failures. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from pytest_spip.common.releases import version_order
from pytest_spip.model import Boundary, Group, LockChange, Reason
from pytest_spip.report.ranges import ELLIPSIS, Cells, affected, pythons_text
from pytest_spip.report.removals import removal

__all__ = ["likely_change", "lock_changes", "lock_text", "triaged"]

MOST = 0.8
"""Share of the places where a failure begins that must have a change in common for it to be likely."""
NAMED = 3
"""Changes of locked versions that are named."""
READ = 10_000
"""Characters of a failure's words in which names are looked for."""


class _Step(NamedTuple):
    """A combination that passes beside one that fails, and differs in one thing."""

    good: int
    bad: int


def triaged(groups: Iterable[Group], cells: Cells) -> tuple[Group, ...]:
    """Return the groups with the ranges that each touches, where it begins and ends, and the change that is likely behind it."""
    return tuple(_triaged(group, cells) for group in groups)


def _triaged(group: Group, cells: Cells) -> Group:
    ordinals = [one.ordinal for one in group.results]
    if group.is_environment:  # says nothing about the package
        return dataclasses.replace(group, affected=affected(cells, ordinals))
    members = frozenset(ordinals)
    begins, ends = _release_steps(cells, members)
    return dataclasses.replace(
        group,
        affected=affected(cells, ordinals),
        boundaries=tuple(_boundaries(cells, members, begins, ends)),
        likely=_likely(cells, group, begins, ends),
    )


def _release_steps(cells: Cells, members: frozenset[int]) -> tuple[list[_Step], list[_Step]]:
    """Return the steps from an older release that passes, and those to a newer one, on the same Python."""
    begins: list[_Step] = []
    ends: list[_Step] = []
    for line in cells.lines_of(members):
        for label in dict.fromkeys(label for row in line.rows for label in row):
            tried = [row[label] for row in line.rows if not cells.is_silent(row.get(label))]
            for one, other in pairwise(tried):
                if other in members and not cells.is_bad(one):
                    begins.append(_Step(one, other))
                elif one in members and not cells.is_bad(other):
                    ends.append(_Step(other, one))
    return begins, ends


def _python_steps(cells: Cells, members: frozenset[int]) -> Iterator[_Step]:
    """Yield the steps from one Python to the next on which the same release fails, or no longer fails."""
    for line in cells.lines_of(members):
        for row in line.rows:
            tried = [row[label] for label in cells.labels if label in row and not cells.is_silent(row[label])]
            for one, other in pairwise(tried):
                if other in members and not cells.is_bad(one):
                    yield _Step(one, other)
                elif one in members and not cells.is_bad(other):
                    yield _Step(other, one)


def _way_steps(cells: Cells, members: frozenset[int]) -> Iterator[_Step]:
    """Yield the steps from another resolution, or another release of a further package, that passes with all else equal."""
    for ordinal in sorted(members):
        for good in cells.passing(ordinal)[-1:]:
            yield _Step(good, ordinal)


def _boundaries(
    cells: Cells, members: frozenset[int], begins: Sequence[_Step], ends: Sequence[_Step]
) -> Iterator[Boundary]:
    """Yield where most of the failures begin, and where most of them end."""
    touched = {cells.combos[one].label for one in members}
    for steps, is_begin in ((begins, True), (ends, False)):
        places: dict[tuple[str, str, str], set[str]] = {}
        for step in steps:
            place = (*_release(cells, step.bad), cells.combos[step.good].version)
            places.setdefault(place, set()).add(cells.combos[step.bad].label)
        if places:
            # Of as many Pythons the oldest release that fails, or the newest.
            ordered = sorted(places.items(), key=lambda item: version_order(item[0][1]), reverse=not is_begin)
            (package, bad, good), labels = max(ordered, key=lambda item: len(item[1]))
            pythons = "" if labels == touched else pythons_text(labels, list(cells.interpreters.values()))
            yield Boundary(package, bad, good, is_begin, pythons)


def _release(cells: Cells, ordinal: int) -> tuple[str, str]:
    combo = cells.combos[ordinal]
    return combo.package, combo.version


def _likely(cells: Cells, group: Group, begins: Sequence[_Step], ends: Sequence[_Step]) -> str:
    """Return the change that explains most of a group, or nothing."""
    if text := _removed(cells, group):
        return text
    members = frozenset(one.ordinal for one in group.results)
    detail = "\n".join((group.signature, *(one.verdict.detail for one in group.results[:1])))
    releases, pythons, ways = [*begins, *ends], list(_python_steps(cells, members)), list(_way_steps(cells, members))
    locks = [_locks(cells, step) for step in (*releases, *ways)]
    if changes := likely_change(locks, detail):
        return lock_text(changes) if len(changes) == 1 else f"one of {lock_text(changes)}"
    if text := _python_text(cells, pythons, members):
        return text
    return _release_text(cells, begins)


def _removed(cells: Cells, group: Group) -> str:
    """Return what the failure misses of the standard library, where all of it is on Pythons that have it no longer."""
    found = (
        removal(group.results[0].verdict.detail) if group.results[0].verdict.reason is not Reason.TEST_FAILED else None
    )
    pythons = [cells.interpreters.get(cells.combos[one.ordinal].label) for one in group.results]
    return found.text if found and all(one and one.minor >= found.since for one in pythons) else ""


def _locks(cells: Cells, step: _Step) -> tuple[LockChange, ...]:
    good, bad = cells.results[step.good].locked, cells.results[step.bad].locked
    own = {name for name, _ in cells.combos[step.bad].releases[:1]}
    return lock_changes(good, bad, own)


def lock_changes(
    before: Mapping[str, str], after: Mapping[str, str], own: Iterable[str] = ()
) -> tuple[LockChange, ...]:
    """Return the projects but ``own`` whose locked versions differ, sorted by name; nothing where one of the locks is not known."""
    if not before or not after:
        return ()
    names = sorted({*before, *after}.difference(own))
    pairs = (LockChange(name, before.get(name, ""), after.get(name, "")) for name in names)
    return tuple(change for change in pairs if change.before != change.after)


def likely_change(locks: Sequence[Sequence[LockChange]], detail: str) -> tuple[LockChange, ...]:
    """Return the changes that most of the steps have in common: of those the ones that the failure names, if it names any.

    A project whose versions differ in another way from step to step is named with those that are the most frequent.
    """
    counts = Counter(change.name for changes in locks for change in changes)
    pairs = Counter(change for changes in locks for change in changes)
    common = [name for name, count in counts.most_common() if count >= MOST * len(locks)]
    named = [name for name in common if _names(detail[:READ], name)]
    best = {change.name: change for change, _ in reversed(pairs.most_common())}
    return tuple(best[name] for name in (named or common))


def _names(detail: str, project: str) -> bool:
    """Return True if a failure's words have a project's name, as a whole word or the first of a dotted one."""
    spelt = "[-_.]?".join(re.escape(word) for word in project.split("-"))
    return bool(re.search(rf"(?<![\w.-]){spelt}(?!\w|-[a-z])", detail, re.IGNORECASE | re.ASCII))


def lock_text(changes: Iterable[LockChange]) -> str:
    """Return changes for a person: ``werkzeug 2.3.7 -> 3.0.1``, the first few by name."""
    texts = [f"{name} {before or 'none'} -> {after or 'none'}" for name, before, after in changes]
    return ", ".join(texts[:NAMED]) + (f", {ELLIPSIS} {len(texts) - NAMED} more" if len(texts) > NAMED else "")


def _python_text(cells: Cells, steps: Sequence[_Step], members: frozenset[int]) -> str:
    places = Counter((_python(cells, step.good), _python(cells, step.bad)) for step in steps)
    if not places:
        return ""
    (good, bad), count = places.most_common(1)[0]
    rows = {(cells.combos[ordinal].releases, cells.combos[ordinal].resolution) for ordinal in members}
    return f"Python {bad}: the same releases pass on {good}" if count >= MOST * len(rows) else ""


def _python(cells: Cells, ordinal: int) -> str:
    label = cells.combos[ordinal].label
    one = cells.interpreters.get(label)
    return one.python if one and one.is_plain else label


def _release_text(cells: Cells, begins: Sequence[_Step]) -> str:
    """Say that it is the release, where nothing else differs between it and the one before."""
    equal = [
        step
        for step in begins
        if cells.results[step.good].locked and cells.results[step.bad].locked and not _locks(cells, step)
    ]
    if not equal:
        return ""
    (package, version), count = Counter(_release(cells, step.bad) for step in equal).most_common(1)[0]
    if count < MOST * len(begins):
        return ""
    return f"{package} {version} itself: all else is as in the release before"
