"""The report as CSV: a line for each combination. Pure."""

from __future__ import annotations

import csv
import io

from pytest_spip.model import Combo, Interpreter, Result, Summary, counts

__all__ = ["COLUMNS", "csv_text"]

COLUMNS = (
    *("id", "package", "version", "others", "python", "label", "resolution", "outcome", "phase", "reason", "detail"),
    *("seconds", "cpu_seconds", "peak_rss", "attempts", "reruns", "reused", "runner", "worker", "host"),
    *("tests_passed", "tests_failed", "tests", "fingerprint", "reproduce"),
)
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Begin what spreadsheets run as a formula (OWASP, CSV injection)."""


def csv_text(summary: Summary) -> str:
    """Return the table, with a line of names, as RFC 4180 has it."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    pythons = {one.id: one for one in summary.interpreters}
    for combo in summary.combos:
        if combo.ordinal in summary.results:
            writer.writerow(map(_safe, _row(combo, summary.results[combo.ordinal], pythons.get(combo.interpreter))))
    return stream.getvalue()


def _row(combo: Combo, result: Result, python: Interpreter | None) -> list[object]:
    verdict, tests = result.verdict, counts(result.tests)
    others = " ".join(f"{package}=={version}" for package, version in combo.others)
    failed = tests.get("failed", 0) + tests.get("error", 0)
    numbers = [tests.get("passed", 0), failed, len(result.tests)] if tests else ["", "", ""]
    return [
        *(combo.id, combo.package, combo.version, others, python.python if python else "", combo.label),
        *(combo.resolution or "highest", verdict.outcome.value, verdict.phase.value),
        *(verdict.reason.value if verdict.reason else "", verdict.detail),
        *(round(result.seconds, 6), round(result.cpu_seconds, 6), result.peak_rss, result.attempts, result.reruns),
        *(result.reused, result.runner, result.worker, result.host, *numbers, result.fingerprint, result.reproduce),
    ]


def _safe(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
