"""Provisioning as tests do it: a plan of all that an index lists, and what came of each combination."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import pytest
from packaging.specifiers import SpecifierSet

from pytest_spip.model import (
    BuildPolicy,
    Environment,
    Indexes,
    Interpreter,
    Outcome,
    Phase,
    Plan,
    Provisioned,
    Ready,
    Reason,
    Span,
    Verdict,
)
from pytest_spip.plan.index import list_project
from pytest_spip.plan.matrix import make_plan, parse_requirement
from pytest_spip.plan.versions import choose
from pytest_spip.provision.maker import EnvironmentMaker
from pytest_spip.provision.project import Project
from pytest_spip.provision.provisioner import Provisioner
from pytest_spip.provision.recall import ProvisionInputs, Recall
from pytest_spip.provision.wanted import Wanted
from tests.support.supply import Supply

__all__ = ["End", "Made", "judged", "planned", "provisioned", "provisioner", "the"]


class End(NamedTuple):
    """What provisioning one combination ended with, to look at: an environment or a verdict, and what was done for it."""

    environment: Environment | None
    verdict: Verdict | None
    output: str
    spans: tuple[Span, ...]
    phases: Mapping[str, float]
    work: Mapping[str, int]

    @classmethod
    def of(cls, done: Provisioned) -> End:
        """Return the end of a combination."""
        rest = done.spans, done.phases, done.work
        if isinstance(done, Ready):
            return cls(done.environment, None, "", *rest)
        return cls(None, done.verdict, done.output, *rest)


Made = dict[str, End]
NOTHING_MORE = Wanted()
USUAL = BuildPolicy()


def planned(
    supply: Supply,
    *texts: str,
    interpreters: Sequence[Interpreter] = (),
    indexes: Indexes | None = None,
    wheels_only: bool = False,
) -> Plan:
    """Plan every release of some projects, for the running interpreter if no others are named."""
    wanted = [parse_requirement(text) for text in texts or ("demo",)]
    releases = {}
    for one in wanted:
        listing = list_project(one.name, indexes or supply.indexes(), supply.web(), supply.cache)
        releases[str(one)] = choose(listing.releases, SpecifierSet(), "all", pre=False, yanked=False)
    return make_plan(wanted, releases, interpreters or (supply.here(),), wheels_only=wheels_only)


def provisioner(
    supply: Supply,
    plan: Plan,
    on_ready: Callable[[Sequence[Provisioned]], None],
    indexes: Indexes | None = None,
    wanted: Wanted = NOTHING_MORE,
    project: Project | None = None,
    policy: BuildPolicy = USUAL,
    on_fault: Callable[[str], None] = pytest.fail,
    **web: object,
) -> Provisioner:
    """Make a provisioner that keeps the locks in ``kept``."""
    indexes = indexes or supply.indexes()
    locks = supply.root / "kept"
    locks.mkdir(exist_ok=True)
    confine = supply.confine()
    inputs = ProvisionInputs(
        plan,
        supply.cache,
        supply.web(**web),
        indexes,
        confine.level,
        supply.releases(indexes),
        check="suite" if wanted.suite else "import",
        locks=locks,
        wanted=wanted,
        project=project,
        policy=policy,
    )
    recall = Recall(inputs)
    return Provisioner(recall, lambda: EnvironmentMaker(recall, confine), on_ready, on_fault)


def provisioned(supply: Supply, plan: Plan | None = None, indexes: Indexes | None = None, **how: object) -> Made:
    """Provision a plan to its end and return what came of each combination, in its order; each must come once.

    ``how`` is what :func:`provisioner` takes.
    """
    plan = plan or planned(supply, indexes=indexes)
    made: list[Provisioned] = []
    complete = threading.Event()

    def on_ready(done: Sequence[Provisioned]) -> None:
        made.extend(done)
        if len(made) >= len(plan.combos):
            complete.set()

    pool = provisioner(supply, plan, on_ready, indexes, **how)  # type: ignore[arg-type]  # passed on
    pool.start(plan.combos)
    assert complete.wait(60)
    pool.stop()
    assert sorted(done.ordinal for done in made) == [combo.ordinal for combo in plan.combos]
    return {plan.combos[done.ordinal].id: End.of(done) for done in sorted(made, key=lambda done: done.ordinal)}


def the(made: Made) -> End:
    """Return the only one."""
    (done,) = made.values()
    return done


def judged(done: End) -> tuple[Outcome, Phase, Reason | None]:
    """Return the verdict of one that has no environment."""
    assert done.environment is None
    assert done.verdict is not None
    return done.verdict.outcome, done.verdict.phase, done.verdict.reason
