"""The end of a session with a matrix: its exit status, its reports, and what went wrong with those."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_spip.hooks.exit_status import SUMMARISED, exit_status, shared_status, status_of_faults
from pytest_spip.hooks.extensions import Extensions
from pytest_spip.hooks.report_targets import ReportTargets
from pytest_spip.model import NO_CHECK, Summary
from pytest_spip.record.rundir import RunDirectory
from pytest_spip.session.loading import is_failing
from pytest_spip.session.planned import Planned

if TYPE_CHECKING:
    from pytest_spip.session.reference import Reference

__all__ = ["Closing"]


class Closing:
    """Writes the reports of a session once there is a summary: files first, the terminal's after pytest's own."""

    def __init__(
        self,
        config: pytest.Config,
        planned: Planned,
        reference: Reference | None,
        targets: ReportTargets,
        extensions: Extensions,
    ) -> None:
        self._config = config
        self._planned = planned
        self._reference = reference
        self._settings = planned.planner.settings
        self._targets = targets
        self._extensions = extensions
        self._checks = self._settings.check != NO_CHECK
        self._summary: Summary | None = None

    def close(
        self, session: pytest.Session, exitstatus: int, summary: Summary, directory: RunDirectory, failing: int = 0
    ) -> None:
        """Settle the exit status, and write the files; ``failing`` counts the combinations that pytest calls failed."""
        if self._reference:
            summary = dataclasses.replace(summary, comparison=self._reference.compared(summary))
        self._summary = summary
        self._targets.directory = directory
        session.exitstatus = self._status(session, summary, failing)
        self._targets.write_files(summary, self._planned.plan)
        self._update_baseline(summary)
        self._add_job_summary(summary)
        self.fail_for_faults(session)
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if exitstatus not in SUMMARISED and reporter:  # pytest itself says nothing then
            self._write(reporter, summary)

    def _status(self, session: pytest.Session, summary: Summary, failing: int) -> int:
        status = int(session.exitstatus)
        if self._planned.earlier:
            status = self._planned.earlier.exit_status(status, summary)
        others = session.testsfailed - failing
        if self._planned.shared and self._targets.directory:
            status = shared_status(status, others=others, failing=is_failing(self._targets.directory))
        if self._settings.fail_on != "any":
            from pytest_spip.hooks.gate import gated_status  # few runs are compared

            status = gated_status(status, self._settings.fail_on, summary.comparison, others=others)
        return exit_status(status, summary) if self._checks else status

    def _add_job_summary(self, summary: Summary) -> None:
        """Add the report to the page of a GitHub job, where this is one."""
        path = os.environ.get("GITHUB_STEP_SUMMARY")
        if path and self._checks:
            from pytest_spip.report.markdown import markdown  # few sessions are jobs of GitHub's

            with contextlib.suppress(OSError), Path(path).open("a", encoding="utf-8", errors="replace") as page:
                page.write(markdown(summary))

    def _update_baseline(self, summary: Summary) -> None:
        if not self._settings.update_baseline or self._reference is None:
            return
        from pytest_spip.session.reference import update_baseline  # as above

        path = self._config.invocation_params.dir / self._settings.baseline
        try:
            update_baseline(self._reference, summary, path)
        except OSError as error:
            self.add_problem(f"--spip-update-baseline: cannot write {path} ({error.strerror})")

    def add_problem(self, problem: str) -> None:
        """Have a line written beside the reports, and the session fail for it."""
        self._targets.problems.append(problem)

    def fail_for_faults(self, session: pytest.Session) -> None:
        """Let the session fail where a hook went wrong, or a report is missing."""
        session.exitstatus = status_of_faults(int(session.exitstatus), self._faults)

    @property
    def _faults(self) -> list[str]:
        return [*self._targets.problems, *self._extensions.faults]

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
        """Write the terminal's report after pytest's own: the grid is what a person should see last."""
        yield
        if self._summary:
            self._write(terminalreporter, self._summary)
        if session := terminalreporter._session:  # noqa: SLF001  # the hook does not pass it
            self.fail_for_faults(session)

    def _write(self, reporter: pytest.TerminalReporter, summary: Summary) -> None:
        if self._checks:
            self._targets.write("terminal", "", summary, self._planned.plan)
        if summary.comparison and os.environ.get("GITHUB_ACTIONS"):
            from pytest_spip.hooks.gate import annotation_lines  # as above

            for line in annotation_lines(summary.comparison):
                reporter.write_line(line)
        for line in self._faults:
            reporter.write_line(f"spip: {line}", red=True)
