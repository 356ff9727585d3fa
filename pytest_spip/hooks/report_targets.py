"""What ``--spip-report`` names: checked before anything begins, written when all is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_spip.errors import UsageProblem
from pytest_spip.hooks.extensions import Extensions
from pytest_spip.model import Plan, Summary
from pytest_spip.options import Settings
from pytest_spip.record.rundir import RunDirectory
from pytest_spip.report import terminal
from pytest_spip.report.support_lines import support_lines
from pytest_spip.session.report_kinds import FILE_REPORTS, Recorded

__all__ = ["ReportTargets"]

KINDS = ("terminal", *FILE_REPORTS)
SILENT = -2
"""pytest's verbosity, ``-qq``, from which on it writes no summary line, and we no grid."""
THERE_ARE = f"{', '.join(KINDS[:-1])} and {KINDS[-1]}"


class ReportTargets:
    """The reports of a session, and the hook that writes our own kinds of them. ``problems`` are those that were not written.

    ``finish`` is called with each file that was written, or should be.
    """

    def __init__(
        self, config: pytest.Config, settings: Settings, extensions: Extensions, finish: Callable[[Path], None]
    ) -> None:
        self._config = config
        self._finish = finish
        self._settings = settings
        self._extensions = extensions
        self.directory: RunDirectory | None = None
        self.problems: list[str] = []

    def check(self) -> None:
        """Refuse what cannot be written. Raises ``UsageProblem``."""
        foreign = [one for one in self._config.hook.pytest_spip_report.get_hookimpls() if one.plugin is not self]
        for kind, path in self._settings.report:
            place = self._config.invocation_params.dir / path
            if kind not in KINDS and not foreign:
                raise UsageProblem("--spip-report", f"no report is named {kind!r}", f"there are {THERE_ARE}")
            if kind in FILE_REPORTS and not path:
                fix = f"write it like --spip-report={kind}:out.json"
                raise UsageProblem("--spip-report", f"{kind} needs a path", fix)
            if path and not place.parent.is_dir():
                raise UsageProblem("--spip-report", f"{path}: no such directory", "create it first")
            if path and place.is_dir():
                raise UsageProblem("--spip-report", f"{path} is a directory", "name a file")

    def write_files(self, summary: Summary, plan: Plan) -> None:
        """Write all but the terminal's."""
        for kind, path in self._settings.report:
            if kind != "terminal":
                self.write(kind, str(self._config.invocation_params.dir / path) if path else "", summary, plan)

    def write(self, kind: str, path: str, summary: Summary, plan: Plan) -> None:
        """Write one report."""
        try:
            known = self._extensions.report(kind, path, summary, plan)
        except OSError as error:
            self.problems.append(f"--spip-report={kind}: cannot write {path} ({error.strerror})")
        else:
            if path:
                self._finish(Path(path))
            if not known:
                self.problems.append(f"--spip-report: no report is named {kind!r}; there are {THERE_ARE}")

    @pytest.hookimpl(trylast=True)
    def pytest_spip_report(self, kind: str, path: str, summary: Summary) -> bool | None:
        """Our own reports."""
        if kind == "terminal":
            reporter = self._config.pluginmanager.get_plugin("terminalreporter")
            if reporter is not None and self._config.get_verbosity() > SILENT:
                _write_terminal(reporter, summary, why=self._config.getoption("tbstyle", "auto") != "no")
            return True
        if kind in FILE_REPORTS and self.directory:
            FILE_REPORTS[kind].write(Recorded(summary, self.directory), Path(path))
            return True
        return None


def _write_terminal(reporter: pytest.TerminalReporter, summary: Summary, *, why: bool) -> None:
    """Write grid, summary line, and if ``why`` groups."""
    reporter.section("spip: versions x Pythons")
    _write_lines(reporter, terminal.grid_lines(summary))
    if summary.groups and why:
        reporter.section("spip: failures")
        _write_lines(reporter, terminal.group_lines(summary.groups))
    if lines := list(support_lines(summary.support)) if why else []:
        reporter.section("spip: support")
        _write_lines(reporter, iter(lines))
    if summary.bisect:
        from pytest_spip.report.bisection import bisection_lines  # few runs bisect, or are compared

        reporter.section("spip: bisection")
        _write_lines(reporter, bisection_lines(summary.bisect))
    if summary.comparison:
        from pytest_spip.report.change_lines import comparison_lines

        reporter.section("spip: changes")
        _write_lines(reporter, comparison_lines(summary.comparison))
    reporter.write_line("")
    _write_lines(reporter, terminal.warning_lines(summary))
    _write_lines(reporter, terminal.disagreement_lines(summary))
    reporter.write_line(f"spip: {terminal.summary_line(summary)}", bold=True)
    for line in terminal.closing_lines(summary):
        reporter.write_line(f"spip: {line}")


def _write_lines(reporter: pytest.TerminalReporter, lines: Iterator[terminal.Line]) -> None:
    for line in lines:
        for text, style in line:
            markup = {{"dim": "light"}.get(style, style): True} if style else {}
            reporter.write(text, **markup)
        reporter.line("")
