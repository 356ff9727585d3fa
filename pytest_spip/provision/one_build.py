"""One build of one sdist, for one interpreter: in a sandbox of its own, or in one whose backend is loaded already.

A loaded backend is forked, which spares most of what a build takes. What does not come out well there says nothing: it is built
again, from the archive on, by programs of its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from pytest_spip.common.trees import remove_tree
from pytest_spip.errors import BadWheel, HarnessProblem
from pytest_spip.model import DistFile, Interpreter, Limits, Outcome, Phase, Reason, Verdict
from pytest_spip.provision.backends import Backends, Requirements, asks_for_more
from pytest_spip.provision.confined import Confine, Confined
from pytest_spip.provision.hooks import BuildDirectories, Hooks
from pytest_spip.provision.resolver import accepts
from pytest_spip.provision.sdists import BuildSystem, build_system, unpack_sdist
from pytest_spip.provision.unpacking import check_wheel
from pytest_spip.provision.uv_output import Failure

__all__ = ["Build", "Tools"]

PRIVATE_BELOW = 2
"""The first level of sandboxes in which a build cannot change the environment that it shares with others."""
LOADED = ("setuptools.build_meta", "setuptools.build_meta:__legacy__")
"""Backends that take long to load, and do nothing then that depends on what they are to build."""


@dataclasses.dataclass(frozen=True, slots=True)
class Tools:
    """What builds are made with: sandboxes, ``slots`` of them at once, the user's variables, and bounds of each program."""

    confine: Confine
    slots: threading.BoundedSemaphore
    environ: Mapping[str, str]
    limits: Limits


class Build:
    """Makes the wheel of an sdist in the directory ``target``, with the build's own directories beside that one."""

    def __init__(
        self,
        archive: Path,
        project: str,
        sdist: DistFile,
        interpreter: Interpreter,
        target: Path,
        backends: Backends,
        tools: Tools,
    ) -> None:
        self._archive = archive
        self._project = project
        self._sdist = sdist
        self._interpreter = interpreter
        self._target = target
        self._backends = backends
        self._tools = tools
        self.requirements: list[tuple[Sequence[str], str]] = []
        """What the build required, with the identity of what that resolved to."""

    def wheel(self) -> Path:
        """Return the wheel; raises ``Failure``, and what says nothing about the sdist."""
        directories = BuildDirectories(self._target.parent / "directories")
        source = unpack_sdist(self._archive, directories.source)
        system = build_system(source)
        environment = self._environment(system.requires)
        more: Sequence[str] = ()
        if asks_for_more(source, system, environment):
            with self._hooks(source, system, directories, environment) as hooks:
                more = hooks.requires()
                if not more:
                    return self._checked(hooks)
            environment = self._environment((*system.requires, *more))
        elif self._tools.confine.forks and system.backend in LOADED:
            with contextlib.suppress(Failure, HarnessProblem, OSError):
                return self._forked(source, system, directories, environment)
            source = unpack_sdist(self._archive, directories.source)
        with self._hooks(source, system, directories, environment) as hooks:
            return self._checked(hooks)

    def _environment(self, requires: Sequence[str]) -> Path:
        found: Requirements = self._backends.requirements(requires, self._interpreter)
        self.requirements.append((requires, found.identity))
        return self._backends.environment(found, self._interpreter)

    def _checked(self, hooks: Hooks) -> Path:
        wheel = hooks.wheel(self._target)
        _check_identity(wheel.name, self._project, self._sdist, self._interpreter)
        _check_wheel(wheel, self._sdist)
        return wheel

    def _forked(self, source: Path, system: BuildSystem, unpacked: BuildDirectories, environment: Path) -> Path:
        """Build by a fork of a loaded backend. Whatever it raises for a reason says nothing then."""
        place = environment.resolve()
        kept = self._tools.confine.kept(self._interpreter.path, environment=str(place), write=BuildDirectories.NAMES)
        try:
            with self._tools.slots, kept as run:
                directories = BuildDirectories(run.root)
                os.rename(unpacked.source, directories.source)
                moved = directories.source / source.relative_to(unpacked.source)
                try:
                    return self._checked(self._hooks_in(moved, system, directories, place, run))
                except Failure as error:  # the sandbox can still be used
                    failure = error
            raise failure
        except (Failure, HarnessProblem, OSError):
            remove_tree(unpacked.source)
            for left in self._target.glob("*.whl"):
                left.unlink()
            raise

    @contextlib.contextmanager
    def _hooks(
        self, source: Path, system: BuildSystem, directories: BuildDirectories, environment: Path
    ) -> Iterator[Hooks]:
        """Open a sandbox around a build; requirements are had before, for to have them others may have to be built."""
        tools, place = self._tools, environment.resolve()
        if tools.confine.level < PRIVATE_BELOW:
            place = directories.own(place)
        with (
            tools.slots,
            tools.confine(self._interpreter.path, environment=str(place), write=directories.writable) as run,
        ):
            yield self._hooks_in(source, system, directories, place, run)

    def _hooks_in(
        self, source: Path, system: BuildSystem, directories: BuildDirectories, environment: Path, run: Confined
    ) -> Hooks:
        python, tools = str(environment / "bin" / "python"), self._tools
        return Hooks(source, system, directories, python, run, environ=tools.environ, limits=tools.limits)


def _check_identity(filename: str, project: str, sdist: DistFile, interpreter: Interpreter) -> None:
    """An sdist must build the project and version it is named after, in a form its builder can use."""
    detail = f"{sdist.filename} builds {filename}"
    try:
        name, version, _, _ = parse_wheel_filename(filename)
    except InvalidWheelFilename:
        raise _bad_metadata(detail) from None
    if (name, version) != (canonicalize_name(project), Version(sdist.version)):
        raise _bad_metadata(detail)
    if not accepts(filename, interpreter):
        raise _bad_metadata(f"{detail}, which does not fit {interpreter.label}")


def _check_wheel(wheel: Path, sdist: DistFile) -> None:
    """A wheel is offered to uv before the store sees it, so it is looked at here."""
    try:
        check_wheel(wheel)
    except BadWheel as error:
        raise _bad_metadata(f"{sdist.filename} builds {error}") from error


def _bad_metadata(detail: str) -> Failure:
    return Failure(Verdict(Outcome.FAILED, Phase.BUILD, Reason.BAD_METADATA, detail), detail)
