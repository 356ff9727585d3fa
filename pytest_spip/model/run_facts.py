"""What is known of a run as a whole, beside its plan: for reports, and for the session that resumes it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

__all__ = ["RunFacts"]


@dataclasses.dataclass(frozen=True, slots=True)
class RunFacts:
    """The facts of a run. Instants are UTC, as ``2026-11-28T17:00:00Z``.

    ``exclude_newer`` is the date that the index is seen as of; ``dated`` says whether it can be had so again. ``settings`` are
    those that a resumed run takes over, ``project`` the one whose suite is run, both as JSON has them. ``finished``,
    ``sessions`` and ``damaged_telemetry``, names of files, change later. ``experiment`` is a digest of
    what decides on verdicts beside fingerprints, ``identities`` what tells each interpreter from a later one at its path.
    ``shard`` is the part of a plan that the run has, such as ``1/3``; ``agents`` are the hosts' sessions that shared the run,
    ``agent`` is this one.
    """

    uuid: str
    started: str
    exclude_newer: str
    command: str
    hosts: tuple[str, ...]
    sandbox: str
    sandbox_summary: str
    runner: str
    ram: str
    check: str
    indexes: tuple[str, ...]
    dated: bool
    settings: Mapping[str, Any]
    plan_hash: str
    project: Mapping[str, Any] | None
    notes: tuple[str, ...]
    finished: str | None = None
    sessions: int = 1
    damaged_telemetry: tuple[str, ...] = ()
    experiment: str = ""
    identities: Mapping[str, str] = dataclasses.field(default_factory=dict)
    shard: str = ""
    agent: str = ""
    agents: tuple[Mapping[str, Any], ...] = ()

    def to_plain(self) -> dict[str, object]:
        """Return the facts as databases and reports have them."""
        return {name: _listed(getattr(self, name)) for name in _NAMES}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> RunFacts:
        """Rebuild the facts from :meth:`to_plain`'s data; what is not known here is left out. Raises ``KeyError``."""
        known: dict[str, Any] = {
            name: tuple(plain[name]) if isinstance(plain[name], list) else plain[name] for name in _NAMES & plain.keys()
        }
        try:
            return cls(**known)
        except TypeError:
            missing = next(name for name in _REQUIRED if name not in known)
            raise KeyError(missing) from None


def _listed(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


_NAMES = {field.name: None for field in dataclasses.fields(RunFacts)}.keys()
_REQUIRED = [field.name for field in dataclasses.fields(RunFacts) if field.default is field.default_factory]
