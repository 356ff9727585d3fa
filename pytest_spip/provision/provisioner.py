"""Provisions combinations in the background: the queue and its threads; reports each as it is ready."""

from __future__ import annotations

import concurrent.futures
import functools
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from pytest_spip.model import (
    Builds,
    Combo,
    Outcome,
    Phase,
    Provisioned,
    Reason,
    Refused,
    Verdict,
)
from pytest_spip.provision.lanes import BuildNeeded, Lanes, Work
from pytest_spip.provision.recall import Recall

if TYPE_CHECKING:
    from pytest_spip.provision.maker import EnvironmentMaker

__all__ = ["Provisioner"]

FIRST, LARGEST = 16, 256
"""How many remembered combinations get ready together at first, and at most."""


class Provisioner:
    """A pool that turns combinations into environments: those that ``recall`` knows, and others by a maker.

    ``make`` returns that; it is called when the first combination is not remembered.
    ``on_ready`` is called from the pool's threads with combinations as they get ready, with each once: with many together that
    earlier runs provisioned, and one by one with others. ``on_fault`` is called when even that fails.
    """

    def __init__(
        self,
        recall: Recall,
        make: Callable[[], EnvironmentMaker],
        on_ready: Callable[[Sequence[Provisioned]], None],
        on_fault: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._recall = recall
        self._make = make
        self._made: EnvironmentMaker | None = None
        self._making = threading.Lock()
        self._on_ready = on_ready
        self._on_fault = on_fault
        self._open: set[int] = set()
        cores = os.cpu_count() or 1
        self._threads = min(32, 8 + 2 * cores)
        self._builders = max(cores, 2)
        threads = self._threads + self._builders
        self._pool = concurrent.futures.ThreadPoolExecutor(threads, thread_name_prefix="provision")
        self._lanes = Lanes(iter(()), 0)
        self._stopped = threading.Event()

    def start(self, combos: Iterable[Combo], *, first: Collection[int] | None = None) -> None:
        """Begin, once. Wheels come before sdists, and builds, the smallest first, hold nothing else up.

        With ``first``, ordinals, the others wait until :meth:`add` or :meth:`settle` names them.
        """
        waiting = tuple(combos)
        self._open = {combo.ordinal for combo in waiting}
        begun = waiting if first is None else [combo for combo in waiting if combo.ordinal in first]
        self._lanes = Lanes(self._in_order(begun), len(waiting))
        # Not a future for each combination: a hundred thousand of them take seconds to submit, and 1.5 KiB each.
        for _ in range(min(self._threads, len(waiting))):
            self._pool.submit(self._guarded, self._work)
        for number in range(min(self._builders, len(waiting))):
            self._pool.submit(self._guarded, functools.partial(self._build, small=number >= self._builders // 2))

    def add(self, combos: Iterable[Combo]) -> None:
        """Provision combinations that were held back."""
        self._lanes.add(combos)

    def settle(self, done: Sequence[Refused]) -> None:
        """Have combinations that were held back end without being provisioned."""
        if done:
            self._finish(done)

    @property
    def builds(self) -> Builds:
        """What is being built, and how many combinations wait for a build."""
        return Builds(self._made.builder.running if self._made else (), self._lanes.waiting)

    def stop(self) -> None:
        """End: what has not begun is dropped, what runs is killed."""
        self._stopped.set()
        self._lanes.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._making:
            if self._made:
                self._made.stop()
        self._pool.shutdown(wait=True)
        self._recall.save()

    def _maker(self) -> EnvironmentMaker:
        with self._making:
            if self._made is None:
                self._made = self._make()
                if self._stopped.is_set():  # nobody else would stop it
                    self._made.stop()
            return self._made

    def _guarded(self, work: Callable[[], None]) -> None:
        """Do a thread's work. Nobody asks its future: what it raises ends provisioning, and everything that waits for it."""
        try:
            work()
        except BaseException as error:
            self._end_for(error)

    def _end_for(self, error: BaseException) -> None:
        verdict = Verdict(Outcome.ERROR, Phase.PLAN, Reason.INTERNAL, f"provisioning: {type(error).__name__}: {error}")
        try:
            self._finish([Refused(ordinal, verdict) for ordinal in sorted(self._open)])
        except BaseException as again:  # such as the disk that the verdicts go to
            self._on_fault(f"provisioning: {type(again).__name__}: {again}")
        self._lanes.stop()

    def _work(self) -> None:
        while not self._stopped.is_set() and (job := self._lanes.next_quick()) is not None:
            if isinstance(job, list):
                self._finish(job)
                continue
            try:
                maker = self._maker()
                with maker.builder.without_building():
                    done = maker.provision(job)
            except BuildNeeded as needed:
                self._lanes.defer(job, needed)
            else:
                self._finish([done])

    def _build(self, *, small: bool) -> None:
        while not self._stopped.is_set() and (turn := self._lanes.next_build(small=small)) is not None:
            key, combo = turn
            done = self._maker().provision(combo)
            self._lanes.built(key)
            self._finish([done])
        if self._made:
            self._made.close_idle()

    def _finish(self, done: Sequence[Provisioned]) -> None:
        fresh = [one for one in done if one.ordinal in self._open]
        if fresh and not self._stopped.is_set():
            self._on_ready(fresh)
        self._open.difference_update(one.ordinal for one in fresh)
        self._lanes.done(len(done))

    def _in_order(self, combos: Iterable[Combo]) -> Iterator[Work]:
        """Yield the most urgent first. Who looks at wheels only when it is their turn keeps nobody waiting for the first.

        Those that are remembered come in lists, short ones at first: their work can begin.
        """
        batch: list[Provisioned] = []
        size = FIRST
        for combo in self._urgent_first(combos):
            known = None if combo.plan_verdict else self._recall.recalled(combo)
            if known:
                batch.append(known)
            if batch and (len(batch) == size or not known):
                yield batch
                batch, size = [], min(2 * size, LARGEST)
            if not known:
                yield combo
        if batch:
            yield batch

    def _urgent_first(self, combos: Iterable[Combo]) -> Iterator[Combo]:
        groups: dict[tuple[int, int], list[Combo]] = {}
        for combo in combos:
            if combo.plan_verdict:
                yield combo
            else:
                groups.setdefault(self._recall.interpreters[combo.interpreter].minor, []).append(combo)
        without_wheel = []
        for minor in sorted(groups, reverse=True):
            for combo in groups.pop(minor):
                if self._recall.has_wheels(combo):
                    yield combo
                else:
                    without_wheel.append(combo)
        yield from without_wheel
