"""What combinations cost in earlier runs, and by that what they will cost in this one."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import sqlite3
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

from pytest_spip.model import Combo
from pytest_spip.record.rows import others
from pytest_spip.record.rundb import VERSION

__all__ = ["IMPORT", "PER_BYTE", "Cost", "Costs", "Key", "estimate", "remembered"]

IMPORT = 0.010
"""Seconds of an import check of which nothing is known."""
PER_BYTE = 8e-9
"""Seconds that a byte of wheels adds to it: 8 ms a MB."""
NEWEST = """
SELECT package, version, interpreter, others, resolution, CAST(coalesce(measured, seconds) AS REAL), CAST(peak_rss AS INTEGER)
FROM ledger JOIN plan USING (ordinal)
LEFT JOIN (
    SELECT ordinal, sum(seconds) AS measured FROM phase WHERE phase IN ('run', 'compose') GROUP BY ordinal
) USING (ordinal)
WHERE ledger.phase IN ('import', 'test') AND outcome != 'error'
"""
_T = TypeVar("_T")


class Key(NamedTuple):
    """What distinguishes combinations, also those of different runs: the fields of ``Combo``, ``interpreter`` being its id."""

    package: str
    version: str
    interpreter: str
    others: tuple[tuple[str, str], ...] = ()
    resolution: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of a worker, and bytes of memory at the peak; 0 bytes where they are not known."""

    seconds: float
    peak_rss: int = 0


@dataclasses.dataclass(frozen=True)
class Costs:
    """Costs by combination, and gathered from these, where they are asked for, by what combinations have in common.

    Of seconds the median counts, of memory the most: too little of it ends what runs.
    """

    exact: Mapping[Key, Cost]

    @functools.cached_property
    def by_releases(self) -> Mapping[tuple[str, str, tuple[tuple[str, str], ...]], Cost]:
        """What a version costs, with the same others beside it, on the interpreters and resolutions that are known."""
        return _gathered(((key.package, key.version, key.others), cost) for key, cost in self.exact.items())

    @functools.cached_property
    def by_version(self) -> Mapping[tuple[str, str], Cost]:
        """What a version costs, whatever is beside it."""
        return _gathered(((key.package, key.version), cost) for key, cost in self.exact.items())

    @functools.cached_property
    def by_package(self) -> Mapping[str, Cost]:
        """What a version of a package costs."""
        return _gathered((key.package, cost) for key, cost in self.exact.items())


def _gathered(costs: Iterable[tuple[_T, Cost]]) -> dict[_T, Cost]:
    groups: dict[_T, list[Cost]] = {}
    for name, cost in costs:
        groups.setdefault(name, []).append(cost)
    return {name: _typical(group) for name, group in groups.items()}


def _typical(costs: list[Cost]) -> Cost:
    return Cost(statistics.median(cost.seconds for cost in costs), max(cost.peak_rss for cost in costs))


def estimate(combo: Combo, costs: Costs, wheel_bytes: int = 0) -> Cost:
    """Return what a combination will cost: what it did, else its releases, version or package; else by its wheels' bytes."""
    key = Key(combo.package, combo.version, combo.interpreter, combo.others, combo.resolution)
    return (
        costs.exact.get(key)
        or costs.by_releases.get((combo.package, combo.version, combo.others))
        or costs.by_version.get((combo.package, combo.version))
        or costs.by_package.get(combo.package)
        or Cost(IMPORT + PER_BYTE * wheel_bytes)
    )


def remembered(runs: Path, check: str, limit: int = 5, *, shards: bool = True) -> Costs:
    """Return what the newest finished runs with that check measured; ``runs`` is ``.spip/runs`` of a root directory.

    Of seconds the newest counts, of memory the most. Seconds are those of composing and running, where telemetry has
    them, else those of the check alone; what never came to run has none. Damaged and foreign files are passed over, and
    ``shards`` too, unless they are wanted.
    """
    exact: dict[Key, Cost] = {}
    found = 0
    for path in _newest_first(runs):
        rows = _measured(path, check, shards=shards)
        found += rows is not None
        for key, cost in rows or ():
            known = exact.setdefault(key, cost)
            if cost.peak_rss > known.peak_rss:
                exact[key] = Cost(known.seconds, cost.peak_rss)
        if found == limit:
            break
    return Costs(exact)


def _newest_first(runs: Path) -> list[Path]:
    dated = []
    for path in runs.glob("*/run.sqlite"):
        with contextlib.suppress(OSError):  # somebody is clearing up
            dated.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(dated, reverse=True)]


def _measured(path: Path, check: str, *, shards: bool) -> list[tuple[Key, Cost]] | None:
    """Return the rows of a run; None for one that goes on, had another check, or cannot be read."""
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1)
        ) as database:
            facts = dict(database.execute("SELECT key, value FROM run WHERE key IN ('check', 'finished', 'shard')"))
            version = database.execute("PRAGMA user_version").fetchone()
            if version != (VERSION,) or facts.get("check") != f'"{check}"' or facts.get("finished", "null") == "null":
                return None
            if not shards and facts.get("shard", '""') != '""':
                return None
            return list(itertools.starmap(_measurement, database.execute(NEWEST)))
    except (sqlite3.Error, ValueError, TypeError):  # also of a text that was JSON before the file was damaged
        return None


def _measurement(
    package: str, version: str, interpreter: str, others_text: str, resolution: str, seconds: float, peak_rss: int
) -> tuple[Key, Cost]:
    return Key(package, version, interpreter, others(others_text)[0], resolution), Cost(seconds, peak_rss)
