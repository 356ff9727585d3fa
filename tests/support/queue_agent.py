"""An agent of a shared queue in a process of its own, which notes what it sees: ``python -m tests.support.queue_agent JSON``."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from pytest_spip.errors import QueueUnreachable
from pytest_spip.hosts.history import EventKind
from pytest_spip.hosts.queue import Agent, Queue
from tests.support.queues import answer, opened

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class Part:
    """What an agent is to do: ``skew`` are the seconds that its clock is ahead, ``log`` the file of its notes."""

    url: str
    run: str
    name: str
    seed: int
    ttl: float
    log: str
    skew: float = 0.0
    patience: float = 2.0


class NotingAgent:
    """Claims, works, completes, gives back and reaps at random until all is done."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.random = random.Random(part.seed)
        database = opened(part.url, patience=60)  # the server may be on its way back
        database.patience = part.patience
        self.queue = Queue(database, part.run, Agent(part.name, "host", "one"), ttl=part.ttl)
        self.held: list[int] = []
        self.lease = self.queue.lease
        self.beat = 0.0
        self._log = os.open(part.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def work(self) -> None:
        """Take part until every combination has its result."""
        self._persist(self.queue.enter)
        while not self._persist(self.queue.counts).is_done:
            try:
                self._step()
            except QueueUnreachable:
                continue
        self._persist(lambda: self.queue.leave({}))

    def _persist(self, call: Callable[[], _T]) -> _T:
        while True:
            try:
                return call()
            except QueueUnreachable:
                continue

    def _step(self) -> None:
        if self.lease != self.queue.lease:
            self._recover()
        if time.monotonic() - self.beat > self.part.ttl / 3:
            self.beat = time.monotonic()
            if not self.queue.heartbeat({"held": len(self.held)}):
                self._recover()
        if len(self.held) < 24:
            self._claim()
        time.sleep(self.random.uniform(0, 0.004))
        if self.random.random() < 0.03:
            given = self._some()
            self.held = [ordinal for ordinal in self.held if ordinal not in given]
            self.queue.give_back(given)
        self._complete(self._some())

    def _some(self) -> list[int]:
        return self.random.sample(self.held, self.random.randint(0, min(len(self.held), 8)))

    def _claim(self) -> None:
        began = time.monotonic()
        claimed = self.queue.claim(self.random.randint(1, 40), self.held)
        if self.lease == self.queue.lease:
            self._note(EventKind.HANDED_OUT, claimed, began)
            self.held += claimed
        else:
            self.held += claimed  # with what was kept of the rest they are asked for anew
            self._recover()
        if not claimed or self.random.random() < 0.1:
            self.queue.reap()

    def _recover(self) -> None:
        began = time.monotonic()
        self.held = self.queue.reclaim(self.held)
        self.lease = self.queue.lease
        self._note(EventKind.HANDED_OUT, self.held, began)
        lost = self.queue.lost()
        if lost:
            began = time.monotonic()
            given_up = [ordinal for ordinal in self.queue.reclaim(lost) if ordinal not in self.held]
            self._note(EventKind.HANDED_OUT, given_up, began)
            self.held += given_up

    def _complete(self, ordinals: list[int]) -> None:
        if not ordinals:
            return
        body = json.dumps({"agent": self.part.name})
        began = time.monotonic()
        counted = self.queue.complete([answer(ordinal, body=body) for ordinal in ordinals])
        self._note(EventKind.ACKNOWLEDGED, counted, began)
        self._note(EventKind.REFUSED, set(ordinals) - counted, began)
        self.held = [ordinal for ordinal in self.held if ordinal not in ordinals]

    def _note(self, kind: EventKind, ordinals: Iterable[int], began: float) -> None:
        """Write what was seen at once: this process may be killed."""
        lines = [
            [kind.name, ordinal, self.part.name, self.queue.lease, began, time.monotonic()] for ordinal in ordinals
        ]
        if lines:
            os.write(self._log, "".join(f"{json.dumps(line)}\n" for line in lines).encode())


def main(argument: str) -> None:
    """Do one agent's part, by a clock that goes wrong."""
    part = Part(**json.loads(argument))
    now = time.time
    time.time = lambda: now() + part.skew
    NotingAgent(part).work()


if __name__ == "__main__":
    main(sys.argv[1])
