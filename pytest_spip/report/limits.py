"""What limited a run, and what would change that: where the workers' time went, and rules about it. Pure."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from operator import attrgetter

from pytest_spip.model import Span

__all__ = ["RULES", "Course", "Figures", "Rule", "limits", "worker_times"]

WAIT = "wait"
START_UP, FOR_PROVISIONING, FOR_WORK, TAIL, OTHER = "start-up", "wait-provisioning", "wait-work", "tail", "other"

BRIEF = 1.0
"""Seconds below which a run says nothing about what limits it."""
LOST = 0.15
"""Share of the workers' time from which on it is worth a line how it was lost."""
BUSY = 0.85
"""Share of the workers' time in combinations from which on the workers are not what there is to fix."""
FULL = 0.80
"""Share of all processors' time from which on they are used up; a person or a kernel takes the rest."""
SATURATED = 0.85
"""Share of one processor from which on the controller, which is one thread at heart, is used up."""
HINDERED = 0.05
"""Share of time lost to the controller, or of processors' time to disks, from which on it is worth a line."""
PRESSED = 0.10
"""Memory pressure from which on it is worth a line."""
MOST = 2
"""Lines at most."""


@dataclasses.dataclass(frozen=True, slots=True)
class Course:
    """When a run began, had everything provisioned, and gave its last verdict; seconds since the epoch."""

    began: float
    provisioned: float
    ended: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began

    def clip(self, instant: float) -> float:
        """Return the instant of the run that is nearest."""
        return min(max(instant, self.began), self.ended)


def worker_times(spans: Iterable[Span], course: Course) -> dict[str, dict[str, float]]:
    """Return the seconds of each worker by phase and kind of waiting; those of one add up to the run's.

    ``spans`` are each worker's in the order of its time. Waiting is ``wait-provisioning`` while there is something to
    provision, ``wait-work`` after that, and ``tail`` where no work came any more. ``start-up`` is the time until a worker
    measures itself; ``other`` is what no span covers: pytest, and messages.
    """
    return {worker: _times(own, course) for worker, own in groupby(spans, attrgetter("worker"))}


def _times(spans: Iterable[Span], course: Course) -> dict[str, float]:
    times: defaultdict[str, float] = defaultdict(float)
    waits: list[Span] = []  # since the last combination; those that no other one follows are part of the tail
    idle = course.began
    for number, span in enumerate(spans):
        start, end = course.clip(span.at), course.clip(span.end)
        if number == 0:
            times[START_UP], idle = start - course.began, start
        if span.phase == WAIT:
            waits.append(span)
            continue
        for wait in waits:
            _add_idle(times, course, wait.at, wait.end, FOR_WORK)
        waits.clear()
        times[span.phase] += end - start
        idle = end
    _add_idle(times, course, idle, course.ended, TAIL)
    times[OTHER] = max(course.seconds - sum(times.values()), 0.0)
    return dict(times)


def _add_idle(times: defaultdict[str, float], course: Course, start: float, end: float, afterwards: str) -> None:
    """Add idle time in two parts: what lies before everything was provisioned, and what lies ``afterwards``."""
    start, end = course.clip(start), course.clip(end)
    middle = min(max(course.provisioned, start), end)
    times[FOR_PROVISIONING] += middle - start
    times[afterwards] += end - middle


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """What the rules look at: ``times`` in seconds by worker and kind, all else as shares between 0 and 1.

    ``memory`` is pressure; ``controller`` its share of one processor; ``on_disk`` says whether environments are, and
    ``fetched`` whether something had to be resolved, downloaded or built rather than found, ``timed_out`` whether anything was
    killed for its time.
    """

    times: Mapping[str, Mapping[str, float]]
    seconds: float
    processors: int
    cpu: float = 0.0
    iowait: float = 0.0
    memory: float = 0.0
    controller: float = 0.0
    on_disk: bool = False
    fetched: bool = False
    timed_out: bool = False

    @property
    def workers(self) -> int:
        """How many workers tell of themselves."""
        return len(self.times)

    @property
    def busy(self) -> float:
        """The share of the workers' time that went into combinations."""
        return self._share("compose", "run", "clear")

    @property
    def start_up(self) -> float:
        """The share of the workers' time before their first span."""
        return self._share(START_UP)

    @property
    def provisioning(self) -> float:
        """The share of the workers' time in which they waited for something to be provisioned."""
        return self._share(FOR_PROVISIONING)

    @property
    def work(self) -> float:
        """The share of the workers' time in which they waited although there was work."""
        return self._share(FOR_WORK)

    @property
    def tail(self) -> float:
        """The share of the workers' time after the last of their combinations."""
        return self._share(TAIL)

    @property
    def report(self) -> float:
        """The share of the workers' time that went into reporting."""
        return self._share("report")

    def _share(self, *kinds: str) -> float:
        whole = self.seconds * len(self.times)
        return sum(one.get(kind, 0.0) for one in self.times.values() for kind in kinds) / whole if whole else 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """``name`` limited a run where what it ``cost``, a share of time, is ``least`` or more; ``fix`` is to be done then."""

    name: str
    cost: Callable[[Figures], float]
    least: float
    fix: str


RULES = (
    Rule(
        "memory", lambda f: f.memory, PRESSED,
        "processes waited for memory {f.memory:.0%} of the time: fewer workers (-n), or a smaller --spip-memory",
    ),
    Rule(
        "disk", lambda f: f.iowait * f.on_disk, HINDERED,
        "processors waited {f.iowait:.0%} for disks, and environments are on one: --spip-ram=DIR names a tmpfs",
    ),
    Rule(
        "disk", lambda f: f.iowait * (not f.on_disk), HINDERED,
        "processors waited {f.iowait:.0%} for disks: --spip-cache=DIR on a faster one would help",
    ),
    Rule(
        "provisioning", lambda f: f.provisioning * f.fetched, LOST,
        "workers waited {f.provisioning:.0%} of their time for downloads and builds; a second run takes them from the cache",
    ),
    Rule(
        "provisioning", lambda f: f.provisioning * (not f.fetched), LOST,
        "workers waited {f.provisioning:.0%} of their time although everything was in the cache: more would not help",
    ),
    Rule(
        "start-up", lambda f: f.start_up, LOST,
        "workers took {f.start_up:.0%} of their time to start: fewer of them (-n), or more work for them",
    ),
    Rule(
        "tail", lambda f: f.tail * f.timed_out, LOST,
        "workers stood idle {f.tail:.0%} of their time behind the last combinations: a shorter --spip-timeout, or fewer workers",
    ),
    Rule(
        "tail", lambda f: f.tail * (not f.timed_out), LOST,
        "workers stood idle {f.tail:.0%} of their time behind the last combinations: fewer workers (-n) would do as much",
    ),
    Rule(
        "controller", lambda f: (f.work + f.report) * (f.controller >= SATURATED), HINDERED,
        "it used {f.controller:.0%} of a processor while workers waited: more of them would not help",
    ),
    Rule(
        "dispatch", lambda f: f.work * (f.controller < SATURATED), LOST,
        "workers waited {f.work:.0%} of their time for work that was ready: fewer of them (-n) would do as much",
    ),
    Rule(
        "processors", lambda f: f.busy * (f.cpu >= FULL), BUSY,
        "workers busy {f.busy:.0%}, CPU {f.cpu:.0%}: more cores (-n auto has {f.processors}) would help",
    ),
    Rule(
        "workers", lambda f: f.busy * (f.cpu < FULL), BUSY,
        "workers busy {f.busy:.0%}, CPU {f.cpu:.0%}: raise -n (now {f.workers})",
    ),
)  # fmt: skip  # a table: a rule's condition stays on one line
"""One line each; where several apply, those that cost most are shown."""


def limits(figures: Figures) -> tuple[str, ...]:
    """Return what limited a run and what to change, in two lines at most; nothing where nothing did, or it was brief."""
    if figures.seconds < BRIEF or not figures.workers:
        return ()
    applying = [rule for rule in RULES if rule.cost(figures) >= rule.least]
    costliest = sorted(applying, key=lambda rule: -rule.cost(figures))[:MOST]
    return tuple(f"limited by: {rule.name} - {rule.fix.format(f=figures)}" for rule in costliest)
