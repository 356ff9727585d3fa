"""Wheels that tests add to their environments: joins plan, provision and run in a worker, when the first test asks for some."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from pytest_spip.common.cache import Cache
from pytest_spip.common.http import Web
from pytest_spip.errors import InstallFailed, SpipError, UsageProblem
from pytest_spip.model import Combo, Environment, Interpreter, Plan, Release
from pytest_spip.plan.index import list_project
from pytest_spip.plan.sources import user_indexes
from pytest_spip.plan.versions import as_of
from pytest_spip.provision.maker import EnvironmentMaker
from pytest_spip.provision.recall import ProvisionInputs, Recall
from pytest_spip.provision.uv_output import Failure
from pytest_spip.run.confine import BuildSandboxes
from pytest_spip.session.worker_spec import WorkerSpec

__all__ = ["Additions"]


class Additions:
    """Resolves and files further requirements as the run's provisioning does: same indexes, date, cache and sandboxes."""

    def __init__(self, spec: WorkerSpec, worker: str, rootdir: Path, interpreters: Sequence[Interpreter]) -> None:
        self._cache = Cache(Path(spec.cache))
        self._date = spec.exclude_newer
        self._indexes = user_indexes(os.environ, rootdir)
        self._web = Web([*self._indexes.logins, *self._indexes.find_links], trust=self._indexes.trust)
        view, cold = Path(spec.room) / f"build-view-{worker}", spec.runner == "cold"
        sandboxes = BuildSandboxes(spec.sandbox, view, self._cache, cold=cold)
        recall = Recall(
            ProvisionInputs(
                Plan((), tuple(interpreters), (), self._date),
                self._cache,
                self._web,
                self._indexes,
                spec.sandbox.level,
                self._considered,
                check="",
                locks=Path(spec.room),
                policy=spec.builds,
            )
        )
        self._maker = EnvironmentMaker(recall, sandboxes)

    def extended(self, combo: Combo, environment: Environment, requirements: Sequence[str]) -> Environment:
        """Return an environment with what it lacks for requirements. What is there stays as it is.

        Raises ``UsageProblem`` for what is no requirement, ``InstallFailed`` for what cannot be had.
        """
        for text in requirements:
            _check(text)
        try:
            return self._maker.extended(combo, environment, requirements)
        except Failure as failure:
            output = f"\n{failure.output.rstrip()}" if failure.output.strip() else ""
            raise InstallFailed(f"{', '.join(requirements)}: {failure.verdict.detail}{output}") from failure
        except (SpipError, OSError) as error:
            raise InstallFailed(f"{', '.join(requirements)}: {error}") from error

    def close(self) -> None:
        """Give connections and pools back."""
        self._maker.stop()
        self._web.close()
        self._cache.release()

    def _considered(self, project: str) -> Sequence[Release]:
        releases = list_project(project, self._indexes, self._web, self._cache).releases
        date = self._indexes.settings.date_of(canonicalize_name(project), self._date)
        return as_of(releases, datetime.datetime.fromisoformat(date)) if date else releases


def _check(text: str) -> None:
    try:
        Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        raise UsageProblem(
            "spip_env.install", f"{text!r} is no requirement ({reason})", "write it like 'attrs>=20'"
        ) from error
