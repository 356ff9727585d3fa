"""A run's timeline, thinned to what a picture can show. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

from pytest_spip.model import HostSample, Span, seconds_by_phase

__all__ = ["WAIT", "timeline_columns"]

WAIT = "wait"
FINEST, MOST = 4000, 120_000
"""Stretches of one worker's time, and of all workers', that are drawn one by one at most."""
BINS = 500
"""Parts of the time of which the provisioning is counted."""
SAMPLES = 1000
"""Samples of the machine at most."""
NONE = -1


def timeline_columns(
    spans: Iterable[Span], provisioning: Iterable[Span], host: Sequence[HostSample], *, places: Mapping[int, int]
) -> dict[str, Any]:
    """Return the timeline as columns; instants and durations are milliseconds since the first.

    ``spans`` are each worker's in the order of its time; ``places`` say where an ordinal stands among the report's cells.
    Spans too short to be seen are joined with those beside them: each phase with the share of time that it took.
    """
    by_worker = [(worker, list(own)) for worker, own in groupby(spans, attrgetter("worker"))]
    preparing = list(provisioning)
    everything = [*(span for _, own in by_worker for span in own), *preparing]
    began = min((span.at for span in everything), default=0.0)
    ended = max((span.end for span in everything), default=0.0)
    finest = (ended - began) / max(min(FINEST, MOST // max(len(by_worker), 1)), 200)
    phases: dict[str, int] = {}
    columns: dict[str, list[int]] = {name: [] for name in ("worker", "phase", "at", "ms", "cell")}
    for number, (_, own) in enumerate(by_worker):
        for span in _joined(own, finest):
            columns["worker"].append(number)
            columns["phase"].append(phases.setdefault(span.phase, len(phases)))
            columns["at"].append(round((span.at - began) * 1000))
            columns["ms"].append(max(round(span.seconds * 1000), 1))
            columns["cell"].append(NONE if span.ordinal is None else places.get(span.ordinal, NONE))
    return {
        "workers": [worker for worker, _ in by_worker],
        "phases": list(phases),
        "ms": round((ended - began) * 1000),
        "spans": columns,
        "provisioning": _load(preparing, began, ended),
        "host": _machine(host, began),
    }


def _joined(spans: Iterable[Span], finest: float) -> Iterator[Span]:
    """Yield spans of at least ``finest`` seconds; shorter neighbours are put together until they are as long."""
    short: list[Span] = []
    for span in spans:
        if short and (span.seconds >= finest or span.end - short[0].at >= finest):
            yield from _shares(short)
            short = []
        if span.seconds >= finest:
            yield span
        else:
            short.append(span)
    if short:
        yield from _shares(short)


def _shares(spans: Sequence[Span]) -> Iterator[Span]:
    """Yield one span for each phase, one after the other, as long as the phase took in all."""
    if len(spans) == 1:
        yield spans[0]
        return
    at = spans[0].at
    for phase, seconds in seconds_by_phase(spans).items():
        yield Span(phase, at, seconds, None, spans[0].worker)
        at += seconds


def _load(spans: Iterable[Span], began: float, ended: float) -> list[float]:
    """Return how many combinations were provisioned at once, on average, in each part of the time."""
    width = (ended - began) / BINS
    load = [0.0] * BINS
    if not width:
        return []
    for span in spans:
        first, last = int((span.at - began) / width), int((span.end - began) / width)
        for part in range(max(first, 0), min(last, BINS - 1) + 1):
            start = began + part * width
            load[part] += max(min(span.end, start + width) - max(span.at, start), 0.0) / width
    return [round(each, 2) for each in load]


def _machine(samples: Sequence[HostSample], began: float) -> dict[str, list[float]]:
    step = -(-len(samples) // SAMPLES) or 1
    kept = samples[::step]
    return {
        "at": [round((one.at - began) * 1000) for one in kept],
        "cpu": [round(one.cpu, 3) for one in kept],
        "iowait": [round(one.iowait, 3) for one in kept],
        "available": [one.available >> 20 for one in kept],
        "room": [one.room_used >> 20 for one in kept],
    }
