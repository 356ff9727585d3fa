"""Events of a trace, by their lanes."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

__all__ = ["Event", "by_lane", "names"]

Event = dict[str, Any]


def names(events: list[Event], what: str) -> dict[tuple[int, int | None], Any]:
    """Return the names that metadata events give, by process and thread."""
    told = (event for event in events if event["ph"] == "M" and event["name"] == what)
    return {(event["pid"], event.get("tid")): next(iter(event["args"].values())) for event in told}


def by_lane(events: list[Event]) -> dict[str, list[Event]]:
    """Return the complete events by the name of their thread."""
    threads, lanes = names(events, "thread_name"), defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            lanes[threads[event["pid"], event["tid"]]].append(event)
    return dict(lanes)
