"""The process that the user started: it plans when the session starts, and gives everything back at the end."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pytest

from pytest_spip.common.processes import kill_descendants
from pytest_spip.errors import SpipError, UsageProblem
from pytest_spip.hooks.closing import Closing
from pytest_spip.hooks.debugger import Debugger
from pytest_spip.hooks.extensions import Extensions
from pytest_spip.hooks.items import Matrix
from pytest_spip.hooks.listing import only_lists
from pytest_spip.hooks.planned_matrix import PlannedMatrix
from pytest_spip.hooks.remote_workers import check_workers
from pytest_spip.hooks.report_targets import ReportTargets
from pytest_spip.hooks.run_matrix import RunMatrix
from pytest_spip.hooks.signals import Interrupts
from pytest_spip.model import Combo
from pytest_spip.options import Settings
from pytest_spip.record.rundb import DatabaseError
from pytest_spip.session.cache_upkeep import tend_cache
from pytest_spip.session.planned import Planned, make_planned
from pytest_spip.session.planner import Planner
from pytest_spip.session.resume import public_command
from pytest_spip.session.run import Run
from pytest_spip.session.sandbox_choice import SandboxChoice
from pytest_spip.session.umask import SessionUmask

if TYPE_CHECKING:
    from pytest_spip.hooks.forked_workers import ForkedWorkers
    from pytest_spip.hooks.stats import StatsReporter
    from pytest_spip.hooks.xdist_plugin import Distribution
    from pytest_spip.session.reference import Reference

__all__ = ["Controller"]


class Controller:
    """Plans, creates the run unless there is nothing to run, and has ``register`` called with the matrix that came of it."""

    def __init__(
        self,
        config: pytest.Config,
        named: Sequence[str],
        settings: Settings,
        choice: SandboxChoice,
        register: Callable[[Matrix], None],
        umask: SessionUmask,
        workers: ForkedWorkers | None,
    ) -> None:
        self._config = config
        self._named = named
        self._settings = settings
        self._choice = choice
        self._register = register
        self._planner: Planner | None = None
        self._run: Run | None = None
        self._held = contextlib.ExitStack()
        self._umask = umask
        self._workers = workers
        self._held.callback(self._umask.restore)
        self._extensions = Extensions(config)
        self._targets = ReportTargets(config, settings, self._extensions, self._umask.close_to_others)
        config.pluginmanager.register(self._targets, "spip-reports")
        self._interrupts = Interrupts(self._rescue)
        self._interrupts.install()
        config.pluginmanager.register(self._interrupts, "spip-interrupts")
        self._distributed = bool(config.getoption("tx", None)) and config.getoption("dist", "no") != "no"

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Plan, and unless pytest only lists, create the run. Before workers start, and before the header is printed."""
        try:
            self._check()
            reference = self._reference()
            planned = self._plan()
            closing = Closing(self._config, planned, reference, self._targets, self._extensions)
            self._config.pluginmanager.register(closing, "spip-closing")
            if planned.is_complete or only_lists(self._config):
                self._register(PlannedMatrix(self._config, planned, closing))
            else:
                self._begin(planned, closing, reference)
        except SpipError as error:
            self._held.close()
            raise pytest.UsageError(str(error)) from error

    def _check(self) -> None:
        """Refuse what can be refused before any work. Raises ``UsageProblem``."""
        if self._distributed and self._config.getoption("dist") == "each":
            what = "'each' would run every combination on every worker"
            raise UsageProblem("--dist", what, "leave the option out")
        if self._distributed:
            check_workers([*self._config.getoption("tx"), *(self._config.getoption("px", None) or ())])
        self._targets.check()
        if self._settings.stats[0]:
            from pytest_spip.hooks.stats import check_stats  # few sessions tell statistics

            check_stats(self._config, self._settings)
        Debugger.install(self._config)

    def _reference(self) -> Reference | None:
        """Return what the run is compared with, if the user names it. Raises ``UsageProblem``."""
        if not (self._settings.baseline or self._settings.compare):
            return None
        from pytest_spip.session.reference import open_reference  # few runs are compared

        return open_reference(self._settings, self._config.rootpath, self._config.invocation_params.dir)

    def _plan(self) -> Planned:
        planned = make_planned(
            self._settings,
            self._config.rootpath,
            os.environ,
            self._choice,
            offered=self._extensions.offered,
            choose=self._extensions.choose,
            opened=self._opened,
            keep=not only_lists(self._config),
        )
        self._held.callback(planned.close)
        return planned

    def _opened(self, planner: Planner) -> None:
        self._planner = planner

    def _begin(self, planned: Planned, closing: Closing, reference: Reference | None) -> None:
        """Create the run, and let its matrix take over."""
        config = self._config
        command = public_command(self._settings, map(str, config.invocation_params.args))
        run = self._run = Run(planned, config.rootpath, command, os.environ)
        self._held.callback(lambda: run.leave(now=self._interrupts.came))
        self._umask.close_to_others(config.rootpath / ".spip")
        distribution = self._distribution(run)
        stats = self._stats(run, distribution)
        if stats:
            self._held.callback(stats.stop)
        run.prepare()
        if reference:
            run.expect(reference.passing(planned.missing))
        matrix = RunMatrix(
            config,
            planned,
            closing,
            run=run,
            extensions=self._extensions,
            distribution=distribution,
            stats=stats,
        )
        self._register(matrix)
        if distribution:
            config.pluginmanager.register(distribution, "spip-distribution")
        matrix.start()

    def _stats(self, run: Run, distribution: Distribution | None) -> StatsReporter | None:
        if not run.settings.stats[0]:
            return None
        from pytest_spip.hooks.stats import StatsReporter  # as above

        return StatsReporter.asked_for(self._config, run, distribution.workers if distribution else lambda: (1, 0))

    def _distribution(self, run: Run) -> Distribution | None:
        if not self._distributed:
            return None
        from pytest_spip.hooks.xdist_plugin import Distribution  # it may not be installed

        return Distribution(self._config, run, self._workers)

    @pytest.hookimpl(tryfirst=True)
    def pytest_spip_plan(self, combos: list[Combo]) -> None:
        """Keep the combinations that node ids on the command line select; without any, keep all."""
        for name in self._named:
            if not any(_selects(name, combo.nodeid) for combo in combos):
                raise UsageProblem(name, "no such combination in the plan", "see --collect-only for those there are")
        if self._named:
            combos[:] = [combo for combo in combos if any(_selects(name, combo.nodeid) for name in self._named)]

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Give everything back, off the critical path."""
        self._held.close()
        if self._run and self._planner:
            planner = self._planner
            tend_cache(planner.cache, planner.settings.cache_size, offline=planner.indexes.offline)
        self._run = self._planner = None

    def _rescue(self) -> None:
        """Leave nothing behind but what counts, now."""
        if self._run:
            with contextlib.suppress(DatabaseError):  # what cannot be written is run again
                self._run.writer.flush()
        kill_descendants()
        if self._run:
            self._run.places.discard_root()
        if self._planner:
            self._planner.cache.close()


def _selects(name: str, nodeid: str) -> bool:
    return nodeid == name or nodeid.startswith((f"{name}[", f"{name}::"))
