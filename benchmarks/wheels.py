"""The combinations of a matrix that need no build, with their wheels unpacked."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from benchmarks.commands import UV, run, uv_environment
from benchmarks.matrix import Matrix, Planned, Unmeasurable, planned
from benchmarks.tables import say
from tests.support.interpreters import pythons

__all__ = ["NEWEST", "Unpacked", "unpack", "with_wheels"]

NEWEST = ",".join(list(pythons())[-5:])
"""The five newest Pythons here, as ``--spip-python`` names them."""


@dataclasses.dataclass(frozen=True)
class Unpacked:
    """A combination whose wheel lies unpacked in ``site``, bytecode included."""

    combination: Planned
    site: Path


def with_wheels(asked: Matrix, directory: Path) -> tuple[Matrix, list[Unpacked]]:
    """Return the matrix without the releases that have no wheel for some Python, and the other combinations unpacked."""
    say("looking for wheels")
    plan = planned(asked, directory / "plan")
    unpacked = unpack([each for each in plan if each.path], directory / "unpacked", asked.index_url)
    found = {each.combination.id for each in unpacked}
    without = dict.fromkeys(each.version for each in plan if each.id not in found)
    kept = [each for each in unpacked if each.combination.version not in without]
    if not kept:
        raise Unmeasurable("no release has a wheel for every Python")
    bounds = ",".join(f"!={version}" for version in without)
    return dataclasses.replace(asked, packages=(f"{asked.packages[0]}{bounds}",)), kept


def unpack(combinations: Sequence[Planned], directory: Path, index_url: str) -> list[Unpacked]:
    """Unpack the wheels of the combinations that have one, and leave the others out."""
    env = uv_environment(index_url, directory.parent / "uv-cache")
    unpacked = []
    for each in combinations:
        site = directory / each.id
        how = ["--no-build", "--no-deps", "--compile-bytecode", "--python", str(each.path), "--target", str(site)]
        command = [UV, "pip", "install", "-q", *how, f"{each.package}=={each.version}"]
        if run(command, directory, env).status == 0:
            unpacked.append(Unpacked(each, site))
    return unpacked
