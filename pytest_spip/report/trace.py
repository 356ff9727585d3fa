"""The trace: where each worker's time went, for Perfetto (ui.perfetto.dev) and Chrome (chrome://tracing).

The format is Chrome's trace event format, as JSON. A host is a process; each worker is a thread of it, and so is each lane
of provisioning. Instants and durations are microseconds since the run began; shares are in per cent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain, groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from pytest_spip.common.trees import rewriting
from pytest_spip.model import HostSample, Span, Summary

__all__ = ["Lanes", "write"]

Event = dict[str, Any]

LANES_BELOW = 100_000
"""Where lanes of provisioning are sorted in: below all workers."""


def write(
    summary: Summary,
    path: Path,
    *,
    began: float,
    workers: Iterable[Span],
    provisioning: Iterable[Span],
    host: Iterable[HostSample],
) -> None:
    """Write a run's trace, holding no more than one combination of it. Raises ``OSError``.

    ``workers`` are the spans of each worker in the order of its time, ``provisioning`` those of each combination in the
    order in which these were begun, ``began`` the first instant of all.
    """
    trace = _Trace(summary, began)
    with rewriting(path) as stream:
        stream.write('{"displayTimeUnit":"ms","traceEvents":[')
        separator = "\n"
        for event in chain(trace.workers(workers), trace.provisioning(provisioning), trace.counters(host)):
            stream.write(separator + json.dumps(event, separators=(",", ":")))
            separator = ",\n"
        stream.write("\n]}\n")


class Lanes:
    """Lanes in which nothing overlaps. What is put into them comes in the order of its starts."""

    def __init__(self) -> None:
        self._ends: list[float] = []

    def put(self, start: float, end: float) -> int:
        """Return the first lane that is free from start to end, which it is no more then."""
        lane = next((lane for lane, taken in enumerate(self._ends) if taken <= start), len(self._ends))
        self._ends[lane : lane + 1] = [end]
        return lane


class _Trace:
    """Makes events, and knows which processes and threads were named already."""

    def __init__(self, summary: Summary, began: float) -> None:
        self._began = began
        self._ids = {combo.ordinal: combo.id for combo in summary.combos}
        self._results = summary.results
        self._here: str = next(iter(summary.facts.hosts), "here")
        ran = (result for result in summary.results.values() if result.host)
        self._hosts = {result.worker: result.host for result in ran}
        self._processes: dict[str, int] = {}
        self._threads: dict[str, int] = {}
        self._ends: dict[str, int] = {}

    def workers(self, spans: Iterable[Span]) -> Iterator[Event]:
        """Yield the lane of each worker."""
        for worker, group in groupby(spans, attrgetter("worker")):
            number = int("".join(re.findall(r"\d+$", worker)) or 0)
            yield from self._lane(worker, self._hosts.get(worker, self._here), number, group)

    def provisioning(self, spans: Iterable[Span]) -> Iterator[Event]:
        """Yield the lanes of provisioning: as many as there were combinations provisioned at once."""
        lanes = Lanes()
        for _, group in groupby(spans, attrgetter("ordinal")):
            job = list(group)
            lane = lanes.put(job[0].at, max(span.end for span in job))
            yield from self._lane(f"provisioning {lane + 1}", self._here, LANES_BELOW + lane, job)

    def counters(self, samples: Iterable[HostSample]) -> Iterator[Event]:
        """Yield the machine's figures."""
        for sample in samples:
            pressures = {"cpu": sample.cpu_pressure, "io": sample.io_pressure, "memory": sample.memory_pressure}
            events = {
                "CPU": {"busy": 100 * sample.cpu, "iowait": 100 * sample.iowait},
                "pressure": {name: 100 * share for name, share in pressures.items() if share is not None},
                "memory available, MiB": {"MiB": sample.available >> 20},
                "environments' file system, MiB": {"MiB": sample.room_used >> 20},
            }
            yield from self._process(self._here)
            for name, args in events.items():
                place = {"pid": self._processes[self._here], "ts": self._instant(sample.at)}
                yield from [{"name": name, "ph": "C", **place, "args": args}] if args else []

    def _lane(self, name: str, host: str, place: int, spans: Iterable[Span]) -> Iterator[Event]:
        """Yield spans of one thread. A clock that was set back meanwhile does not make them overlap."""
        yield from self._process(host)
        yield from self._thread(name, host, place)
        for span in spans:
            start = max(self._instant(span.at), self._ends.get(name, 0))
            end = self._ends[name] = max(self._instant(span.end), start)
            where = {"pid": self._processes[host], "tid": self._threads[name]}
            yield {"name": span.phase, "ph": "X", **where, "ts": start, "dur": end - start, "args": self._args(span)}

    def _process(self, host: str) -> Iterator[Event]:
        if host not in self._processes:
            self._processes[host] = len(self._processes) + 1
            yield _named("process_name", {"pid": self._processes[host]}, name=host)

    def _thread(self, name: str, host: str, place: int) -> Iterator[Event]:
        if name not in self._threads:
            self._threads[name] = len(self._threads) + 1
            where = {"pid": self._processes[host], "tid": self._threads[name]}
            yield _named("thread_name", where, name=name)
            yield _named("thread_sort_index", where, sort_index=place)

    def _args(self, span: Span) -> dict[str, str | None]:
        if span.ordinal not in self._ids:
            return {}
        facts: dict[str, str | None] = {"combination": self._ids[span.ordinal]}
        if result := self._results.get(span.ordinal):
            reason = result.verdict.reason
            facts |= {"outcome": result.verdict.outcome.value, "reason": reason.value if reason else None}
        return facts

    def _instant(self, at: float) -> int:
        return max(round((at - self._began) * 1e6), 0)


def _named(what: str, where: dict[str, int], **args: str | int) -> Event:
    return {"name": what, "ph": "M", **where, "args": args}
