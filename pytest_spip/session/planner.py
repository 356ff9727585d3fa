"""Joins what planning takes: options, indexes, interpreters, the user's project and this machine make a plan."""

from __future__ import annotations

import dataclasses
import datetime
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from pytest_spip.common.cache import cache_root, open_cache
from pytest_spip.common.http import Web
from pytest_spip.errors import IndexProblem, SpipError, UsageProblem
from pytest_spip.model import (
    NTH,
    Combo,
    Interpreter,
    Outcome,
    Phase,
    Plan,
    Reason,
    Release,
    Sandbox,
    Verdict,
)
from pytest_spip.option_values import CONSTRAINT
from pytest_spip.options import Settings
from pytest_spip.plan.index import Listing, list_project
from pytest_spip.plan.interpreters import discover, parse_wanted, probe, select
from pytest_spip.plan.matrix import check_cross, make_plan, numbered, parse_requirement, without_old_pythons
from pytest_spip.plan.sources import user_indexes
from pytest_spip.plan.versions import as_of, choose, parse_policy
from pytest_spip.provision.uv_program import find_uv
from pytest_spip.provision.wanted import Wanted
from pytest_spip.run.server import has_fork_servers
from pytest_spip.session.confinement import find_unconfined, without_unconfined
from pytest_spip.session.sandbox_choice import SandboxChoice

if TYPE_CHECKING:
    from pytest_spip.provision.project import Project

__all__ = ["Planner"]


class Planner:
    """Makes the plan from what the user asked for, the indexes and this machine. Creates nothing but cache entries."""

    def __init__(
        self, settings: Settings, rootdir: Path, environ: Mapping[str, str], choice: SandboxChoice, date: str = ""
    ) -> None:
        self.indexes = user_indexes(environ, rootdir)
        user = self.indexes.settings
        if limits := [text.removeprefix(CONSTRAINT) for text in settings.with_ if text.startswith(CONSTRAINT)]:
            limits = [*user.constraints, *limits]
            self.indexes = dataclasses.replace(
                self.indexes, settings=dataclasses.replace(user, constraints=tuple(limits))
            )
        self.settings = settings = dataclasses.replace(
            settings,
            exclude_newer=settings.exclude_newer or ("" if date else user.exclude_newer),
            resolution=settings.resolution or (user.resolution or "highest",),
        )
        self.date = settings.exclude_newer or date
        self.requirements = [parse_requirement(text) for text in settings.matrix]
        self._wanted = parse_wanted(settings.python)
        self._policy = parse_policy(settings.versions)
        check_cross(self.requirements, self._policy, cross=settings.cross)
        self._environ = environ
        find_uv()
        self._choice = choice
        if settings.runner == "warm" and not has_fork_servers():
            raise UsageProblem("--spip-runner", "there are no fork servers on this system", "use --spip-runner=auto")
        self.cache = open_cache(cache_root(settings.cache, rootdir))
        self.web = Web([*self.indexes.logins, *self.indexes.find_links], trust=self.indexes.trust)
        self.wanted = Wanted(settings.check == "suite", _required(settings), settings.extras, settings.groups)
        self.project: Project | None = None
        self._notes: list[str] = list(user.lines)
        self._lease = self.cache.lease()

    @property
    def sandbox(self) -> Sandbox:
        """The sandbox of the run. Raises ``UsageProblem`` where there is none such as the options wish."""
        return self._choice.sandbox()

    def plan(self, offered: Iterable[str], choose_combos: Callable[[list[Combo], Sequence[Interpreter]], None]) -> Plan:
        """Return the frozen plan; ``offered`` are further interpreters, ``choose_combos`` may change the list in place.

        Raises ``UsageProblem``, also for an index that cannot be read when there is nothing else to do.
        """
        interpreters = self._interpreters(offered)
        refused = find_unconfined(interpreters, self.sandbox, self.cache)
        self._notes += refused.values()
        releases = {str(requirement): self._releases(requirement) for requirement in self.requirements}
        self.project = self._open_project(interpreters)
        draft = make_plan(
            self.requirements,
            releases,
            interpreters,
            resolutions=["" if way == "highest" else way for way in self.settings.resolution],
            cross=self.settings.cross,
            sampled=self._policy == "pairwise",
            wheels_only=self.settings.build == "never",
            exclude_newer=self.settings.exclude_newer,
            notes=self._notes,
        )
        combos = list(draft.combos)
        if self.project:
            combos = without_old_pythons(combos, interpreters, self.project.name, self.project.sdist.requires_python)
        choose_combos(combos, interpreters)
        return dataclasses.replace(draft, combos=tuple(numbered(without_unconfined(combos, refused))))

    def _open_project(self, interpreters: Sequence[Interpreter]) -> Project | None:
        if not self.settings.project:
            return None
        from pytest_spip.provision.project import open_project  # most runs have no project
        from pytest_spip.provision.uv import Uv

        known = [one for one in interpreters if one.path]
        uv = Uv(self.indexes, self.date, environ=self._environ)
        varied = [one.name for one in self.requirements]
        project = open_project(
            Path(self.settings.project),
            self.wanted,
            # Not one of the matrix: what its sdist holds may not depend on which others are planned.
            probe(Path(sys.executable), self.cache) or known[-1],
            self.cache,
            uv,
            interpreters=known,
            varied=varied,
            environ=self._environ,
        )
        if project.is_application:
            self._notes.append(
                f"{project.name} is an application: its suite runs from its checkout, with what it depends on"
            )
        if self.wanted.suite:
            self._notes.append(f"test requirements: {', '.join(project.needs.found) or self._undeclared()}")
        if project.companions:
            names = ", ".join(sorted({one.name for one in project.companions}))
            self._notes.append(f"taken from this machine, as [tool.uv.sources] says: {names}")
        if any(canonicalize_name(one.name) == project.name for one in self.requirements):
            what = f"{project.name} is what the matrix varies, and cannot be its own project"
            raise UsageProblem("--spip-project", what, "leave it out, and use --spip-check=suite")
        return project

    def _undeclared(self) -> str:
        from pytest_spip.provision.declared import requirement_files  # as above

        files = requirement_files(Path(self.settings.project))
        options = [f"--spip-with=@{name}" for name in files] or ["--spip-with", "--spip-extras", "--spip-groups"]
        return f"none are declared; add {' or '.join(options)}"

    @property
    def extra_requirements(self) -> tuple[str, ...]:
        """What a person installs beside the releases, the user's project with its tests' requirements among it."""
        if self.project is None:
            return _required(self.settings)
        needs = self.project.needs
        extras = f"[{','.join(needs.extras)}]" if needs.extras else ""
        return (f"{self.settings.project}{extras}", *needs.requirements, *self.wanted.always(""))

    def considered(self, project: str) -> Sequence[Release]:
        """Return the releases of a dependency that may be chosen; raises ``UnknownPackage`` and ``IndexProblem``."""
        return self._dated(list_project(project, self.indexes, self.web, self.cache).releases, project)

    def close(self) -> None:
        """Give connections and the cache's workshop back."""
        self.web.close()
        self.cache.close()
        self._lease.release()

    def _interpreters(self, offered: Iterable[str]) -> tuple[Interpreter, ...]:
        extra = [*offered, *(wish.path for wish in self._wanted if wish.path)]
        chosen = select(discover(self._environ, self.cache, extra), self._wanted)
        missing = [one for one in chosen if one.problem]
        if missing and self._download(missing):
            chosen = select(discover(self._environ, self.cache, extra), self._wanted)
        found = [one for one in chosen if not one.problem]
        if not found:
            wanted = self.settings.python or "CPython >= 3.8"
            fix = "name one that is installed; 'uv python install' brings more"
            problems = "; ".join(one.problem for one in chosen) or f"no interpreter fits {wanted!r}"
            raise UsageProblem("--spip-python", problems, fix)
        self._notes += [f"{one.problem}: its combinations are skipped" for one in chosen if one.problem]
        self._notes += [f"{one.label} is {one.path}" for one in found if NTH in one.label]
        return chosen

    def _download(self, missing: Sequence[Interpreter]) -> bool:
        """Have uv bring the interpreters that the machine lacks; tell whether it brought one."""
        from pytest_spip.provision.uv import Uv  # hardly a machine lacks one

        uv = Uv(self.indexes, environ=self._environ)
        wishes = [one.id.removeprefix("missing-") for one in missing]
        return any([uv.install_python(wish) for wish in wishes if "/" not in wish])  # noqa: C419  # all are tried

    def _releases(self, requirement: Requirement) -> tuple[Release, ...] | Verdict:
        """Return the releases chosen for a requirement; one bad project among many becomes a verdict of its own.

        Of a cross each project is a part of every combination.
        """
        try:
            return self._chosen(requirement)
        except (UsageProblem, IndexProblem) as error:
            if len(self.requirements) > 1 and not self.settings.cross:
                return Verdict(Outcome.ERROR, Phase.PLAN, Reason.INDEX_ERROR, _first_clause(error))
            if isinstance(error, UsageProblem):
                raise
            raise UsageProblem(
                "--spip-matrix", str(error), "check the network, UV_DEFAULT_INDEX and pip's index-url"
            ) from error

    def _chosen(self, requirement: Requirement) -> tuple[Release, ...]:
        listing = list_project(requirement.name, self.indexes, self.web, self.cache)
        self._notes += listing.notes
        settings, known = self.settings, self._dated(listing.releases, listing.package)
        chosen = choose(known, requirement.specifier, self._policy, pre=settings.pre, yanked=settings.yanked)
        if not chosen and known and all(Version(release.version).is_prerelease for release in known):
            chosen = choose(known, requirement.specifier, self._policy, pre=True, yanked=settings.yanked)
            if chosen:
                self._notes.append(
                    f"all releases of {listing.package} are pre-releases: tried, as pip and uv install one"
                )
        if not chosen:
            raise self._nothing_chosen(requirement, listing, known)
        return chosen

    def _nothing_chosen(self, requirement: Requirement, listing: Listing, known: Sequence[Release]) -> UsageProblem:
        """Return the problem that says why no release of a project is left."""
        name = listing.package
        if not listing.releases:
            said = [note.removeprefix(f"{name}: ") for note in listing.notes if note.startswith(f"{name}: ")]
            what = f"no release of {name} can be installed: {'; '.join(said) or 'its index lists no wheel or sdist'}"
            return UsageProblem("--spip-matrix", what, "check the name and the index")
        if not known:
            date = self.indexes.settings.date_of(name, self.date)
            dates = sorted(file.upload_time for one in listing.releases for file in one.files if file.upload_time)
            what = f"{name} had no release before {date} (the first is of {dates[0] if dates else 'an unknown date'})"
            option = "--spip-exclude-newer" if self.settings.exclude_newer else "the exclude-newer of your uv settings"
            return UsageProblem(option, what, "name a later date")
        fits = [one for one in known if requirement.specifier.contains(one.version, prereleases=True)]
        what = f"none of {len(known)} releases of {name} fits (newest: {known[-1].version})"
        if not fits:
            return UsageProblem("--spip-matrix", what, "widen the specifier")
        options = [
            *(["--spip-pre"] if any(Version(one.version).is_prerelease for one in fits) else ()),
            *(["--spip-yanked"] if any(one.yanked for one in fits) else ()),
        ]
        return UsageProblem(
            "--spip-matrix", what, f"add {' and '.join(options)} for {len(fits)} that the specifier admits"
        )

    def _dated(self, releases: tuple[Release, ...], project: str) -> tuple[Release, ...]:
        """Return the releases that there were at the date that the user named, if any: for the project, or for all."""
        date = self.indexes.settings.date_of(canonicalize_name(project), self.date)
        return as_of(releases, datetime.datetime.fromisoformat(date)) if date else releases


def _required(settings: Settings) -> tuple[str, ...]:
    """Return the further requirements of every environment."""
    return tuple(text for text in settings.with_ if not text.startswith(CONSTRAINT))


def _first_clause(error: SpipError) -> str:
    return error.what if isinstance(error, UsageProblem) else str(error)
