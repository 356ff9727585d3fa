"""A plugin for pytest that writes each test's id and outcome; ``benchmarks.projects`` copies it into environments."""

import json
import os
from typing import Any

ENDS: "dict[str, str]" = {}


def pytest_runtest_logreport(report: Any) -> None:
    """Note the worst that a phase of a test came to."""
    expected = hasattr(report, "wasxfail")
    if report.when == "call" or (report.when == "setup" and report.skipped):
        kind = {"passed": "xpassed", "skipped": "xfailed"}.get(report.outcome) if expected else None
        ENDS[report.nodeid] = kind or report.outcome
    elif report.failed and ENDS.get(report.nodeid) != "failed":
        ENDS[report.nodeid] = "error"


def pytest_collectreport(report: Any) -> None:
    """A file that cannot be collected ends in an error, a module that skips itself is skipped."""
    if not report.passed and report.nodeid:
        ENDS[report.nodeid] = "error" if report.failed else "skipped"


def pytest_sessionfinish(session: Any) -> None:
    """Write all, in the process that the user started."""
    if not hasattr(session.config, "workerinput"):
        with open(os.environ["RECORD_TESTS_IN"], "w", encoding="utf-8") as stream:
            json.dump(sorted(ENDS.items()), stream)
