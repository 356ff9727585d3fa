"""``--spip-stats``: the state of a run every so many seconds, on the terminal and in a file."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import pytest

from pytest_spip.common.machine import Machine
from pytest_spip.common.waits import ENDING
from pytest_spip.dispatch.concurrency import Sampler
from pytest_spip.errors import UsageProblem
from pytest_spip.hooks.progress import is_live, write_below
from pytest_spip.report.progress import Progress
from pytest_spip.report.stats import StatsLine, stats_line

if TYPE_CHECKING:
    from pytest_spip.options import Settings
    from pytest_spip.session.run import Run

__all__ = ["StatsReporter", "check_stats"]


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
    def asked_for(cls, config: pytest.Config, run: Run, workers: Callable[[], tuple[int, int]]) -> StatsReporter:
        """Return what the run's ``--spip-stats`` asks for."""
        seconds, path = run.settings.stats
        place = config.invocation_params.dir / path if path else None
        return cls(config, seconds, place, lambda: run.progress, workers, Machine())

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
            write_below(reporter, line)


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
