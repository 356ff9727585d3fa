"""Events that the scheduler takes, and commands that it answers with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

__all__ = [
    "Command",
    "Event",
    "Finished",
    "Listed",
    "Quarantine",
    "Ready",
    "Run",
    "Steal",
    "Stolen",
    "Stop",
    "Unit",
    "Withdrawn",
    "WorkerJoined",
    "WorkerLeft",
    "WorkerLimit",
]


@dataclasses.dataclass(frozen=True, slots=True)
class Unit:
    """What one unit of work needs: the interpreter (``""`` for an ordinary test), and about how many seconds (> 0).

    Units of a group that is ``tied`` are all run by one worker, as long as that one lives.
    """

    group: str
    cost: float
    tied: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Listed:
    """The units of the run are known, by number, in the plan's order. ``waiting`` are those that are not ready yet.

    Comes once. The mapping is kept and must not change.
    """

    units: Mapping[int, Unit]
    waiting: frozenset[int] = frozenset()


@dataclasses.dataclass(frozen=True, slots=True)
class Ready:
    """Units that were waiting, or are in quarantine, can be run now; others are passed over."""

    units: Sequence[int]


@dataclasses.dataclass(frozen=True, slots=True)
class Withdrawn:
    """Units that nobody holds are not to be run until they are :class:`Ready` again; others are passed over."""

    units: Sequence[int]


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerJoined:
    """A worker can take work and holds none."""

    worker: str


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerLeft:
    """A worker is gone, and what it had not finished goes to others. If it ``crashed``, the unit that it ran is blamed."""

    worker: str
    crashed: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Finished:
    """A unit is finished. May come twice, and from a worker that is gone, has lost the unit, or is another host's."""

    worker: str
    unit: int


@dataclasses.dataclass(frozen=True, slots=True)
class Stolen:
    """Answer to :class:`Steal`: what the worker gave back and will not run; maybe a part, maybe nothing."""

    worker: str
    units: Sequence[int]


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerLimit:
    """At most so many workers are to hold work, ``None`` for all. Nothing is taken from those that do."""

    workers: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """Command: have a worker run units, in this order, after those that it holds."""

    worker: str
    units: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Steal:
    """Command: ask a worker for units back, the last ones that it holds. It answers once, with :class:`Stolen`.

    It should answer while it runs a unit; until then the units stay its own.
    """

    worker: str
    units: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Quarantine:
    """Command: give a unit up that was blamed for two workers' deaths. Only :class:`Ready` brings it back."""

    unit: int


@dataclasses.dataclass(frozen=True, slots=True)
class Stop:
    """Command: tell a worker that nothing more will come, so that it runs what it holds and goes."""

    worker: str


Event = Listed | Ready | Withdrawn | WorkerJoined | WorkerLeft | Finished | Stolen | WorkerLimit
Command = Run | Steal | Quarantine | Stop
