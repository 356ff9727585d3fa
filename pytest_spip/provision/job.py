"""One combination on its way through provisioning: where it is, when it was in which phase, what was really done."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from pytest_spip.model import Combo, Environment, Phase, Ready, Refused, Span, Verdict
from pytest_spip.provision.locks import Lock

__all__ = ["Job"]


class Job:
    """One combination on its way: where it is, when it was in which phase, what was really done."""

    def __init__(self, combo: Combo) -> None:
        self.combo = combo
        self.phase = Phase.PLAN
        self.spans: list[Span] = []
        self._within: list[Span] = []
        self.work: Counter[str] = Counter()
        self.warnings: dict[str, None] = {}

    @contextlib.contextmanager
    def timed(self, phase: Phase) -> Iterator[None]:
        """Enter a phase, and note the time spent in it."""
        self.phase = phase
        at, start = time.time(), time.perf_counter()
        try:
            yield
        finally:
            self.spans += _around(self._within, Span(phase.value, at, time.perf_counter() - start))
            self._within.clear()

    def resolved(self, lock: Lock) -> None:
        """Count a resolution, and apart from it what was built for it."""
        self.work["resolved"] += lock.fresh
        self.work["built"] += lock.work.built
        self._within += lock.work.spans

    def ready(self, environment: Environment) -> Ready:
        """Return the end of a job that made an environment."""
        return Ready(self.combo.ordinal, environment, spans=tuple(self.spans), work=self._done())

    def refused(self, verdict: Verdict, output: str = "") -> Refused:
        """Return the end of a job that made none."""
        return Refused(self.combo.ordinal, verdict, output, spans=tuple(self.spans), work=self._done())

    def _done(self) -> Mapping[str, int]:
        return {name: count for name, count in self.work.items() if count}


def _around(inner: Iterable[Span], whole: Span) -> Iterator[Span]:
    """Yield the spans within a whole one, and what they leave of it: together they are as long as it is."""
    at = whole.at
    for span in inner:
        yield whole._replace(at=at, seconds=max(span.at - at, 0.0))
        yield span
        at = span.end
    yield whole._replace(at=at, seconds=max(whole.end - at, 0.0))
