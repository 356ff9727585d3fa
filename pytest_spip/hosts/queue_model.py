"""What goes into the queue of a run that several hosts share, and what comes out of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["Agent", "Answer", "Counts", "Published", "SharedPlan", "Task"]


@dataclasses.dataclass(frozen=True, slots=True)
class Agent:
    """One session of one host: ``id`` is its own, ``boot`` the kernel's that it runs on."""

    id: str
    host: str
    boot: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """A combination, by its ordinal, that is to be judged: tasks are handed out in the order in which they are published."""

    ordinal: int
    cost: float


@dataclasses.dataclass(frozen=True, slots=True)
class SharedPlan:
    """What whoever comes first publishes: the plan's hash, facts that all hosts must share, tasks, and the planned run itself."""

    hash: str
    facts: Mapping[str, Any]
    tasks: Sequence[Task]
    run: bytes = b""


@dataclasses.dataclass(frozen=True, slots=True)
class Published:
    """What stands in the database; ``is_ours`` if this host has published it."""

    hash: str
    facts: Mapping[str, Any]
    size: int
    is_ours: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """The result of a combination: what is asked of results in bulk, and the whole of it as JSON."""

    ordinal: int
    outcome: str
    reason: str | None
    failing: bool
    seconds: float
    fingerprint: str
    body: str


@dataclasses.dataclass(frozen=True, slots=True)
class Counts:
    """How far a run is: ``failing`` are those of the results that fail a session."""

    size: int
    done: int
    failing: int

    @property
    def is_done(self) -> bool:
        """Whether every combination has its result."""
        return self.done >= self.size
