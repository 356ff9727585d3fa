"""The line of progress: what a run says of itself while it goes on."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import pytest

from pytest_spip.common.waits import ENDING
from pytest_spip.hooks.live_view import LiveView
from pytest_spip.report.progress import Progress, view

if TYPE_CHECKING:
    from pytest_spip.session.run import Run

__all__ = ["ProgressLine", "is_live", "write_below"]

LIVE_PERIOD = 0.2
PLAIN_PERIOD = 10.0
"""Seconds between two tellings, on a terminal and elsewhere."""


class ProgressLine:
    """Says how far the run is: on a terminal in a few lines, drawn again in place of pytest's dots; elsewhere a line at times.

    Elsewhere it speaks only while provisioning goes on, for then the dots stand still. ``running`` returns what each worker
    runs; it is called from a thread.
    """

    def __init__(self, config: pytest.Config, running: Callable[[], Mapping[str, str]] = dict) -> None:
        self.live = is_live(config)
        self._config = config
        self._running = running
        self._since: dict[str, tuple[str, float]] = {}
        self._ended = threading.Event()
        self._silent = False
        self._thread: threading.Thread | None = None
        self._view: LiveView | None = None

    def start(self, run: Run) -> None:
        """Begin to say it."""
        if self._config.get_verbosity() >= 0 and self._reporter is not None:
            if self.live:
                # Without dots there is nothing to put a percentage behind.
                vars(self._reporter)["_show_progress_info"] = False
                self._view = LiveView(self._reporter)
            self._thread = threading.Thread(
                target=self._report_regularly, args=(run,), name="progress_line", daemon=True
            )
            self._thread.start()

    def pause(self) -> None:
        """Say nothing for a while: somebody else has the terminal."""
        self._silent = True
        if self._view is not None:
            self._view.leave()

    def go_on(self) -> None:
        """Say it again."""
        self._silent = False

    def stop(self) -> None:
        """End, and leave the cursor on a line of its own."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(ENDING)
        if self._view is not None:
            self._view.close()
        self._thread = self._view = None

    @property
    def _reporter(self) -> pytest.TerminalReporter | None:
        reporter: pytest.TerminalReporter | None = self._config.pluginmanager.get_plugin("terminalreporter")
        return reporter

    def _report_regularly(self, run: Run) -> None:
        while not self._ended.wait(LIVE_PERIOD if self._view else PLAIN_PERIOD):
            self._report(run.progress)
        if self._view and run.progress.planned:
            self._view.draw([(f"spip: {run.progress.line(time.monotonic())}"[: self._view.width - 1], "")])

    def _report(self, progress: Progress) -> None:
        reporter, now = self._reporter, time.monotonic()
        if reporter is None or not progress.planned or self._silent:
            return
        if self._view:
            self._view.draw(view(progress, now, self._runs(now), self._view.width, self._view.height))
        elif progress.provisioned < progress.planned:
            write_below(reporter, f"spip: {progress.line(now)}")

    def _runs(self, now: float) -> list[tuple[str, str, float]]:
        """Return what each worker runs, and since when it is seen to."""
        running = self._running()
        self._since = {
            worker: (what, self._since[worker][1] if self._since.get(worker, ("", 0))[0] == what else now)
            for worker, what in running.items()
        }
        return [(worker, what, since) for worker, (what, since) in self._since.items()]


def is_live(config: pytest.Config) -> bool:
    """Return True if lines that are drawn again and again stand for the dots."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and config.get_verbosity() == 0


def write_below(reporter: pytest.TerminalReporter, line: str) -> None:
    """Write a line of its own, whatever pytest has begun."""
    view = reporter._tw._file  # noqa: SLF001
    if isinstance(view, LiveView):
        reporter.currentfspath = None
        view.write_line(line)
        return
    # In one piece, for another thread may be about to write a dot, which pytest's own ensure_newline knows nothing of.
    begun = reporter._tw.width_of_current_line or reporter.currentfspath  # noqa: SLF001
    reporter.currentfspath = None
    reporter.write("\n" * bool(begun) + f"{line}\n", flush=True)
