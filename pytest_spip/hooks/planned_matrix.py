"""A plan of which this session runs nothing: pytest lists it, or an earlier session has completed it."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import pytest

from pytest_spip.common.plural import plural
from pytest_spip.hooks.closing import Closing
from pytest_spip.hooks.configuration import LEFT_OUT
from pytest_spip.hooks.header import matrix_line
from pytest_spip.hooks.items import Matrix
from pytest_spip.hooks.listing import only_lists
from pytest_spip.model import Combo, Interpreter
from pytest_spip.session.planned import Planned
from pytest_spip.session.summary import sum_up

__all__ = ["PlannedMatrix"]


class PlannedMatrix(Matrix):
    """In the process that the user started: the plan, and the header that shows it."""

    def __init__(self, config: pytest.Config, planned: Planned, closing: Closing) -> None:
        super().__init__(config, planned.planner.settings.check)
        self._planned = planned
        self._closing = closing

    def combos(self) -> Sequence[Combo]:
        """Return the plan, or what is left of it."""
        return self._planned.missing

    def plan(self) -> Sequence[Combo]:
        """Return the whole plan, but for what other shards run."""
        return self._planned.own

    def interpreter(self, combo: Combo) -> Interpreter:
        """Return a combination's interpreter."""
        return self._planned.interpreters[combo.interpreter]

    def pytest_report_header(self) -> list[str]:
        """Say what is planned, where environments live, and what was noticed."""
        planned = self._planned
        lines = [matrix_line(planned.plan), *self._left_out(), *self._run_lines()]
        lines += [planned.earlier.line] if planned.earlier else []
        if shard := planned.planner.settings.shard:
            what = plural(len(planned.missing), "combination")
            lines.append(f"shard {shard[0]} of {shard[1]}: {what}; 'pytest-spip merge' makes one run of all shards")
        return [f"spip: {line}" for line in (*lines, *(f"note: {note}" for note in planned.plan.notes))]

    def _left_out(self) -> list[str]:
        """Return a line on what of the project's pytest configuration does not hold for this session."""
        names = self.config.stash.get(LEFT_OUT, ())
        return [f"the project's pytest settings are left to its suites: {', '.join(names)}"] if names else []

    def _run_lines(self) -> list[str]:
        """Return what the header says of the run: there is none."""
        return []

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> Generator[None, None, None]:
        """Report what an earlier session has completed."""
        yield
        self.close()
        planned = self._planned
        if planned.earlier and planned.is_complete and not only_lists(self.config):
            directory = planned.earlier.directory
            self._closing.close(session, exitstatus, sum_up(directory.database, planned.plan), directory)
        else:
            self._closing.fail_for_faults(session)
