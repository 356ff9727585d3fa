"""What a run's workers and its provisioning must know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pytest_spip.model import BuildPolicy, Check, Limits, Plan
from pytest_spip.options import Settings
from pytest_spip.provision.recall import ProvisionInputs, Recall
from pytest_spip.provision.turns import at_once
from pytest_spip.session.planner import Planner
from pytest_spip.session.repeated_options import index_options, limited_names, our_options, uv_suffices
from pytest_spip.session.run_places import RunPlaces
from pytest_spip.session.slots import Device
from pytest_spip.session.worker_spec import WorkerSpec

if TYPE_CHECKING:
    from pytest_spip.provision.maker import EnvironmentMaker
    from pytest_spip.session.shared_run import SharedRun

__all__ = ["environment_maker", "limits_of", "provision_inputs", "worker_spec"]


def limits_of(settings: Settings) -> Limits:
    """Return the limits of a combination."""
    return Limits(timeout=settings.timeout, memory=settings.memory, inactivity=settings.inactivity)


def worker_spec(
    planner: Planner,
    places: RunPlaces,
    *,
    run: str,
    session: int,
    closures: Mapping[str, str],
    slots: Mapping[str, tuple[Device, ...]],
    expected: str,
    reuses: bool,
) -> WorkerSpec:
    """Return what the workers of a session of a run need.

    ``closures`` are files of import closures by interpreter, ``expected`` the file of what passes in the run to compare with, if
    any; ``reuses`` if earlier verdicts may stand.
    """
    settings = planner.settings
    return WorkerSpec(
        database=str(places.directory.database),
        workers=str(places.directory.workers),
        replica=str(places.replica),
        room=str(places.root.path),
        run=run,
        session=session,
        cache=str(planner.cache.root),
        check=Check(settings.check, settings.command),
        extra_requirements=planner.extra_requirements,
        project=settings.project,
        limits=limits_of(settings),
        runner=settings.runner,
        sandbox=planner.sandbox,
        closures=closures,
        exclude_newer=settings.exclude_newer,
        index_options=index_options(planner.indexes),
        ours=our_options(settings),
        outside=uv_suffices(planner.indexes),
        limited=limited_names(planner.indexes),
        slots=slots,
        builds=_build_policy(settings),
        expected=expected,
        reusable=str(places.reusable) if reuses else "",
        own=str(places.own) if planner.sandbox.level < 3 else "",
    )


def provision_inputs(planner: Planner, places: RunPlaces, plan: Plan, shared: SharedRun | None) -> ProvisionInputs:
    """Return what provisioning needs."""
    return ProvisionInputs(
        plan,
        planner.cache,
        planner.web,
        planner.indexes,
        planner.sandbox.level,
        planner.considered,
        check=planner.settings.check_text,
        locks=places.directory.locks,
        wanted=planner.wanted,
        project=planner.project,
        policy=_build_policy(planner.settings),
        turn=shared.build_turns(planner.cache.root) if shared else at_once,
    )


def environment_maker(planner: Planner, places: RunPlaces, recall: Recall) -> EnvironmentMaker:
    """Return what makes the environments that are not remembered, in sandboxes of the run's level."""
    from pytest_spip.provision.maker import EnvironmentMaker  # a run that remembers all makes none
    from pytest_spip.run.confine import BuildSandboxes

    cold = planner.settings.runner == "cold"
    sandboxes = BuildSandboxes(planner.sandbox, places.root.path / "build-view", planner.cache, cold=cold)
    return EnvironmentMaker(recall, sandboxes)


def _build_policy(settings: Settings) -> BuildPolicy:
    return BuildPolicy(settings.build == "never", settings.build_timeout, settings.build_memory)
