"""Requirements x releases x interpreters -> Plan. Pure: no clock, no disk, no network."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from pytest_spip.common.tags import accepts_python, pick_file, usable_files
from pytest_spip.errors import UsageProblem
from pytest_spip.model import Combo, Interpreter, Outcome, Phase, Plan, Reason, Release, Verdict
from pytest_spip.plan.pairs import count_pairs, pairwise

__all__ = ["MOST", "check_cross", "make_plan", "numbered", "parse_requirement", "without_old_pythons"]

MOST = 200_000
"""Combinations of a cross that are planned."""
Releases = Mapping[str, Sequence[Release] | Verdict]


def parse_requirement(text: str) -> Requirement:
    """Parse a requirement of the matrix; raises ``UsageProblem`` for a typo or a URL."""
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        raise UsageProblem(
            "--spip-matrix", f"{text!r} is no requirement ({reason})", "write it like 'colorama>=0.4'"
        ) from error
    if requirement.url:
        raise UsageProblem("--spip-matrix", f"{text!r} is a URL", "name a project that an index lists")
    return requirement


def check_cross(requirements: Sequence[Requirement], policy: str, *, cross: bool) -> None:
    """Raise ``UsageProblem`` for a cross of one project alone, and for a policy that needs a cross where there is none."""
    if cross and len({canonicalize_name(one.name) for one in requirements}) < 2:
        raise UsageProblem("--spip-cross", f"{requirements[0].name} meets no other", "add a second --spip-matrix=REQ")
    if policy == "pairwise" and not cross:
        fix = "add --spip-cross and a second --spip-matrix=REQ, or use minor or a number"
        raise UsageProblem("--spip-versions", "'pairwise' chooses what meets in a cross", fix)


def make_plan(
    requirements: Sequence[Requirement],
    releases: Releases,
    interpreters: Sequence[Interpreter],
    *,
    resolutions: Sequence[str] = ("",),
    cross: bool = False,
    sampled: bool = False,
    wheels_only: bool = False,
    exclude_newer: str = "",
    notes: Sequence[str] = (),
) -> Plan:
    """Return the plan: package by package, oldest release first, in it interpreters, and in these resolutions.

    ``releases`` maps a requirement's text to the releases chosen for it, or to the verdict that stands for a project which
    the index would not list. ``resolutions`` are those of ``Combo.resolution``. In a ``cross`` the releases of each project
    meet those of all others; ``sampled``, as few do as hold all pairs of releases, and of a release and an interpreter.
    With ``wheels_only`` a release without a wheel for an interpreter is skipped.
    Raises ``UsageProblem`` for two requirements whose combinations could not be distinguished, and for a cross of too many.
    """
    combos = (
        _crossed(_axes(requirements, releases), interpreters, resolutions, sampled=sampled, wheels_only=wheels_only)
        if cross
        else _listed(requirements, releases, interpreters, resolutions, wheels_only=wheels_only)
    )
    ordered = tuple(numbered(_unique(combos)))
    known = {
        (release.package, release.version): release
        for group in releases.values()
        if not isinstance(group, Verdict)
        for release in group
    }
    return Plan(
        combos=ordered,
        interpreters=tuple(interpreters),
        releases=tuple(known.values()),
        exclude_newer=exclude_newer,
        notes=tuple(notes),
    )


def _unique(combos: Iterable[Combo]) -> Iterable[Combo]:
    """Keep each combination once; of one that several requirements name, the one that is to be tried."""
    seen: dict[str, Combo] = {}
    for combo in combos:
        known = seen.setdefault(combo.id, combo)
        if known is not combo and known.requirements != combo.requirements:
            clash = next(
                pair for pair in zip(known.requirements, combo.requirements, strict=True) if pair[0] != pair[1]
            )
            names = " and ".join(text.partition("==")[0] for text in clash)
            raise UsageProblem("--spip-matrix", f"{names} would share their node ids", "name one of them in a run")
        if known.plan_verdict and not combo.plan_verdict:
            seen[combo.id] = combo
    return seen.values()


def numbered(combos: Iterable[Combo]) -> Iterator[Combo]:
    """Yield the combinations with their places as ordinals; nearly always they have them already."""
    for ordinal, combo in enumerate(combos):
        yield combo if combo.ordinal == ordinal else dataclasses.replace(combo, ordinal=ordinal)


def without_old_pythons(
    combos: Iterable[Combo], interpreters: Iterable[Interpreter], project: str, requires_python: str
) -> list[Combo]:
    """Judge the combinations on interpreters that the project beside them does not admit."""
    refused = {one.id for one in interpreters if not one.problem and not accepts_python(requires_python, one.version)}
    verdict = _skip(Reason.REQUIRES_PYTHON, f"{project}: Requires-Python {requires_python}")
    return [
        dataclasses.replace(combo, plan_verdict=verdict)
        if combo.interpreter in refused and not combo.plan_verdict
        else combo
        for combo in combos
    ]


def _listed(
    requirements: Sequence[Requirement],
    releases: Releases,
    interpreters: Sequence[Interpreter],
    resolutions: Sequence[str],
    *,
    wheels_only: bool,
) -> Iterator[Combo]:
    ordinals = itertools.count()
    for requirement in requirements:
        package = canonicalize_name(requirement.name)
        extras = tuple(sorted(requirement.extras))
        group = releases[str(requirement)]
        if isinstance(group, Verdict):
            yield Combo(next(ordinals), package, "", "", "index", extras, group)
            continue
        for release in group:
            for interpreter in interpreters:
                verdict = _verdict_of_plan(requirement, release, interpreter, wheels_only=wheels_only)
                for resolution in resolutions:
                    yield Combo(
                        ordinal=next(ordinals),
                        package=package,
                        version=release.version,
                        interpreter=interpreter.id,
                        label=interpreter.label,
                        extras=extras,
                        plan_verdict=verdict,
                        resolution=resolution,
                        exact=(package,) if release.ambiguous else (),
                    )


Choice = tuple[Requirement, Release]
"""A release, and the requirement that chose it."""


def _axes(requirements: Sequence[Requirement], releases: Releases) -> list[list[Choice]]:
    """Return the releases of each project, in the order in which projects are named."""
    axes: dict[str, list[Choice]] = {}
    for requirement in requirements:
        group = releases[str(requirement)]
        assert not isinstance(group, Verdict), "without one of its projects there is no cross"
        axes.setdefault(canonicalize_name(requirement.name), []).extend((requirement, release) for release in group)
    return list(axes.values())


def _crossed(
    axes: Sequence[Sequence[Choice]],
    interpreters: Sequence[Interpreter],
    resolutions: Sequence[str],
    *,
    sampled: bool,
    wheels_only: bool,
) -> Iterator[Combo]:
    sizes = [*map(len, axes), len(interpreters)]
    _refuse_too_many(axes, sizes, len(resolutions), sampled=sampled)

    @functools.cache
    def verdict(axis: int, place: int, python: int) -> Verdict | None:
        return _verdict_of_plan(
            *axes[axis][place], interpreters[python], whose=axes[axis][place][1], wheels_only=wheels_only
        )

    def fits(axis: int, place: int, python: int) -> bool:
        return verdict(axis, place, python) is None

    rows: Iterable[tuple[int, ...]] = (
        pairwise(sizes, fits) if sampled else itertools.product(*(range(size) for size in sizes))
    )
    ordinals = itertools.count()
    for *places, python in rows:
        plan_verdict = next(filter(None, itertools.starmap(verdict, ((*at, python) for at in enumerate(places)))), None)
        chosen = [axes[axis][place] for axis, place in enumerate(places)]
        for resolution in resolutions:
            yield _together(next(ordinals), chosen, interpreters[python], plan_verdict, resolution)


def _together(
    ordinal: int, chosen: Sequence[Choice], interpreter: Interpreter, plan_verdict: Verdict | None, resolution: str
) -> Combo:
    """Return the combination of several releases, of which the first one is the own."""
    (package, version), *others = ((canonicalize_name(one.name), release.version) for one, release in chosen)
    extras, *others_extras = (tuple(sorted(requirement.extras)) for requirement, _ in chosen)
    return Combo(
        ordinal=ordinal,
        package=package,
        version=version,
        interpreter=interpreter.id,
        label=interpreter.label,
        extras=extras,
        plan_verdict=plan_verdict,
        others=tuple(others),
        others_extras=tuple(others_extras),
        resolution=resolution,
        exact=tuple(canonicalize_name(one.name) for one, release in chosen if release.ambiguous),
    )


def _refuse_too_many(
    axes: Sequence[Sequence[Choice]], sizes: Sequence[int], resolutions: int, *, sampled: bool
) -> None:
    """Raise ``UsageProblem`` for more combinations than :data:`MOST`; of pairs, which are quicker to count, there are more."""
    count = (count_pairs(sizes) if sampled else math.prod(sizes)) * resolutions
    if count <= MOST:
        return
    axes_text = " x ".join(f"{len(axis)} of {canonicalize_name(axis[0][0].name)}" for axis in axes)
    what = f"{axes_text} x {sizes[-1]} Pythons have {count} {'pairs' if sampled else 'combinations'}, more than {MOST}"
    narrower = "" if sampled else "--spip-versions=minor, a number or pairwise, or "
    raise UsageProblem("--spip-cross", what, f"use {narrower}narrower requirements")


def _verdict_of_plan(
    requirement: Requirement,
    release: Release,
    interpreter: Interpreter,
    whose: Release | None = None,
    *,
    wheels_only: bool,
) -> Verdict | None:
    """Return the verdict that metadata alone decide, before any work; it names the release that is to blame among several."""
    blamed = f"{whose.package} {whose.version}: " if whose else ""
    if interpreter.problem:
        return _skip(Reason.NO_INTERPRETER, interpreter.problem)
    if requirement.marker and not requirement.marker.evaluate(dict(interpreter.markers)):
        return _skip(Reason.EXCLUDED, f"{blamed}marker {requirement.marker}")
    usable = usable_files(release.files, interpreter)
    if not usable:
        demanded = sorted({file.requires_python for file in release.files})
        return _skip(Reason.REQUIRES_PYTHON, f"{blamed}Requires-Python {' or '.join(demanded)}")
    file = pick_file(usable, interpreter)
    if wheels_only and file and file.kind == "sdist":
        return _skip(Reason.NO_WHEEL, f"{blamed}no wheel for {interpreter.label}, and --spip-build=never builds none")
    if file is None:
        what = f"{blamed}no wheel for {interpreter.label} and no sdist among {len(usable)} files"
        return _skip(Reason.NO_WHEEL, what)
    return None


def _skip(reason: Reason, detail: str) -> Verdict:
    return Verdict(Outcome.SKIPPED, Phase.PLAN, reason, detail)
