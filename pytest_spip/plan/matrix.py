"""Requirements x releases x interpreters -> Plan. Pure: no clock, no disk, no network."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from pytest_spip.compat import accepts_python, pick_file, usable_files
from pytest_spip.errors import UsageProblem
from pytest_spip.model import Combo, Interpreter, Outcome, Phase, Plan, Reason, Release, Verdict

__all__ = ["make_plan", "numbered", "parse_requirement", "without_old_pythons"]


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


def make_plan(
    requirements: Sequence[Requirement],
    releases: Mapping[str, Sequence[Release] | Verdict],
    interpreters: Sequence[Interpreter],
    *,
    exclude_newer: str = "",
    notes: Sequence[str] = (),
) -> Plan:
    """Return the plan: package by package, oldest release first, interpreters inside.

    ``releases`` maps a requirement's text to the releases chosen for it, or to the verdict that stands for a project which
    the index would not list. Raises ``UsageProblem`` for two requirements whose combinations could not be told apart.
    """
    ordered = tuple(numbered(_unique(_combos(requirements, releases, interpreters))))
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
        if known.extras != combo.extras:
            names = " and ".join(f"{one.package}[{','.join(one.extras)}]".replace("[]", "") for one in (known, combo))
            raise UsageProblem("--spip-matrix", f"{names} would share their node ids", "name one of them in a run")
        if known.prejudged and not combo.prejudged:
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
        dataclasses.replace(combo, prejudged=verdict) if combo.interpreter in refused and not combo.prejudged else combo
        for combo in combos
    ]


def _combos(
    requirements: Sequence[Requirement],
    releases: Mapping[str, Sequence[Release] | Verdict],
    interpreters: Sequence[Interpreter],
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
                verdict = _prejudge(requirement, release, interpreter)
                ordinal = next(ordinals)
                yield Combo(ordinal, package, release.version, interpreter.id, interpreter.label, extras, verdict)


def _prejudge(requirement: Requirement, release: Release, interpreter: Interpreter) -> Verdict | None:
    """Return the verdict that metadata alone decide, before any work."""
    if interpreter.problem:
        return _skip(Reason.NO_INTERPRETER, interpreter.problem)
    if requirement.marker and not requirement.marker.evaluate(dict(interpreter.markers)):
        return _skip(Reason.EXCLUDED, f"marker {requirement.marker}")
    usable = usable_files(release.files, interpreter)
    if not usable:
        demanded = sorted({file.requires_python for file in release.files})
        return _skip(Reason.REQUIRES_PYTHON, f"Requires-Python {' or '.join(demanded)}")
    if pick_file(usable, interpreter) is None:
        return _skip(Reason.NO_WHEEL, f"no wheel for {interpreter.label} and no sdist among {len(usable)} files")
    return None


def _skip(reason: Reason, detail: str) -> Verdict:
    return Verdict(Outcome.SKIPPED, Phase.PLAN, reason, detail)
