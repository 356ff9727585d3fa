"""A plan, with who made it and the interrupted run that it goes on with: what a session knows before anything runs."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_spip.compose.git import check_git
from pytest_spip.model import Combo, Interpreter, Plan
from pytest_spip.options import Settings
from pytest_spip.session.extras import shared_run
from pytest_spip.session.planner import Planner
from pytest_spip.session.resume import Interrupted
from pytest_spip.session.sandbox_choice import SandboxChoice
from pytest_spip.session.sharding import elsewhere_of

if TYPE_CHECKING:
    from pytest_spip.session.shared_run import SharedRun

__all__ = ["Planned", "make_planned"]

Choose = Callable[[list[Combo], Sequence[Interpreter]], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Planned:
    """What a session has planned.

    ``earlier`` is the run that it resumes, ``elsewhere`` are the ordinals that other shards run, ``shared`` is its part in a
    run that it shares with other hosts.
    """

    planner: Planner
    plan: Plan
    earlier: Interrupted | None
    interpreters: Mapping[str, Interpreter]
    elsewhere: frozenset[int] = frozenset()
    shared: SharedRun | None = None

    @property
    def missing(self) -> Sequence[Combo]:
        """The combinations that have no verdict yet, and that no other shard runs."""
        return self.earlier.missing if self.earlier else self.own

    @property
    def own(self) -> Sequence[Combo]:
        """The plan, but for what other shards run."""
        if not self.elsewhere:
            return self.plan.combos
        return [one for one in self.plan.combos if one.ordinal not in self.elsewhere]

    @property
    def is_complete(self) -> bool:
        """Whether an earlier session has left nothing to run, nor verdicts that other hosts may not have yet."""
        return self.earlier is not None and not self.earlier.missing and self.shared is None

    @property
    def decided(self) -> frozenset[int]:
        """Ordinals that need no provisioning. What resuming decides is not in the frozen plan, and is provisioned."""
        if self.earlier:
            return self.earlier.kept
        return frozenset(combo.ordinal for combo in self.plan.combos if combo.plan_verdict)

    def close(self) -> None:
        """Give back the cache and the run that was taken up."""
        self.planner.close()
        if self.earlier:
            self.earlier.release()
        if self.shared:
            self.shared.close()


def make_planned(
    settings: Settings,
    rootdir: Path,
    environ: Mapping[str, str],
    choice: SandboxChoice,
    *,
    offered: Callable[[], Iterable[str]],
    choose: Choose,
    opened: Callable[[Planner], None],
    keep: bool,
) -> Planned:
    """Plan, or take up the plan of the run that is to go on, which ``keep`` makes this process's.

    ``offered`` returns further interpreters, ``choose`` may change the list of combinations in place; a plan that stands asks
    neither. ``opened`` is called as soon as there is a planner. Raises ``SpipError``; nothing stays open then.
    """
    with contextlib.ExitStack() as undo:
        earlier = Interrupted(rootdir, settings, keep=keep) if settings.resume else None
        if earlier:
            undo.callback(earlier.release)
        shared = _shared(settings) if keep else None
        if shared:
            undo.callback(shared.close)
        date = earlier.date if earlier else shared.date if shared else ""
        planner = Planner(settings, rootdir, environ, choice, date)
        undo.callback(planner.close)
        opened(planner)
        check_git(planner.cache)
        plan = earlier.plan(planner) if earlier else planner.plan(offered(), choose)
        undo.pop_all()
    elsewhere = earlier.elsewhere if earlier else elsewhere_of(plan, settings, rootdir)
    return Planned(planner, plan, earlier, {one.id: one for one in plan.interpreters}, elsewhere, shared)


def _shared(settings: Settings) -> SharedRun | None:
    if not settings.queue:
        return None
    shared: SharedRun = shared_run().open_shared_run(settings, Path.cwd())
    return shared
