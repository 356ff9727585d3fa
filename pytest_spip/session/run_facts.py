"""The facts of a run that begins."""

from __future__ import annotations

import datetime
import socket
from collections.abc import Iterable
from pathlib import Path

from pytest_spip.compose.copying import copy_bytes, find_copy
from pytest_spip.model import Indexes, Plan, Release, RunFacts
from pytest_spip.run.server import has_fork_servers
from pytest_spip.session.planner import Planner
from pytest_spip.session.resume import index_names, settings_to_plain
from pytest_spip.session.reuse import identities_of

__all__ = ["now", "run_facts", "runner_line"]


def run_facts(
    planner: Planner,
    plan: Plan,
    plan_hash: str,
    *,
    uuid: str,
    started: str,
    command: str,
    ram: str,
    check: str,
    experiment: str,
) -> RunFacts:
    """Return the facts of a run that begins; ``ram`` says where its environments are. The hash was made: it takes its time."""
    indexes, settings = planner.indexes, planner.settings
    return RunFacts(
        uuid=uuid,
        started=started,
        exclude_newer=plan.exclude_newer or started,
        command=command,
        hosts=(socket.gethostname(),),
        sandbox=str(planner.sandbox.level),
        sandbox_summary=planner.sandbox.summary,
        runner=settings.runner,
        ram=ram,
        check=check,
        indexes=tuple(index_names(indexes)),
        dated=_is_dated(indexes, plan.releases),
        settings=settings_to_plain(settings, run=uuid, cache=planner.cache.root),
        plan_hash=plan_hash,
        project=planner.project.to_plain() if planner.project else None,
        notes=plan.notes,
        experiment=experiment,
        identities=identities_of(plan.interpreters),
        shard="{}/{}".format(*settings.shard) if settings.shard else "",
    )


def runner_line(planner: Planner, root: Path) -> str:
    """Return how combinations are run, for the header; ``root`` is where their environments live."""
    runner = planner.settings.runner if has_fork_servers() else "cold"
    warning = "" if planner.sandbox.level >= 2 else "; package code can read your files and use the network"
    return f"runner {runner}, sandbox {planner.sandbox.summary}, environments {_composition(planner, root)}{warning}"


def _composition(planner: Planner, root: Path) -> str:
    if planner.sandbox.level >= 3:
        return "overlaid"
    return "copied" if find_copy(planner.cache.root, root) is copy_bytes else "reflinked"


def now() -> str:
    """Return this instant."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _is_dated(indexes: Indexes, releases: Iterable[Release]) -> bool:
    """Return True if the index as of a date can be had again: there is one, and it dates its files."""
    alone = len(indexes.urls) == 1 and not indexes.find_links
    return alone and all(file.upload_time for release in releases for file in release.files)
