"""``--spip-queue``: this session's part in a run that several hosts share. Imported only when a database is named."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from pytest_spip.common.waits import ENDING
from pytest_spip.errors import QueueProblem, QueueUnreachable, UsageProblem
from pytest_spip.hosts.database import Database
from pytest_spip.hosts.queue import BATCH, Agent, Answer, Queue, SharedPlan, Task
from pytest_spip.hosts.records import Records
from pytest_spip.hosts.reservations import Reservations
from pytest_spip.hosts.status import live_agents, run_status
from pytest_spip.hosts.urls import parse_url
from pytest_spip.model import Result, RunFacts, Summary, digest
from pytest_spip.options import Settings
from pytest_spip.record.rundb import RunWriter
from pytest_spip.session.readiness import Listener
from pytest_spip.session.shared_builds import BuildTurns
from pytest_spip.session.shared_conditions import (
    OPTION,
    check_conditions,
    check_selection,
    conditions_of,
    refused_as,
)
from pytest_spip.session.shared_verdicts import SharedTask, body_of, digest_of, facts_of, packed, shared_results

__all__ = ["SharedRun", "open_shared_run"]

PLAN = "plan"
"""What the host that published a plan has reserved while it takes part."""
BOOT = Path("/proc/sys/kernel/random/boot_id")
AHEAD = 30.0
"""Seconds of work that a host claims for each of its workers."""
MOST = 256
"""Combinations that a host holds at most."""
TICK = 1.0
"""Seconds after which a verdict is shared, and the queue is asked again."""
PATIENCE = 20.0
"""Seconds for which one attempt to reach the database lasts; work goes on meanwhile."""
BRIEF = 10.0
"""Seconds for which it is tried at first, and at the end, while somebody waits."""
GIVE_UP = 900.0
"""Seconds without the database, and without work, after which a session ends; its verdicts can be shared later."""


def open_shared_run(settings: Settings, base: Path) -> SharedRun:
    """Return this session's part in the run that the settings name; ``base`` is where the database's file is seen from.

    Raises ``UsageProblem`` for options that do not go together, and where the database cannot be used.
    """
    if not settings.run:
        raise UsageProblem(OPTION, "hosts find each other by the run's name", "add --spip-run=NAME, the same on each")
    for other, given in (("--spip-shard", settings.shard), ("--spip-bisect", settings.bisect)):
        if given:
            raise UsageProblem(OPTION, f"it does not go with {other}", "leave one of them out")
    with refused_as(OPTION):
        return SharedRun(Database(parse_url(OPTION, settings.queue, base), patience=BRIEF), settings.run)


class SharedRun:
    """One agent among those that share a run: claims combinations, shares their verdicts, and takes over from the lost.

    A thread of its own talks to the database, from :meth:`start` on. Work goes on while that is away, and verdicts wait.
    """

    def __init__(self, database: Database, run: str) -> None:
        self._database = database
        host = socket.gethostname()
        boot = BOOT.read_text("ascii").strip() if BOOT.is_file() else host
        agent = Agent(f"{host}-{os.getpid()}-{uuid.uuid4().hex[:8]}", host, boot)
        self._queue = Queue(database, run, agent, ttl=database.url.lease)
        self._reservations = Reservations(Records(database, run, agent.id))
        self._held: dict[int, float] = {}
        self._ids: dict[int, str] = {}
        self._own: set[int] = set()
        self._bad = 0
        self._refused: dict[int, Answer] = {}
        self._unsent: list[Answer] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="queue", daemon=True)
        self._ahead = MOST
        self._workers = 1
        self._hosts = 1
        self._remaining: int | None = None
        self._beat = 0.0
        self._reached = time.monotonic()
        self._shared_count = 0
        self.done = 0
        self.problem = ""
        self.published = self._queue.look()

    @property
    def line(self) -> str:
        """What the header says."""
        what = f"shared with {self.published.facts['host']}" if self.published else "shared with whoever comes"
        return f"queue {self._database.url.public}: run {self._queue.run}, {what}"

    @property
    def elsewhere(self) -> int:
        """How many combinations other agents have judged, as far as was seen."""
        return max(self.done - self._shared_count, 0)

    @property
    def date(self) -> str:
        """The instant that the index is seen as of by all hosts; empty where nothing is published, or it cannot be had."""
        return str(self.published.facts["date"]) if self.published else ""

    @property
    def agent(self) -> str:
        """The id of this session among those that share the run."""
        return self._queue.agent.id

    def end_earlier(self, agent: str) -> None:
        """Give back what an earlier session of this host's run held, which has ended: nobody need wait for its lease."""
        if agent:
            with contextlib.suppress(QueueProblem):  # it expires
                Queue(self._database, self._queue.run, Agent(agent, self._queue.agent.host)).leave({})

    def check(self, facts: RunFacts) -> None:
        """Refuse to take part in another plan, or under other conditions. Raises ``UsageProblem``."""
        if self.published:
            check_conditions(self.published.facts, conditions_of(facts), self._queue.run)

    def start(
        self,
        facts: RunFacts,
        combos: Sequence[SharedTask],
        database: Path,
        *,
        workers: int,
        listener: Listener,
        lose: Callable[[int], None],
        judged: Iterable[tuple[Result, bool]] = (),
    ) -> None:
        """Publish the plan or take part in it, and begin to claim of the run's combinations.

        ``database`` is the run as it was planned. ``judged`` are verdicts of an earlier session, with whether they fail the
        run: they are shared if nobody has judged the same since. The listener's ``ready`` gets what this host has claimed, and
        ``lose`` an ordinal over which too many hosts were lost, for which it records an error. Raises ``UsageProblem``.
        """
        self._lose = lose
        self._workers = max(workers, 1)
        mean = sum(one.cost for one in combos) / max(len(combos), 1)
        self._ahead = int(min(max(AHEAD * self._workers / max(mean, 1e-3), 2 * self._workers), MOST))
        longest_first = sorted(combos, key=lambda one: (-round(one.cost, 1), one.ordinal))
        tasks = [Task(one.ordinal, one.cost) for one in longest_first]
        own = {**conditions_of(facts), "chosen": digest([one.ordinal for one in combos])}
        with refused_as(OPTION):
            published = self._queue.publish(SharedPlan(facts.plan_hash, own, tasks, packed(database)))
            check_conditions(published.facts, own, self._queue.run)
            check_selection(published.facts, own, self._queue.run)
            self._queue.enter()
            if published.is_ours:
                self._reservations.reserve(PLAN, ttl=self._queue.ttl, body={"host": self._queue.agent.host})
        self.published = published
        self._ids = {one.ordinal: one.id for one in combos}  # who is refused has none, and no part in the run's end
        self._name = database.parent.name
        self._database.patience = PATIENCE
        self._remaining = published.size
        self._listener = listener
        for result, failing in judged:
            self.record(result, failing=failing)
        self._thread.start()

    def build_turns(self, cache: Path) -> BuildTurns:
        """Return what has hosts with one cache make each build once."""
        agent = self._queue.agent
        return BuildTurns(
            self._reservations, cache, host=agent.host, lease=self._queue.ttl, is_ended=self._ended.is_set
        )

    def record(self, result: Result, *, failing: bool) -> None:
        """Have a verdict shared."""
        answer = self._answer(result, failing=failing)
        with self._lock:
            self._own.add(result.ordinal)
            self._bad += result.verdict.outcome.is_bad
            self._unsent.append(answer)
            urgent = len(self._unsent) >= BATCH or len(self._held) - len(self._unsent) <= self._workers
        if urgent:
            self._wake.set()

    def _answer(self, result: Result, *, failing: bool) -> Answer:
        verdict = result.verdict
        reason = verdict.reason.value if verdict.reason else None
        return Answer(
            result.ordinal,
            verdict.outcome.value,
            reason,
            failing,
            result.seconds,
            result.fingerprint,
            body_of(result, failing=failing),
        )

    # the thread

    def _serve(self) -> None:
        while not self._ended.is_set():
            self._wake.wait(TICK)
            self._wake.clear()
            try:
                self._step()
            except QueueUnreachable as error:
                self.problem = str(error)
                if not self._outstanding() and time.monotonic() - self._reached > GIVE_UP:
                    self._listener.fault(f"{OPTION}: {error}; what is judged can be shared with --spip-resume")
                    return
            except QueueProblem as error:
                self._listener.fault(f"{OPTION}: {error}")
                return
            except BaseException as error:  # nobody asks this thread, and all would wait for it
                self._listener.fault(f"{OPTION}: {type(error).__name__}: {error}")
                return
            else:
                self._reached, self.problem = time.monotonic(), ""

    def _step(self) -> None:
        self._share()
        if time.monotonic() - self._beat > self._queue.ttl / 3:
            self._say_that_we_live()
        wanted = self._wanted()
        if wanted > 0 and not self._ended.is_set():
            self._claim(wanted)

    def _wanted(self) -> int:
        """Return how many combinations to claim: none while there is work enough, and at the end a fair part only."""
        outstanding, ahead = self._outstanding(), self._ahead
        if self._remaining is not None:
            ahead = min(ahead, max(self._remaining // (2 * self._hosts), 2 * self._workers))
        return ahead - outstanding if outstanding <= ahead // 2 else 0

    def _outstanding(self) -> int:
        """Return how many combinations this host holds and has not judged."""
        with self._lock:
            return len(self._held.keys() - {answer.ordinal for answer in self._unsent})

    def _share(self) -> None:
        """Record the verdicts that wait; those whose lease was lost once more if nobody else has taken them since."""
        while batch := self._unsent[:BATCH]:
            ordinals = [answer.ordinal for answer in batch]
            missing = set(ordinals) - self._queue.complete(batch)
            if missing:
                again = set(self._queue.reclaim(sorted(missing)))
                missing -= self._queue.complete([answer for answer in batch if answer.ordinal in again])
            self._refused |= {answer.ordinal: answer for answer in batch if answer.ordinal in missing}
            self._shared_count += len(batch) - len(missing)
            with self._lock:
                del self._unsent[: len(batch)]
                self._let_go(ordinals)

    def _let_go(self, ordinals: Iterable[int]) -> None:
        """Hold some combinations no more; the caller has the lock."""
        for ordinal in ordinals:
            self._held.pop(ordinal, None)

    def _say_that_we_live(self) -> None:
        self._beat = time.monotonic()
        state = self._state()
        if not self._queue.heartbeat(state):
            self._recover()
        self._reservations.beat(state, ttl=self._queue.ttl)
        self._queue.reap()
        self._look_around()

    def _recover(self) -> None:
        """Take back what the lost lease held, and let go of what others have by now."""
        with self._lock:
            held = sorted(self._held)
        kept = set(self._queue.reclaim(held))
        lost = [ordinal for ordinal in held if ordinal not in kept]
        with self._lock:
            self._let_go(lost)
        if lost:
            self._listener.withdrawn(lost)

    def _claim(self, count: int) -> None:
        with self._lock:
            known = set(self._held)
        claimed = self._queue.claim(count, known)
        if not claimed and self._queue.reap():
            claimed = self._queue.claim(count, known)
        if claimed:
            again = [self._refused.pop(one) for one in claimed if one in self._refused]
            with self._lock:
                self._held |= dict.fromkeys(claimed, time.monotonic())
                self._unsent += again  # they are judged, and whoever had them meanwhile is lost
            judged = {answer.ordinal for answer in again}
            self._listener.ready([ordinal for ordinal in claimed if ordinal not in judged])
        elif not known:
            self._give_up_lost()
            self._look_around()
            if self._remaining == 0:
                self._listener.elsewhere(sorted(self._ids.keys() - self._own))
                self._ended.set()

    def _give_up_lost(self) -> None:
        """Record an error for combinations over which too many hosts were lost: nobody is to run them any more."""
        for ordinal in self._queue.reclaim(self._queue.lost()):
            with self._lock:
                self._held[ordinal] = time.monotonic()
            self._lose(ordinal)
            self._listener.elsewhere([ordinal])

    def _look_around(self) -> None:
        counts = self._queue.counts()
        self._remaining, self.done = counts.size - counts.done, counts.done
        self._hosts = max(live_agents(self._database, self._queue.run), 1)

    def _state(self) -> dict[str, Any]:
        with self._lock:
            longest = next(iter(self._held.items()), None)  # they were claimed in this order
            return {
                "longest": [self._ids[longest[0]], round(time.monotonic() - longest[1], 1)] if longest else None,
                "workers": self._workers,
                "held": len(self._held),
                "judged": len(self._own),
                "waiting": len(self._unsent),
                "bad": self._bad,
            }

    # ending

    def stop(self) -> None:
        """End the thread; what waits is shared by :meth:`finish`."""
        self._ended.set()
        self._wake.set()
        self._database.stop()
        if self._thread.is_alive():
            self._thread.join(ENDING)

    def finish(self) -> bool:
        """Share what waits and give back what is held; return True if every combination of the run has its verdict."""
        self.stop()
        if self.published is None or not self._ids:
            return False
        self._database.ended.clear()
        self._database.patience = BRIEF
        try:
            self._share()
            self._queue.give_back(sorted(self._held))
            self._look_around()
        except QueueProblem as error:
            waiting = len(self._unsent)
            self.problem = f"{error}; {waiting} verdicts are not shared: repeat it with --spip-resume={self._name}"
            return False
        self.problem = ""
        return self._remaining == 0

    def take_in(self, writer: RunWriter) -> None:
        """Enter the verdicts of other hosts, which count where this one has judged the same in vain."""
        try:
            others = list(shared_results(self._queue, but=self._queue.agent.id))
            status = run_status(self._database, self._queue.run)
        except QueueProblem as error:
            self.problem = f"{error}; other hosts' verdicts are missing here"
            return
        writer.take_in((one.result, one.failing) for one in others)
        if status:
            writer.note(facts_of(status))

    def leave(self, summary: Summary) -> None:
        """Leave a digest of this session's telemetry, and be gone."""
        try:
            if self._ids:
                self._reservations.release(PLAN)
                self._queue.leave(digest_of(summary))
        except QueueProblem as error:
            self.problem = self.problem or str(error)
        finally:
            self.close()

    def close(self) -> None:
        """Close the connections."""
        self._database.close()
