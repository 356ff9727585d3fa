"""Checks what a shared queue did against what it promises, from what its agents saw, in the manner of Jepsen.

Agents note each hand-out and each answer with the times of call and return by one clock. What the database holds at the end
is noted as recorded. Nothing here asks a database or a clock.
"""

from __future__ import annotations

import dataclasses
import enum
from collections import defaultdict
from collections.abc import Iterable, Sequence

__all__ = ["Event", "EventKind", "Violations", "check_history"]


class EventKind(enum.Enum):
    """What happened to a combination: an agent got it, its result counted or did not, or the database holds that at the end."""

    HANDED_OUT = "handed out"
    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    RECORDED = "recorded"


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """Something that an agent saw of a combination: it happened between ``began`` and ``ended``, seconds by one clock."""

    kind: EventKind
    ordinal: int
    agent: str
    lease: int
    began: float = 0.0
    ended: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Violations:
    """Ordinals by the promise that was broken over them; all are empty where none was.

    ``lost`` have no result, or not the one that was acknowledged. ``twice`` are recorded, or acknowledged to agents, more than
    once. ``stale`` were accepted from an agent although they had been handed out anew since. ``again`` were handed out after
    their result had been acknowledged. ``denied`` are recorded although the agent's answer said that its result does not count.
    ``unknown`` are recorded of an agent that never had them.
    """

    lost: tuple[int, ...] = ()
    twice: tuple[int, ...] = ()
    stale: tuple[int, ...] = ()
    again: tuple[int, ...] = ()
    denied: tuple[int, ...] = ()
    unknown: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in dataclasses.fields(self))


def check_history(planned: Iterable[int], events: Iterable[Event]) -> Violations:
    """Return what was broken in a run that has ended, all of whose combinations should have a result."""
    of_each: dict[int, list[Event]] = {ordinal: [] for ordinal in planned}
    for event in events:
        of_each.setdefault(event.ordinal, []).append(event)
    broken: defaultdict[str, list[int]] = defaultdict(list)
    for ordinal, seen in sorted(of_each.items()):
        for name in _broken(seen):
            broken[name].append(ordinal)
    return Violations(**{name: tuple(ordinals) for name, ordinals in broken.items()})


def _broken(events: Sequence[Event]) -> Iterable[str]:
    """Return the promises that were broken over one combination."""
    by_kind: defaultdict[EventKind, list[Event]] = defaultdict(list)
    for event in events:
        by_kind[event.kind].append(event)
    handed, acknowledged = by_kind[EventKind.HANDED_OUT], by_kind[EventKind.ACKNOWLEDGED]
    recorded, winners = by_kind[EventKind.RECORDED], {event.agent for event in acknowledged}
    authors = {event.agent for event in recorded}
    broken = {
        "lost": not recorded or not winners <= authors,
        "twice": len(recorded) > 1 or len(winners) > 1,
        "unknown": any(_key(record) not in map(_key, handed) for record in recorded),
        "stale": any(_is_stale(record, handed) for record in recorded),
        "again": any(hand.began > event.ended for hand in handed for event in acknowledged),
        "denied": any(_is_denied(record, events) for record in recorded),
    }
    return [name for name, is_broken in broken.items() if is_broken]


def _key(event: Event) -> tuple[str, int]:
    return event.agent, event.lease


def _is_stale(record: Event, handed: Sequence[Event]) -> bool:
    """Return True if each hand-out to the record's lease was over before another one began.

    Whether the result came before that hand-out or after it: before, it would be handed out with a result.
    """
    mine = [hand for hand in handed if _key(hand) == _key(record)]
    others = [hand for hand in handed if _key(hand) != _key(record)]
    return bool(mine) and all(any(other.began > hand.ended for other in others) for hand in mine)


def _is_denied(record: Event, events: Sequence[Event]) -> bool:
    """Return True if the last that the result's agent heard of the combination was a refusal."""
    heard = [event for event in events if event.agent == record.agent and event.kind is not EventKind.RECORDED]
    return bool(heard) and max(heard, key=lambda event: event.began).kind is EventKind.REFUSED
