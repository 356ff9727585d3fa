"""Who has been silent for too long. Pure: times in seconds come from outside, of any clock that does not run backwards."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["PATIENCE", "PERIOD", "Heartbeat"]

PERIOD = 5.0
"""Seconds between two questions whether a worker is there."""
PATIENCE = 30.0
"""Seconds of silence after which a worker is taken for lost; it answers from a thread of its own, whatever it runs."""


class Heartbeat:
    """Remembers when each worker was heard last. A worker is known from its first sign of life until it is forgotten."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._heard: dict[str, float] = {}

    def heard(self, worker: str, now: float) -> None:
        """Take a sign of life in."""
        self._heard[worker] = now

    def forget(self, worker: str) -> None:
        """Expect nothing of a worker any more."""
        self._heard.pop(worker, None)

    def silent(self, now: float) -> Iterator[str]:
        """Yield the workers that were not heard for too long."""
        yield from [worker for worker, then in self._heard.items() if now - then > self._patience]
