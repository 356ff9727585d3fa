"""What workers were asked, and who has been silent for too long.

Pure: times in seconds come from outside, of any clock that does not run backwards.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable, Iterator

__all__ = ["PATIENCE", "PERIOD", "Heartbeat", "Question"]

PERIOD = 5.0
"""Seconds between two questions whether a worker is there."""
PATIENCE = 30.0
"""Seconds of silence after which a worker is taken for lost; it answers from a thread of its own, whatever it runs."""


class Question(enum.Enum):
    """Why a worker was asked for units."""

    LIFE = enum.auto()
    """Whether it is there."""
    RECEIPT = enum.auto()
    """Whether it was still there when it was given units, or dismissed."""
    UNITS = enum.auto()
    """To have them back."""


class Heartbeat:
    """Remembers when each worker was heard last, and what it has not answered yet.

    A worker is known from its first sign of life until it is forgotten. It answers its questions in their order.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._heard: dict[str, float] = {}
        self._open: dict[str, deque[tuple[Question, frozenset[int]]]] = {}

    def __contains__(self, worker: str) -> bool:
        return worker in self._heard

    def joined(self, worker: str, now: float) -> None:
        """Take a worker's first sign of life in."""
        self._heard[worker] = now
        self._open[worker] = deque()

    def asked(self, worker: str, question: Question, units: Iterable[int] = ()) -> None:
        """Expect an answer of a worker; a receipt is for ``units``, for none where it was dismissed."""
        self._open[worker].append((question, frozenset(units)))

    def answered(self, worker: str, now: float) -> Question | None:
        """Take an answer in, and return what it answers; None if nothing was asked."""
        if worker not in self._heard:
            return None
        self._heard[worker] = now
        return self._open[worker].popleft()[0] if self._open[worker] else None

    def has_received(self, worker: str, units: Iterable[int]) -> bool:
        """Whether a worker has acknowledged units as far as it was asked to, and its dismissal."""
        receipts = [given for question, given in self._open.get(worker, ()) if question is Question.RECEIPT]
        return all(given and given.isdisjoint(units) for given in receipts)

    def forget(self, worker: str) -> None:
        """Expect nothing of a worker any more."""
        self._heard.pop(worker, None)
        self._open.pop(worker, None)

    def silent(self, now: float) -> Iterator[str]:
        """Yield the workers that were not heard for too long."""
        yield from [worker for worker, then in self._heard.items() if now - then > self._patience]
