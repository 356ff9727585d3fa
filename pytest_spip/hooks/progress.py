"""What a run says of itself while it goes on: the line of progress, and ``--spip-stats``."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import pytest

from pytest_spip.common.machine import Machine
from pytest_spip.common.waits import ENDING
from pytest_spip.dispatch.concurrency import Sampler
from pytest_spip.errors import UsageProblem
from pytest_spip.hooks.live_view import LiveView
from pytest_spip.report.progress import Progress, view
from pytest_spip.report.stats import StatsLine, stats_line

if TYPE_CHECKING:
    from pytest_spip.options import Settings
    from pytest_spip.session.run import Run

__all__ = ["ProgressLine", "StatsReporter", "check_stats"]

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
            _write_below(reporter, f"spip: {progress.line(now)}")

    def _runs(self, now: float) -> list[tuple[str, str, float]]:
        """Return what each worker runs, and since when it is seen to."""
        running = self._running()
        self._since = {
            worker: (what, self._since[worker][1] if self._since.get(worker, ("", 0))[0] == what else now)
            for worker, what in running.items()
        }
        return [(worker, what, since) for worker, (what, since) in self._since.items()]


class StatsReporter:
    """Tells the state of the run every so many seconds: on the terminal unless that is to be quiet, and in a file if one is named.

    The file gets a JSON object a line, and a last one at the end. ``progress`` and ``workers``, those busy and idle, are
    called from the ticker's thread. Raises ``UsageProblem`` for a file that cannot be written.
    """

    def __init__(
        self,
        config: pytest.Config,
        seconds: float,
        path: Path | None,
        progress: Callable[[], Progress],
        workers: Callable[[], tuple[int, int]],
        machine: Sampler,
    ) -> None:
        self._config = config
        self._seconds = seconds
        self._file = _opened(path) if path else None
        self._progress = progress
        self._workers = workers
        self._machine = machine
        self._before = (time.monotonic(), 0)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._report_regularly, name="stats", daemon=True)
        self._held = contextlib.ExitStack()

    def start(self) -> None:
        """Begin to tell; while nothing is captured."""
        if self._reporter is not None and not is_live(self._config):  # the live view sees to it
            self._held.enter_context(_past_capture(self._reporter))
        self._thread.start()

    def stop(self) -> None:
        """End, with a last line in the file if it ever began; a second time does nothing."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(ENDING)
        self._held.close()
        if self._file is not None and self._thread.ident is not None:
            self._append(self._line())
        self._close()

    @classmethod
    def asked_for(cls, config: pytest.Config, run: Run, workers: Callable[[], tuple[int, int]]) -> StatsReporter | None:
        """Return what the run's ``--spip-stats`` asks for, if it does."""
        seconds, path = run.settings.stats
        place = config.invocation_params.dir / path if path else None
        return cls(config, seconds, place, lambda: run.progress, workers, Machine()) if seconds else None

    @property
    def _reporter(self) -> pytest.TerminalReporter | None:
        reporter: pytest.TerminalReporter | None = self._config.pluginmanager.get_plugin("terminalreporter")
        return reporter if self._config.get_verbosity() >= 0 else None

    def _report_regularly(self) -> None:
        while not self._ended.wait(self._seconds):
            if self._progress().planned:
                line = self._line()
                self._append(line)
                self._show(f"spip: {line.text}")

    def _line(self) -> StatsLine:
        progress, seen, now = self._progress(), self._machine.look(), time.monotonic()
        before, self._before = self._before, (now, progress.done)
        return stats_line(
            progress,
            now,
            before,
            at=datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            workers=self._workers(),
            machine=seen,
        )

    def _append(self, line: StatsLine) -> None:
        if self._file is None:
            return
        try:
            print(json.dumps(line.to_plain()), file=self._file, flush=True)
        except OSError as error:
            self._close()
            self._show(f"spip: --spip-stats: the file gets no more lines ({error.strerror})")

    def _close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # what could not be written before is tried again
                self._file.close()
        self._file = None

    def _show(self, line: str) -> None:
        reporter = self._reporter
        if reporter is not None:
            _write_below(reporter, line)


def is_live(config: pytest.Config) -> bool:
    """Return True if lines that are drawn again and again stand for the dots."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and config.get_verbosity() == 0


def _write_below(reporter: pytest.TerminalReporter, line: str) -> None:
    view = reporter._tw._file  # noqa: SLF001
    if isinstance(view, LiveView):
        reporter.currentfspath = None
        view.write_line(line)
        return
    # In one piece, for another thread may be about to write a dot, which pytest's own ensure_newline knows nothing of.
    begun = reporter._tw.width_of_current_line or reporter.currentfspath  # noqa: SLF001
    reporter.currentfspath = None
    reporter.write("\n" * bool(begun) + f"{line}\n", flush=True)


@contextlib.contextmanager
def _past_capture(reporter: pytest.TerminalReporter) -> Iterator[None]:
    """Have a reporter write to a descriptor of its own: where items run in this process pytest turns away the usual one."""
    writer = reporter._tw  # noqa: SLF001  # nobody offers it, and what is captured with an item is shown to nobody
    usual = writer._file  # noqa: SLF001
    try:
        usual.flush()
        own = open(os.dup(usual.fileno()), "w", 1, usual.encoding, usual.errors)  # noqa: SIM115  # closed below
    except (OSError, ValueError, AttributeError):  # no real file: nothing turns it away
        yield
        return
    writer._file = own  # noqa: SLF001
    try:
        yield
    finally:
        writer._file = usual  # noqa: SLF001
        own.close()


def check_stats(config: pytest.Config, settings: Settings) -> None:
    """Raise ``UsageProblem`` where the file of ``--spip-stats`` cannot be written."""
    seconds, path = settings.stats
    if seconds and path:
        _opened(config.invocation_params.dir / path).close()


def _opened(path: Path) -> TextIO:
    try:
        return path.open("a", encoding="utf-8")
    except OSError as error:
        raise UsageProblem(
            "--spip-stats", f"cannot write {path} ({error.strerror})", "name a file to append to"
        ) from error
