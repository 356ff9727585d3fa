"""What of each package works where, beside what it declares, and a requirement that says so. Pure."""

from __future__ import annotations

import dataclasses
import enum
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from pytest_spip.common.releases import version_order
from pytest_spip.model import Interpreter, PackageMetadata, PythonSupport, Reason, ReleaseFacts, Support
from pytest_spip.report.ranges import ELLIPSIS, Cells, pythons_text

__all__ = ["support"]

HOLES = 3
"""Single releases that a suggested requirement excludes at most."""
STRETCHES = 4
"""Stretches of releases that a finding names at most."""


class _State(enum.Enum):
    GOOD = "good"
    BAD = "bad"
    SILENT = "silent"


States = Mapping[str, Mapping[str, _State]]
"""By version, the oldest first, and label."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Seen:
    """What was seen of one package.

    ``refused`` are pairs of version and label that Requires-Python excludes, ``broken`` those that fail as an installer
    resolves when it is asked for nothing else.
    """

    package: str
    interpreters: Sequence[Interpreter]
    states: States
    refused: frozenset[tuple[str, str]]
    broken: frozenset[tuple[str, str]]
    unsolved: frozenset[str]
    facts: Mapping[str, ReleaseFacts]

    @property
    def versions(self) -> list[tuple[str, _State]]:
        """Each release: bad if it fails anywhere, good if it passes where it was tried."""
        return [(version, _joined(list(states.values()))) for version, states in self.states.items()]


def support(
    cells: Cells,
    facts: Sequence[ReleaseFacts],
    metadata: Mapping[str, PackageMetadata],
    project: PackageMetadata | None = None,
) -> tuple[Support, ...]:
    """Return what of each package works. ``metadata`` are those of a new release of each, ``project`` the user's own.

    Crosses are left out: no one package is to blame for what does not fit together.
    """
    known = {(one.package, one.version): one for one in facts}
    packages = dict.fromkeys(line.package for line in cells.lines if not line.others)
    made = (_seen(cells, package, known) for package in packages)
    return tuple(_support(seen, metadata.get(seen.package), project) for seen in made if seen.states)


def _seen(cells: Cells, package: str, known: Mapping[tuple[str, str], ReleaseFacts]) -> _Seen:
    found: dict[str, dict[str, list[_State]]] = {}
    refused: set[tuple[str, str]] = set()
    broken: set[tuple[str, str]] = set()
    unsolved: set[str] = set()
    for line in cells.lines:
        if line.package != package or line.others:
            continue
        for version, row in zip(line.versions, line.rows, strict=True):
            for label, ordinal in row.items():
                state = _state(cells, ordinal)
                found.setdefault(version, {}).setdefault(label, []).append(state)
                broken |= {(version, label)} if state is _State.BAD and not line.resolution else set()
                reason = cells.results[ordinal].verdict.reason if ordinal in cells.results else None
                refused |= {(version, label)} if reason is Reason.REQUIRES_PYTHON else set()
                unsolved |= {version} if reason is Reason.NO_SOLUTION else set()
    states = {
        version: {label: _joined(each) for label, each in found[version].items()}
        for version in sorted(found, key=version_order)
        if _is_version(version)
    }
    facts = {version: known.get((package, version), ReleaseFacts(package, version)) for version in states}
    return _Seen(
        package, cells.used_by(package), states, frozenset(refused), frozenset(broken), frozenset(unsolved), facts
    )


def _is_version(text: str) -> bool:
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def _state(cells: Cells, ordinal: int) -> _State:
    if cells.is_silent(ordinal):
        return _State.SILENT
    return _State.BAD if cells.is_bad(ordinal) else _State.GOOD


def _joined(states: Sequence[_State]) -> _State:
    return next((one for one in (_State.BAD, _State.GOOD) if one in states), _State.SILENT)


def _support(seen: _Seen, metadata: PackageMetadata | None, project: PackageMetadata | None) -> Support:
    tried = [version for version, state in seen.versions if state is not _State.SILENT]
    newest = tried[-1] if tried else list(seen.states)[-1]
    pythons = tuple(_pythons(seen))
    declared = _declared(seen.package, project)
    suggestion, tested = _suggestion(seen)
    classifiers = metadata.classifiers if metadata and metadata.version == newest else ()
    return Support(
        seen.package,
        len(seen.states),
        newest,
        seen.facts[newest].requires_python,
        classifiers,
        pythons,
        declared,
        (*_on_classifiers(seen, newest, classifiers), *_on_requirement(seen, declared)),
        suggestion,
        tested,
    )


def _pythons(seen: _Seen) -> Iterator[PythonSupport]:
    """Yield what was seen on the Pythons, those together that came to the same."""
    alike: dict[tuple[_Working, str], list[str]] = {}
    for one in seen.interpreters:
        tried = [(version, each) for version, states in seen.states.items() if (each := states.get(one.label))]
        spoken = [(version, state) for version, state in tried if state is not _State.SILENT]
        if spoken:
            chosen = _chosen(seen, one.label)
            fails = (chosen, one.label) in seen.broken
            alike.setdefault((_working(spoken), chosen if fails else ""), []).append(one.label)
    for (working, choice), labels in alike.items():
        yield PythonSupport(pythons_text(labels, seen.interpreters), tuple(labels), *working, choice)


class _Working(NamedTuple):
    """As :class:`PythonSupport` has them."""

    works_from: str = ""
    works_until: str = ""
    broken_from: str = ""
    oldest: str = ""


def _working(spoken: Sequence[tuple[str, _State]]) -> _Working:
    """Return what works of releases that were tried, the oldest first."""
    good = [place for place, (_, state) in enumerate(spoken) if state is _State.GOOD]
    if not good:
        return _Working()
    last = first = good[-1]
    while first and spoken[first - 1][1] is _State.GOOD:
        first -= 1
    broken = spoken[last + 1][0] if last + 1 < len(spoken) else ""
    return _Working(spoken[first][0], spoken[last][0], broken, spoken[good[0]][0])


def _chosen(seen: _Seen, label: str) -> str:
    """Return the release that an installer takes: the newest that is neither yanked nor a pre-release, and admits the Python."""
    usable = [
        version
        for version, states in seen.states.items()
        if label in states and (version, label) not in seen.refused and not seen.facts[version].yanked
    ]
    final = [version for version in usable if not Version(version).is_prerelease]
    return (final or usable or [""])[-1]


def _suggestion(seen: _Seen) -> tuple[str, str]:
    """Return a requirement for the newest releases that pass on all Pythons, and what it was tested with."""
    spoken = [(version, state) for version, state in seen.versions if state is not _State.SILENT]
    good = [place for place, (_, state) in enumerate(spoken) if state is _State.GOOD]
    if not good:
        return "", ""
    last = first = good[-1]
    holes: list[str] = []
    while first:
        if spoken[first - 1][1] is _State.GOOD:
            first -= 1
        elif first > 1 and spoken[first - 2][1] is _State.GOOD and len(holes) < HOLES:
            holes.append(spoken[first - 1][0])
            first -= 2
        else:
            break
    parts = [f">={_public(spoken[first][0])}"]
    parts += [_upper(spoken[last][0], spoken[last + 1][0])] if last + 1 < len(spoken) else []
    parts += [f"!={version}" for version in reversed(holes)]
    versions = [version for version, _ in spoken[first : last + 1]]
    admitted = SpecifierSet(",".join(parts))
    inside = [version for version, _ in spoken if admitted.contains(version, prereleases=True)]
    if inside != [version for version in versions if version not in holes]:
        return "", ""  # no requirement distinguishes releases that differ in their local version alone
    return f"{seen.package}{','.join(parts)}", _tested(seen, versions)


def _upper(good: str, bad: str) -> str:
    """Return a bound that admits a release and not the next; ``<2`` admits no pre-release of 2 (PEP 440)."""
    below = f"<{_public(bad)}"
    return below if SpecifierSet(below).contains(good, prereleases=True) else f"<={_public(good)}"


def _public(version: str) -> str:
    """Return a version without its local part, with which nothing can be ordered in a requirement (PEP 440)."""
    return version.partition("+")[0]


def _tested(seen: _Seen, versions: Sequence[str]) -> str:
    labels = [
        one.label
        for one in seen.interpreters
        if any(seen.states[version].get(one.label) is _State.GOOD for version in versions)
    ]
    stretch = versions[0] if len(versions) == 1 else f"{versions[0]} {ELLIPSIS} {versions[-1]}"
    return f"{stretch} on {_tried_pythons(seen.interpreters, labels)}"


def _tried_pythons(interpreters: Sequence[Interpreter], labels: Sequence[str]) -> str:
    """Return Pythons by number: those that were tried, and no claim on any beyond them."""
    chosen = [one for one in interpreters if one.label in labels]
    plain = [one for one in chosen if one.is_plain]
    rest = [one.label for one in chosen if one not in plain]
    names = [one.python for one in plain]
    if len(plain) > 1 and plain[-1].minor[1] - plain[0].minor[1] == len(plain) - 1:
        names = [f"{names[0]} to {names[-1]}"]
    return ", ".join([*names, *rest])


def _on_classifiers(seen: _Seen, newest: str, classifiers: Sequence[str]) -> Iterator[str]:
    """Yield where the newest release fails on Pythons that it names, and passes on those that it does not name."""
    states = seen.states[newest]
    plain = [one for one in seen.interpreters if one.is_plain]
    fails = [one for one in plain if one.python in classifiers and states.get(one.label) is _State.BAD]
    passes = [one for one in plain if one.python not in classifiers and states.get(one.label) is _State.GOOD]
    named = any(text.count(".") == 1 and text.startswith("3.") for text in classifiers)
    if fails:
        yield f"{newest} fails on {_names(fails)}, which its classifiers name"
    if passes and named:
        yield f"{newest} passes on {_names(passes)} too, which no classifier names"


def _names(interpreters: Sequence[Interpreter]) -> str:
    return ", ".join(one.python for one in interpreters)


def _declared(package: str, project: PackageMetadata | None) -> str:
    """Return what a project requires of a package, in all its requirements that name it; ``any`` for all releases."""
    found: list[str] = []
    for text in project.requires if project else ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if canonicalize_name(requirement.name) == package and "extra ==" not in str(requirement.marker or ""):
            marker = f"; {requirement.marker}" if requirement.marker else ""
            found.append((str(requirement.specifier) or "any") + marker)
    return ", or ".join(dict.fromkeys(found))


def _on_requirement(seen: _Seen, declared: str) -> Iterator[str]:
    """Yield which of a project's bounds are wrong, as far as this run shows."""
    if not declared or ", or " in declared or ";" in declared:  # with markers it depends
        return
    try:
        admitted = SpecifierSet("" if declared == "any" else declared)
    except InvalidSpecifier:
        return
    inside = [(version, state) for version, state in seen.versions if admitted.contains(version, prereleases=True)]
    outside = [(version, state) for version, state in seen.versions if (version, state) not in inside]
    good = [version for version, state in inside if state is _State.GOOD]
    bad = [version for version, state in inside if state is _State.BAD]
    low = [version for version in bad if good and Version(version) < Version(good[0])]
    high = [version for version in bad if good and Version(version) > Version(good[-1])]
    between = [version for version in bad if version not in {*low, *high}]
    spoken = [(version, state) for version, state in seen.versions if state is not _State.SILENT]
    names = [version for version, _ in spoken]
    if low:
        yield f"the lower bound is too low: {_say(low, names, 'fail')}"
    if high:
        yield f"an upper bound is needed: {_say(high, names, 'fail')}"
    if between:
        yield f"it admits {_stretches(between, names)}, which {_verb(between, 'fail')}"
    if good:
        yield from _on_tightness(spoken, good[0], good[-1])
    if untried := [version for version, state in outside if version in seen.unsolved and state is _State.SILENT]:
        what = _stretches(untried, list(seen.states))
        yield f"{what} could not be tried: the requirement excludes {'it' if len(untried) == 1 else 'them'}"


def _on_tightness(spoken: Sequence[tuple[str, _State]], oldest: str, newest: str) -> Iterator[str]:
    """Yield which releases pass next to those that are admitted and pass, from the oldest to the newest of these."""
    names = [version for version, _ in spoken]
    older, newer = spoken[: names.index(oldest)], spoken[names.index(newest) + 1 :]
    if below := _passing_first(reversed(older))[::-1]:
        yield f"the lower bound is higher than it need be: {_say(below, names, 'pass')}"
    if above := _passing_first(newer):
        what = "needless" if len(above) == len(newer) else "lower than it need be"
        yield f"the upper bound is {what}: {_say(above, names, 'pass')}"


def _passing_first(spoken: Iterable[tuple[str, _State]]) -> list[str]:
    return [version for version, _ in itertools.takewhile(lambda one: one[1] is _State.GOOD, spoken)]


def _say(versions: Sequence[str], among: Sequence[str], verb: str) -> str:
    return f"{_stretches(versions, among)} {_verb(versions, verb)}"


def _verb(versions: Sequence[str], verb: str) -> str:
    if len(versions) > 1:
        return verb
    return {"fail": "fails", "pass": "passes"}[verb]


def _stretches(versions: Sequence[str], among: Sequence[str]) -> str:
    """Return versions as stretches that hold no others of those ``among`` which they are."""
    place = {version: number for number, version in enumerate(among)}
    made: list[list[str]] = []
    for version in versions:
        if made and place[version] - place[made[-1][-1]] == 1:
            made[-1].append(version)
        else:
            made.append([version])
    rest = [f"{ELLIPSIS} {len(made) - STRETCHES} more"] if len(made) > STRETCHES else []
    return ", ".join([*map(_stretch, made[:STRETCHES]), *rest])


def _stretch(versions: Sequence[str]) -> str:
    return versions[0] if len(versions) == 1 else f"{versions[0]} {ELLIPSIS} {versions[-1]} ({len(versions)})"
