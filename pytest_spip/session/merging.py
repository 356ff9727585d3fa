"""One run out of the runs of several shards."""

from __future__ import annotations

import dataclasses
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pytest_spip.errors import UsageProblem
from pytest_spip.model import RunFacts
from pytest_spip.record.merging import merge_databases
from pytest_spip.record.rundb import DatabaseError
from pytest_spip.record.rundir import RunDirectory, unwritable
from pytest_spip.session.loading import open_run

__all__ = ["merge_runs"]

NAMED = 5
"""Combinations that are named where something is wrong with many."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Shard:
    """A shard's run: its facts, its number, the ids of the plan's combinations, and of those that are its own."""

    directory: RunDirectory
    facts: RunFacts
    number: int
    plan: tuple[str, ...]
    own: tuple[str, ...]

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.facts.shard} (run {self.directory.path.name})"


def merge_runs(runs: Sequence[RunDirectory], rootdir: Path, name: str) -> RunDirectory:
    """Make a run of the name out of the runs of all shards of one plan, and return its directory.

    Raises ``UsageProblem`` for runs that are no shards, of several plans, not all of them, or one of them twice.
    """
    shards = [_opened(run) for run in runs]
    _check(shards)
    shards.sort(key=lambda shard: shard.number)
    target = RunDirectory.create(rootdir, name)
    try:
        facts = _merged([shard.facts for shard in shards], name)
        merge_databases(target.database, [shard.directory.database for shard in shards], facts.to_plain())
        for shard in shards:
            if shard.directory.locks.is_dir():
                shutil.copytree(shard.directory.locks, target.locks, dirs_exist_ok=True)
    except (DatabaseError, OSError) as error:
        target.discard()
        raise unwritable(target.path, error) from error
    except BaseException:
        target.discard()
        raise
    return target


def _opened(run: RunDirectory) -> _Shard:
    with open_run(run, "RUN", "merges", "run the shard again") as reader:
        facts, elsewhere = reader.facts(), reader.elsewhere()
        combos = reader.combos()
    if not facts.shard:
        raise UsageProblem("RUN", f"run {run.path.name} is no shard", "run its part with --spip-shard=I/N")
    plan = tuple(combo.id for combo in combos)
    own = tuple(combo.id for combo in combos if combo.ordinal not in elsewhere)
    return _Shard(run, facts, int(facts.shard.partition("/")[0]), plan, own)


def _check(shards: Sequence[_Shard]) -> None:
    """Refuse what does not make one run."""
    first = shards[0]
    for shard in shards[1:]:
        if (shard.facts.plan_hash, shard.facts.check) != (first.facts.plan_hash, first.facts.check):
            what = f"{shard.name} is of another plan than {first.name}"
            raise UsageProblem("RUN", what, "run all shards with the same options, and --spip-exclude-newer=DATE")
        if shard.facts.experiment != first.facts.experiment:
            what = f"{shard.name} ran under other limits, or in another sandbox, than {first.name}"
            raise UsageProblem("RUN", what, "run all shards with the same options on like machines")
        if shard.facts.shard.partition("/")[2] != first.facts.shard.partition("/")[2]:
            raise UsageProblem("RUN", f"{shard.name} and {first.name} are not of as many parts", "run all shards anew")
    count = int(first.facts.shard.partition("/")[2])
    given = Counter(shard.number for shard in shards)
    if missing := [str(number) for number in range(1, count + 1) if number not in given]:
        what = f"of {count} shards {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
        raise UsageProblem("RUN", what, "name the runs of all shards")
    if twice := [str(number) for number, times in given.items() if times > 1]:
        raise UsageProblem("RUN", f"shard {', '.join(twice)} is given twice", "name the run of each shard once")
    _check_parts(shards, first.plan)


def _check_parts(shards: Sequence[_Shard], ids: Sequence[str]) -> None:
    """Refuse parts that do not make the plan: the jobs did not know the same costs."""
    held = Counter(name for shard in shards for name in shard.own)
    fix = "let all jobs begin with the same earlier runs, or with none"
    if twice := [name for name in ids if held[name] > 1]:
        raise UsageProblem("RUN", f"{_some(twice)} in two shards", fix)
    if missing := [name for name in ids if not held[name]]:
        raise UsageProblem("RUN", f"{_some(missing)} in no shard", fix)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more} {'is' if len(names) == 1 else 'are'}"


def _merged(facts: Sequence[RunFacts], name: str) -> RunFacts:
    """Return the facts of the run that the shards make."""
    finished = [one.finished for one in facts]
    return dataclasses.replace(
        facts[0],
        uuid=name,
        started=min(one.started for one in facts),
        finished=max(filter(None, finished)) if all(finished) else None,
        hosts=tuple(dict.fromkeys(host for one in facts for host in one.hosts)),
        notes=tuple(dict.fromkeys(note for one in facts for note in one.notes)),
        sessions=sum(one.sessions for one in facts),
        damaged_telemetry=tuple(
            f"{number}-{file}" for number, one in enumerate(facts, 1) for file in one.damaged_telemetry
        ),
        settings={**facts[0].settings, "shard": None, "run": name},
        shard="",
    )
