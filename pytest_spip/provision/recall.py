"""What earlier runs provisioned, found again: all that a run needs of which nothing has to be made."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_spip.common.cache import Cache
from pytest_spip.common.http import Web
from pytest_spip.common.tags import best_wheel, usable_files
from pytest_spip.common.trees import share_file
from pytest_spip.model import (
    BuildPolicy,
    Combo,
    DistFile,
    Environment,
    Indexes,
    Interpreter,
    Plan,
    Ready,
    Release,
    digest,
)
from pytest_spip.provision.provision_cache import ProvisionCache, Remembered
from pytest_spip.provision.store import WheelStore
from pytest_spip.provision.turns import Turn, at_once
from pytest_spip.provision.uv_program import places_of
from pytest_spip.provision.wanted import Wanted

if TYPE_CHECKING:
    from pytest_spip.provision.project import Project
    from pytest_spip.provision.resolver import Releases

__all__ = ["HARNESS_VERSION", "ProvisionInputs", "Recall"]

HARNESS_VERSION = 7
"""Part of every fingerprint: raise it when what we do in an environment could change a verdict."""
NOTHING_MORE = Wanted()
USUAL = BuildPolicy()


@dataclasses.dataclass(frozen=True, slots=True)
class ProvisionInputs:
    """What provisioning works with. ``releases`` lists those of any project, ``level`` is how strong builds' sandboxes are.

    ``check`` is part of fingerprints; locks are kept in the directory ``locks``. ``wanted`` and ``project`` are what environments
    hold beside a release. ``turn`` is held while something is built.
    """

    plan: Plan
    cache: Cache
    web: Web
    indexes: Indexes
    level: int
    releases: Releases
    check: str
    locks: Path
    wanted: Wanted = NOTHING_MORE
    project: Project | None = None
    policy: BuildPolicy = USUAL
    turn: Turn = at_once

    @property
    def date(self) -> str:
        """The instant that the index is seen as of."""
        return self.plan.exclude_newer


class Recall:
    """Returns the environments that are remembered, and remembers more, in whatever thread it is asked."""

    def __init__(self, inputs: ProvisionInputs) -> None:
        self.inputs = inputs
        self.interpreters: Mapping[str, Interpreter] = {one.id: one for one in inputs.plan.interpreters}
        self._releases = {(one.package, one.version): one for one in inputs.plan.releases}
        project = inputs.project.identity if inputs.project else ""
        wanted = digest(dataclasses.asdict(inputs.wanted), project)
        circumstances = places_of(inputs.indexes), inputs.date, inputs.level, wanted, inputs.policy.never
        ages = not (inputs.date or inputs.indexes.offline)
        self._provision_cache = ProvisionCache(inputs.cache, WheelStore(inputs.cache), circumstances, ages=ages)

    def learn(self, combo: Combo, it: Remembered, needs: Sequence[str]) -> None:
        """Remember what was made for a combination; ``needs`` are files without which its lock would be made again."""
        self._provision_cache.learn(combo, self.interpreters[combo.interpreter], self.chosen(combo), it, needs)

    def save(self) -> None:
        """Remember, for runs to come, what was made."""
        with contextlib.suppress(OSError):  # then the next run takes longer
            self._provision_cache.save()

    def recalled(self, combo: Combo) -> Ready | None:
        """Return what an earlier run made of a combination, if all of that is still there."""
        try:
            return self._recalled(combo)
        except Exception:  # it is raised again, and becomes the combination's verdict, when it is provisioned
            return None

    def _recalled(self, combo: Combo) -> Ready | None:
        interpreter = self.interpreters[combo.interpreter]
        known = self._provision_cache.find(combo, interpreter, self.chosen(combo))
        if known is None:
            return None
        try:
            self.keep(combo, known.lock)
        except OSError:  # the lock is gone
            return None
        return Ready(combo.ordinal, self.filled(combo, known))

    def has_wheels(self, combo: Combo) -> bool:
        """Return True if no release of a combination has to be built."""
        interpreter = self.interpreters[combo.interpreter]
        try:
            return all(best_wheel(self.files(one, interpreter), interpreter) for one in self.chosen(combo))
        except Exception:  # as above
            return False

    def chosen(self, combo: Combo) -> tuple[Release, ...]:
        """Return the releases of a combination."""
        return tuple(self._releases[named] for named in combo.releases)

    def files(self, release: Release, interpreter: Interpreter) -> tuple[DistFile, ...]:
        """Return the files of a release that an interpreter may use."""
        return usable_files(release.files, interpreter)

    def keep(self, combo: Combo, lock: str) -> None:
        """Keep the lock with the run."""
        share_file(lock, f"{self.inputs.locks}/{combo.lock_name}")

    def filled(self, combo: Combo, it: Remembered) -> Environment:
        """Return the environment that a lock's wheels fill, beside a tree."""
        wheels = tuple(wheel.within(self.interpreters[combo.interpreter].library) for wheel in it.wheels)
        hashes = [wheel.sha256 for wheel in wheels]
        hashes = hashes if it.replaces else sorted(hashes)
        tree = [Path(it.tree).name, it.place] if it.tree else []
        releases = [list(release) for release in combo.releases]  # whose modules are imported
        settings = self.inputs.indexes.settings.identity
        fingerprint = digest(
            combo.interpreter, releases, hashes, self.inputs.check, HARNESS_VERSION, *tree, *it.suite, *settings
        )
        warnings = dict.fromkeys((*it.warnings, *(text for wheel in wheels for text in wheel.warnings)))
        return Environment(wheels, fingerprint, it.lock, it.tree, it.suite, tuple(warnings), it.place, it.replaces)
