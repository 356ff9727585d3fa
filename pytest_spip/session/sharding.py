"""``--spip-shard``: which part of a plan this job runs, by what combinations cost in earlier runs."""

from __future__ import annotations

from pathlib import Path

from pytest_spip.dispatch.shards import Part, part_of
from pytest_spip.model import Combo, Plan
from pytest_spip.options import Settings
from pytest_spip.record.costs import Costs, estimate, remembered
from pytest_spip.record.rundir import HOME

__all__ = ["cost_of", "elsewhere_of"]

PLAN_VERDICT = 0.0005
"""Seconds that a combination takes in a worker which the plan decided."""


def cost_of(combo: Combo, costs: Costs) -> float:
    """Return the seconds that a combination will take in a worker, as far as earlier runs tell."""
    return PLAN_VERDICT if combo.plan_verdict else estimate(combo, costs).seconds


def elsewhere_of(plan: Plan, settings: Settings, rootdir: Path) -> frozenset[int]:
    """Return the ordinals of a plan that other shards run; none without ``--spip-shard``."""
    if settings.shard is None:
        return frozenset()
    number, count = settings.shard
    # Shards that have run here already are not asked: the next one must come to the same parts.
    costs = remembered(rootdir / HOME / "runs", settings.check_text, shards=False)
    units = [Part(combo.id, "+".join(map("==".join, combo.releases)), cost_of(combo, costs)) for combo in plan.combos]
    own = part_of(units, number, count)
    return frozenset(combo.ordinal for place, combo in enumerate(plan.combos) if place not in own)
