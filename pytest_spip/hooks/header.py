"""The header's words on what is planned."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pytest_spip.common.plural import plural
from pytest_spip.common.tags import needs_build
from pytest_spip.model import Combo, Plan
from pytest_spip.report.grid import HIGHEST

__all__ = ["builds_line", "matrix_line"]


def matrix_line(plan: Plan) -> str:
    """Return ``47 of colorama x 5 Pythons (...) = 235 combinations``, and what was left out of a cross."""
    releases: dict[str, set[str]] = {}
    for combo in plan.combos:
        for package, version in combo.releases:
            releases.setdefault(package, set()).add(version)
    crossed = any(combo.others for combo in plan.combos)
    what = (" x " if crossed else ", ").join(f"{len(versions)} of {package}" for package, versions in releases.items())
    pythons = " ".join(one.label for one in plan.interpreters)
    ways = list(dict.fromkeys(combo.resolution for combo in plan.combos))
    axis = f" x {len(ways)} resolutions ({' '.join(way or HIGHEST for way in ways)})" if any(ways) else ""
    all_of = math.prod(map(len, releases.values())) * len(plan.interpreters) * len(ways)
    count = plural(len(plan.combos), "combination")
    if crossed and len(plan.combos) < all_of:
        count = f"{len(plan.combos)} of {plural(all_of, 'combination')}"
    return f"{what} x {plural(len(plan.interpreters), 'Python')} ({pythons}){axis} = {count}"


def builds_line(plan: Plan, missing: Sequence[Combo]) -> list[str]:
    """Return how many of the combinations that are left to run are built from sdists, if any are."""
    interpreters = {one.id: one for one in plan.interpreters}
    releases = {(one.package, one.version): one for one in plan.releases}
    needed = sum(
        any(
            needs_build(releases[name], interpreters[combo.interpreter])
            for name in combo.releases
            if name in releases  # what an earlier session provisioned is not listed again
        )
        for combo in missing
        if not combo.plan_verdict
    )
    if not needed:
        return []
    what = f"{needed} of {len(missing)} have no wheel and are built from sdists, after all others"
    return [f"{what}; --spip-build=never leaves them out"]
