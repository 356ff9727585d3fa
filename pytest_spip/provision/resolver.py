"""Resolutions out of wheels alone: what offers none is built here, offered, and the resolution made again.

uv never builds for us: it passes over a release that offers only an sdist. Its log says which it passed over, in the order of
its looks. The first of them that could have been built is where uv, left to itself, would have built; what it did after that
was second best. So that one is built, and uv asked again, until it passes over nothing that could have been built.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from pytest_spip.common.tags import best_wheel, is_new_enough
from pytest_spip.errors import HarnessProblem, UnknownPackage
from pytest_spip.model import DistFile, Interpreter, Outcome, Phase, Reason, Release, Span, Verdict
from pytest_spip.provision.build_cycles import RING
from pytest_spip.provision.uv import Uv
from pytest_spip.provision.uv_output import Failure

__all__ = ["BuiltWheel", "Releases", "Resolver", "Work", "accepts", "of_dependency"]

ROUNDS = 64
"""Attempts at one resolution: one more than there may be sdists in it that nobody has met before."""

_WHEEL_WORDS = re.compile(r"no (?:usable )?wheels|building[^.]{0,40} is disabled|no source distribution")
"""What uv says where a wheel is what lacks."""
Releases = Callable[[str], Sequence[Release]]
"""Returns the releases of a project that are to be considered; raises ``UnknownPackage`` and ``IndexProblem``."""


@dataclasses.dataclass(frozen=True, slots=True)
class BuiltWheel:
    """A wheel built here. ``builder`` is the interpreter's id, ``fresh`` says whether it was built just now."""

    path: Path
    sha256: str
    builder: str
    fresh: bool


def accepts(filename: str, interpreter: Interpreter) -> bool:
    """Return True if an interpreter can use a wheel, by its tags."""
    return best_wheel([DistFile(filename, "", "wheel", "")], interpreter) is not None


@dataclasses.dataclass(slots=True)
class Work:
    """What a resolution had to build: how many wheels, when, and where all wheels that were offered are."""

    built: int = 0
    spans: list[Span] = dataclasses.field(default_factory=list)
    offered: tuple[Path, ...] = ()


class Resolver:
    """Resolves with wheels that ``build`` makes of sdists.

    Each resolution begins with none: what another one had built would be offered to it by chance of the order.
    """

    def __init__(
        self,
        uv: Uv,
        releases: Releases,
        build: Callable[[str, DistFile, Interpreter], BuiltWheel],
        *,
        wheels_only: bool = False,
    ) -> None:
        self._uv = uv
        self._wheels_only = wheels_only
        self._releases = releases
        self._build = build
        self._listed: dict[str, Sequence[Release]] = {}

    def resolve(
        self,
        requirements: Sequence[str],
        interpreter: Interpreter,
        lock: Path,
        work: Work,
        own: Sequence[BuiltWheel] = (),
        resolution: str = "",
        *,
        for_build: bool = False,
    ) -> None:
        """Write a lock, and what that took to ``work``; ``own`` are wheels built before, ``resolution`` is as in ``Uv.resolve``.

        Raises ``Failure``, also of a build that the resolution needs, and what ``build`` raises.
        """
        known: dict[tuple[str, str], BuiltWheel] = {}
        for _ in range(ROUNDS):
            offered = tuple(wheel.path for wheel in known.values())
            alone = tuple(wheel.path for wheel in own)
            work.offered = (*offered, *alone)
            lock.unlink(missing_ok=True)  # uv would keep to what is locked already
            attempt = self._uv.resolve(
                requirements, interpreter, lock, wheels=offered, alone=alone, resolution=resolution, for_build=for_build
            )
            if attempt.problem and not isinstance(attempt.problem, Failure):
                raise attempt.problem
            wanted = self._buildable(attempt.passed_over, interpreter, known)
            if wanted and self._wheels_only:
                if isinstance(attempt.problem, Failure):
                    raise _no_wheel(attempt.problem, wanted, interpreter)
                return  # with the second best, as an installer that takes wheels alone
            if wanted is None:
                if attempt.problem:
                    raise attempt.problem
                return
            name, sdist = wanted
            known[name, sdist.version] = self._dependency(name, sdist, interpreter, work)
        raise HarnessProblem(f"{', '.join(requirements)}: no resolution after {ROUNDS} rounds")

    def _buildable(
        self, passed_over: Sequence[tuple[str, str]], interpreter: Interpreter, refused: Collection[tuple[str, str]]
    ) -> tuple[str, DistFile] | None:
        """Return the first sdist that could have been used; what was offered and is passed over still is good for nothing."""
        for name, version in passed_over:
            sdist = self._sdist(name, version, interpreter)
            if sdist and (name, sdist.version) not in refused:
                return name, sdist
        return None

    def _sdist(self, name: str, version: str, interpreter: Interpreter) -> DistFile | None:
        try:
            if name not in self._listed:
                self._listed[name] = self._releases(name)
        except UnknownPackage:
            return None
        files = [file for release in self._listed[name] if _equal(release.version, version) for file in release.files]
        sdists = (file for file in files if file.kind == "sdist" and not file.yanked)
        return next((file for file in sdists if is_new_enough(file.requires_python, interpreter.version)), None)

    def _dependency(self, name: str, sdist: DistFile, interpreter: Interpreter, work: Work) -> BuiltWheel:
        at, start = time.time(), time.perf_counter()
        try:
            built = self._build(name, sdist, interpreter)
        except Failure as failure:
            raise of_dependency(failure, name, sdist.version) from failure
        finally:
            work.spans.append(Span(Phase.BUILD.value, at, time.perf_counter() - start))
        work.built += built.fresh
        return built


def _no_wheel(problem: Failure, wanted: tuple[str, DistFile], interpreter: Interpreter) -> Failure:
    """Return what a resolution fails with that needs a wheel of what has none, where none is built."""
    if problem.verdict.reason is not Reason.NO_SOLUTION or not _WHEEL_WORDS.search(problem.output):
        return problem
    name, sdist = wanted
    what = f"{canonicalize_name(name)} {sdist.version} has no wheel for {interpreter.label}"
    detail = f"{what}, and --spip-build=never builds none"
    return Failure(Verdict(Outcome.SKIPPED, Phase.RESOLVE, Reason.NO_WHEEL, detail), problem.output)


def of_dependency(failure: Failure, name: str, version: str) -> Failure:
    """Return the failure of a dependency's build as that of the one who needs it."""
    reason = failure.verdict.detail
    detail = reason if reason.startswith(RING) else f"{canonicalize_name(name)} {version}: {reason}"
    verdict = Verdict(Outcome.FAILED, Phase.BUILD, Reason.DEPENDENCY_BUILD_FAILED, detail)
    return Failure(verdict, failure.output, fresh=failure.fresh, lasting=failure.lasting)


def _equal(one: str, other: str) -> bool:
    try:
        return Version(one) == Version(other)
    except InvalidVersion:
        return one == other
