"""Recipes: which requirements, wheels built here and files an environment is made of, for a release, its suite or a project's."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from pytest_spip.common.urls import file_url_to_path
from pytest_spip.errors import HarnessProblem
from pytest_spip.model import (
    Combo,
    DistFile,
    Interpreter,
    Outcome,
    Phase,
    Reason,
    Release,
    StoredWheel,
    Verdict,
)
from pytest_spip.provision.builds import Builder
from pytest_spip.provision.demands import metadata_of
from pytest_spip.provision.local import applies
from pytest_spip.provision.needs import Lacking, Needs, Offer, direct_requirements, pinned
from pytest_spip.provision.project import Companion, Project
from pytest_spip.provision.resolver import BuiltWheel
from pytest_spip.provision.sdists import read_plain
from pytest_spip.provision.standin import STAND_IN, StandIns
from pytest_spip.provision.trees import Source, Trees, installed_suite
from pytest_spip.provision.uv_output import Failure
from pytest_spip.provision.wanted import Wanted

__all__ = ["EnvironmentSpec", "EnvironmentSpecs"]


_ABSENT = re.compile(
    r"No such file or directory: b?['\"]([^'\"]+)|['\"]([^'\"]+)['\"]:? (?:doesn't|does not) exist|cannot find ['\"]?([\w./-]+)"
)
"""How builds speak of files that are not there."""


@dataclasses.dataclass(frozen=True, slots=True)
class EnvironmentSpec:
    """What goes into one environment: requirements, that of the release first, and wheels that were built of what they name.

    ``tests`` are requirements of the tests, and of the user's. ``subject`` is the project whose tests lie in ``source``, if
    there is any; ``extras`` are those of a release that its tests do not need.
    """

    requirements: tuple[str, ...]
    own: tuple[BuiltWheel, ...]
    subject: str
    extras: tuple[str, ...] = ()
    source: Source | None = None
    local: tuple[Companion | Project, ...] = ()
    tests: tuple[str, ...] = ()

    @property
    def asked(self) -> tuple[str, ...]:
        """All requirements."""
        return (*self.requirements, *self.tests)


class EnvironmentSpecs:
    """Writes recipes for what the user wants; with a project its suite is run beside each release."""

    def __init__(self, wanted: Wanted, project: Project | None, builder: Builder, trees: Trees) -> None:
        self._wanted = wanted
        self._project = project
        self._builder = builder
        self._trees = trees
        self._stand_ins = StandIns(builder.cache)

    @property
    def hidden(self) -> frozenset[str]:
        """Projects that are only resolved with, and not installed."""
        return frozenset({STAND_IN, *([self._project.name] if self._project and self._project.is_application else [])})

    @property
    def phase(self) -> Phase | None:
        """What making a spec is counted as: a project is built for it, and an sdist fetched. Else it takes no time."""
        if self._project:
            return Phase.BUILD
        return Phase.FETCH if self._wanted.suite else None

    def spec(
        self, combo: Combo, release: Release, interpreter: Interpreter, wheels: tuple[BuiltWheel, ...]
    ) -> EnvironmentSpec:
        """Return the spec of a combination; ``wheels`` are those of its releases that were built here. Raises ``Failure``."""
        always = self._wanted.always(combo.resolution)
        if self._project:
            return self._of_project(self._project, combo, interpreter, wheels, always)
        if self._wanted.suite:
            needs, source = self._suite(release)
            extras = tuple(sorted({*combo.extras, *needs.extras}))
            own = pinned(combo.package, extras, combo.version, exact=combo.package in combo.exact)
            tests = (*needs.requirements, *always)
            asked = (own, *combo.requirements[1:])
            return EnvironmentSpec(asked, wheels, combo.package, combo.extras, source, tests=tests)
        return EnvironmentSpec(combo.requirements, wheels, combo.package, combo.extras, tests=always)

    def lowered(
        self, spec: EnvironmentSpec, interpreter: Interpreter, subjects: Sequence[tuple[StoredWheel, Sequence[str]]]
    ) -> EnvironmentSpec:
        """Return a spec that asks for what its subjects, with these extras, require: ``lowest-direct`` lowers only that.

        What the tests require must not be lowered, so it is required by a wheel of ours, which is not installed.
        """
        direct: dict[str, None] = {}
        for wheel, extras in subjects:
            direct |= dict.fromkeys(direct_requirements(metadata_of(wheel), extras, dict(interpreter.markers)))
        requirements = (*spec.requirements, *direct)
        if not spec.tests:
            return dataclasses.replace(spec, requirements=requirements)
        own = (self._stand_ins.wheel(spec.tests), *spec.own)
        return dataclasses.replace(spec, requirements=(*requirements, STAND_IN), own=own, tests=())

    def tree(self, spec: EnvironmentSpec, wheels: Collection[StoredWheel]) -> tuple[Path, tuple[str, ...]]:
        """Return the tree that a suite sees, and the words by which pytest finds it where it is installed.

        Those are for a release's own suite alone: a project's is what pytest finds in its checkout.
        """
        assert spec.source is not None, "asked for where there is a suite"
        if self._project and self._project.is_application:
            return spec.source.tree, ("-o", f"pythonpath={self._project.paths}")
        wheel = next(one for one in wheels if one.name == spec.subject)
        tree = self._trees.overlaid(spec.source.tree, spec.source.below, wheel)
        return tree, () if self._project else installed_suite(tree, wheel)

    def check(self, spec: EnvironmentSpec, wheels: Collection[StoredWheel]) -> None:
        """Raise ``HarnessProblem`` for a resolution that took a project from an index instead of what was built here."""
        built = {wheel.sha256 for wheel in spec.own}
        local = {one.name for one in spec.local}
        for wheel in wheels:
            if wheel.name in local and wheel.sha256 not in built:
                raise HarnessProblem(f"uv took another {wheel.name} {wheel.version} than that of this machine")
        if self._project and self._project.name not in {*self.hidden, *(wheel.name for wheel in wheels)}:
            raise HarnessProblem(f"uv took no {self._project.name}")

    def _of_project(
        self,
        project: Project,
        combo: Combo,
        interpreter: Interpreter,
        wheels: tuple[BuiltWheel, ...],
        always: tuple[str, ...],
    ) -> EnvironmentSpec:
        extra_requirements = [one for one in project.companions if applies(one.marker, [interpreter])]
        companions = tuple(self._local(one.name, one.file, interpreter) for one in extra_requirements)
        built = self._local(project.name, project.sdist, interpreter)
        needs = project.needs
        named = pinned(project.name, needs.extras, project.version)
        asked = (*combo.requirements, named)
        tests = (*needs.requirements, *always)
        source = Source(project.source, project.place)
        own = (*wheels, *companions, built)
        return EnvironmentSpec(asked, own, project.name, (), source, (*extra_requirements, project), tests)

    def _local(self, name: str, file: DistFile, interpreter: Interpreter) -> BuiltWheel:
        """Return the wheel of a project of this machine."""
        if file.kind == "wheel":
            return BuiltWheel(file_url_to_path(file.url), file.sha256, interpreter.id, fresh=False)
        try:
            return self._builder.wheel(name, file, interpreter)
        except Failure as failure:
            detail = f"{name}: {failure.verdict.detail}{self._lacking(name, failure)}"
            verdict = dataclasses.replace(failure.verdict, detail=detail)
            raise Failure(verdict, failure.output, fresh=failure.fresh) from failure

    def _lacking(self, name: str, failure: Failure) -> str:
        """Return what to say of a file that a build of the project missed: the checkout has it, and the sdist does not."""
        if not self._project or name != self._project.name:
            return ""
        source = Source(self._project.source, self._project.place)
        for groups in _ABSENT.findall(f"{failure.verdict.detail}\n{failure.output}"):
            parts = Path("".join(groups)).parts
            for start in range(len(parts)):
                path = Path(*parts[start:])
                if not path.is_absolute() and (source.tree / source.below / path).is_file():
                    return f" ({path} is in the checkout and not in the sdist: add 'include {path}' to MANIFEST.in)"
        return ""

    def _suite(self, release: Release) -> tuple[Needs, Source]:
        """Return what a release's tests need, and its sdist unpacked."""
        sdists = sorted((file for file in release.files if file.kind == "sdist"), key=lambda file: file.yanked)
        if not sdists:
            what = f"{release.version} has no sdist, and so no tests that could be run"
            raise Failure(Verdict(Outcome.SKIPPED, Phase.PLAN, Reason.EXCLUDED, what), "")
        sdist, archive = self._builder.fetch(sdists[0])
        source = self._trees.unpacked(archive, sdist.sha256)
        try:
            needs = Offer(_text(source / "PKG-INFO"), _text(source / "pyproject.toml")).leniently(self._wanted)
            return needs, Source(source, _stem(sdist.filename))
        except Lacking as lacking:
            what = f"{sdist.filename}: {lacking.what}"
            raise Failure(Verdict(Outcome.SKIPPED, Phase.RESOLVE, Reason.NO_SOLUTION, what), "") from lacking


def _stem(filename: str) -> str:
    """Return the name of an sdist's top directory."""
    return filename.removesuffix(".zip").removesuffix(".tar.gz")


def _text(path: Path) -> str:
    """Return a file's text; nothing where there is none that can be read."""
    try:
        return read_plain(path).decode("utf-8", "replace")
    except ValueError:
        return ""
