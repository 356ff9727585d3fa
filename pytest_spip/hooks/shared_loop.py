"""Runs the items of a session without workers that shares its run: in the order in which they are claimed."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import pytest

from pytest_spip.common.waits import PATIENCE
from pytest_spip.hooks.items import MatrixItem
from pytest_spip.session.readiness import Listener

__all__ = ["SharedLoop"]

LOOK = 0.5
"""Seconds between two looks whether the session is to stop."""


class SharedLoop:
    """pytest's loop over items, but for combinations, of which each comes when this host has claimed it."""

    def __init__(self, may_judge: Callable[[int], bool]) -> None:
        self._may_judge = may_judge
        self._news: queue.SimpleQueue[int | frozenset[int]] = queue.SimpleQueue()
        """What is ready, and what is judged elsewhere."""
        self._withdrawn: set[int] = set()
        self._fault = ""

    @property
    def listener(self) -> Listener:
        """What the run is to call."""
        return Listener(self._on_ready, self._withdrawn.update, self._on_elsewhere, self._on_fault)

    def _on_ready(self, ordinals: Sequence[int]) -> None:
        ours = [ordinal for ordinal in ordinals if self._may_judge(ordinal)]  # the others are for test functions
        self._withdrawn.difference_update(ours)
        for ordinal in ours:
            self._news.put(ordinal)

    def _on_elsewhere(self, ordinals: Sequence[int]) -> None:
        self._news.put(frozenset(ordinals))

    def _on_fault(self, fault: str) -> None:
        self._fault = fault
        self._news.put(frozenset())

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Run what is not ours as pytest does, and then combinations, until the run is done."""
        if session.testsfailed and not session.config.option.continue_on_collection_errors:
            return None  # pytest says so
        ours = {item.combo.ordinal: item for item in session.items if isinstance(item, MatrixItem)}
        others = [item for item in session.items if not isinstance(item, MatrixItem)]
        first = next(iter(ours.values()), None)
        for item, after in pairwise([*others, first]):
            assert item is not None, "only the last is none"
            self._run(session, item, after)
        last = next(reversed(ours.values()), None)
        try:
            for ordinal in self._claimed(session, set(ours)):
                item = ours[ordinal]
                self._run(
                    session, item, last if item is first else first
                )  # which one, nobody knows: it has the same parents
        finally:
            session._setupstate.teardown_exact(None)  # noqa: SLF001  # what pytest does behind the last item
        if self._fault:
            raise session.Interrupted(self._fault)
        return True

    def _claimed(self, session: pytest.Session, left: set[int]) -> Iterator[int]:
        """Yield the ordinals of combinations that this host is to judge, each once; ``left`` are those that nobody has judged."""
        waits = not left  # where all is judged, and not shared: who holds it must be lost first
        until = time.monotonic() + PATIENCE
        while (left or waits) and not self._fault and time.monotonic() < until:
            self._stop_early(session)
            try:
                news = self._news.get(timeout=LOOK)
            except queue.Empty:
                continue
            if isinstance(news, frozenset):
                left -= news
                waits = False
            elif news in left and news not in self._withdrawn:
                left.discard(news)
                yield news
                until = time.monotonic() + PATIENCE

    def _run(self, session: pytest.Session, item: pytest.Item, after: pytest.Item | None) -> None:
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
        self._stop_early(session)

    @staticmethod
    def _stop_early(session: pytest.Session) -> None:
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
