"""The facts of a run: what the database says of it beside its plan, for reports and for the session that resumes it."""

from __future__ import annotations

import dataclasses
import datetime
import socket
from collections.abc import Iterable, Mapping
from typing import Any

from pytest_spip.model import Indexes, Plan, Release
from pytest_spip.session.planner import Planner
from pytest_spip.session.resume import index_names, settings_to_plain

__all__ = ["RunFacts", "now", "run_facts"]


@dataclasses.dataclass(frozen=True, slots=True)
class RunFacts:
    """What a run is, when it begins. Instants are UTC, as ``2026-11-28T17:00:00Z``.

    ``exclude_newer`` is the date that the index is seen as of; ``dated`` says whether it can be had so again. ``settings`` are
    those that a resumed run takes over, ``project`` the one whose suite is run. ``finished`` and ``sessions`` change later.
    """

    uuid: str
    started: str
    exclude_newer: str
    command: str
    hosts: list[str]
    sandbox: str
    sandbox_summary: str
    runner: str
    ram: str
    check: str
    indexes: list[str]
    dated: bool
    settings: Mapping[str, Any]
    plan_hash: str
    project: Mapping[str, Any] | None
    notes: list[str]
    finished: str | None = None
    sessions: int = 1

    def to_plain(self) -> dict[str, Any]:
        """Return the facts as the database has them."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def run_facts(
    planner: Planner, plan: Plan, plan_hash: str, *, uuid: str, started: str, command: str, ram: str, check: str
) -> RunFacts:
    """Return the facts of a run that begins; ``ram`` says where its environments are. The hash was made: it takes its time."""
    indexes, settings = planner.indexes, planner.settings
    return RunFacts(
        uuid=uuid,
        started=started,
        exclude_newer=plan.exclude_newer or started,
        command=command,
        hosts=[socket.gethostname()],
        sandbox=str(planner.sandbox.level),
        sandbox_summary=planner.sandbox.summary,
        runner=settings.runner,
        ram=ram,
        check=check,
        indexes=index_names(indexes),
        dated=_is_dated(indexes, plan.releases),
        settings=settings_to_plain(settings, run=uuid, cache=planner.cache.root),
        plan_hash=plan_hash,
        project=planner.project.to_plain() if planner.project else None,
        notes=list(plan.notes),
    )


def now() -> str:
    """Return this instant."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _is_dated(indexes: Indexes, releases: Iterable[Release]) -> bool:
    """Tell whether the index as of a date can be had again: there is one, and it dates its files."""
    alone = len(indexes.urls) == 1 and not indexes.find_links
    return alone and all(file.upload_time for release in releases for file in release.files)
