"""How a test suite ended -> tests and verdict. What a suite sends is untrusted data: it is checked, and cut to size."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence

from pytest_spip.model import IMPORT_ONLY, Limits, Outcome, Phase, Reason, Test, Verdict, counted
from pytest_spip.run.process import Ended
from pytest_spip.run.reasons import ended_badly, exhausted
from pytest_spip.run.text import harmless

__all__ = ["suite_sources", "suite_verdict"]

OUTCOMES = frozenset({"passed", "failed", "skipped", "xfailed", "xpassed", "error"})
NO_TESTS = 5
"""pytest's exit status of a session without tests."""
MOST = 100_000
"""Tests of one suite that are kept."""
LONGEST = 8192
"""Characters of a test's id that are kept; of a longer one a digest stands for the rest."""
REFUSED: Mapping[int, str] = {
    2: "pytest was interrupted",
    3: "pytest ended with an internal error",
    4: "pytest refused its arguments or its configuration",
}
NETWORK_HINT = "there is no network in the sandbox; --spip-network opens it"
_MISSING = re.compile(r"No module named '?(\w+)'?(?![\w.])")
"""A module at the top: of one below, its package is there."""
MISSING_HINT = "if the tests need {}: --spip-with, --spip-extras or --spip-groups add it"
OFFLINE = re.compile(
    r"Network is unreachable|Temporary failure in name resolution|Name or service not known|nodename nor servname"
    r"|getaddrinfo failed|No address associated with hostname|Failed to resolve"
)


def suite_verdict(ended: Ended, limits: Limits, *, network: bool) -> tuple[Verdict, tuple[Test, ...], int]:
    """Return the verdict of a suite, its tests as far as they were reported, and the child's own peak RSS in bytes."""
    report = _Report(ended.result)
    tests = report.tests.values() if network else map(_hinted, report.tests.values())
    return _verdict(ended, report, limits, network=network), tuple(tests), report.peak_rss


def suite_sources(result: bytes) -> tuple[str, ...]:
    """Return the files that a suite says it imported."""
    return tuple(str(name) for kind, fields in _records(result) if kind == "sources" for name in fields)


class _Report:
    """What the child reported, line by line: see check_suite.py."""

    def __init__(self, result: bytes) -> None:
        self.tests: dict[str, Test] = {}  # by what the suite calls them
        self._ids: set[str] = set()
        self.running = self.problem = ""
        self.status: int | None = None
        self.peak_rss = 0
        for kind, fields in _records(result):
            try:
                self._take_in(kind, fields)
            except (TypeError, ValueError):  # none of ours
                continue

    def _take_in(self, kind: str, fields: Sequence[object]) -> None:
        if kind == "start":
            (name,) = fields
            self.running = _text(name, 1000)
        elif kind == "test":
            name, outcome, seconds, detail, reruns = fields
            if outcome not in OUTCOMES or len(self.tests) >= MOST:
                raise ValueError
            # A floating point number, for JSON knows NaN and infinity, and a column of a database does not.
            lasted = min(max(float(str(seconds)), 0.0), 1e6)
            known = self.tests.get(str(name))
            test = Test(
                known.id if known else self._id(str(name)),
                str(outcome),
                lasted,
                _text(detail, 16384),
                min(max(int(str(reruns)), 0), 1 << 30),
            )
            if not (known and known.is_bad):  # reported twice, by two workers of the suite's own
                self.tests[str(name)] = test
            self.running = ""
        elif kind == "problem":
            (problem,) = fields
            self.problem = _text(problem, 16384)
        elif kind == "end":
            status, peak_rss = fields
            self.status, self.peak_rss = int(str(status)), min(int(str(peak_rss)), 1 << 60)

    def _id(self, name: str) -> str:
        """Return a test's id, fit to be shown, and another one than those of all other tests."""
        shown = harmless(name)
        if len(shown) > LONGEST or shown in self._ids:
            shown = f"{shown[:LONGEST]}...{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:16]}"
        self._ids.add(shown)
        return shown


def _records(result: bytes) -> Iterator[tuple[str, Sequence[object]]]:
    for line in result.splitlines():
        try:
            kind, *fields = json.loads(line)
        except (ValueError, TypeError, RecursionError):  # cut short, or something else wrote it
            continue
        yield str(kind), fields


def _text(value: object, limit: int) -> str:
    return harmless(str(value)[:limit])


def _verdict(ended: Ended, report: _Report, limits: Limits, *, network: bool) -> Verdict:
    if bad := ended_badly(ended, limits, Phase.TEST):
        where = f" in {report.running}" if report.running else ""
        failed = sum(test.is_bad for test in report.tests.values())
        before = f"; {failed} of {len(report.tests)} tests failed before" if failed else ""
        return Verdict(bad.outcome, bad.phase, bad.reason, f"{bad.detail}{where}{before}")
    if report.problem:
        detail = report.problem.strip().splitlines()[-1]
        missing = _MISSING.search(detail)
        hint = f" ({MISSING_HINT.format(missing[1])})" if missing else ""
        return Verdict(Outcome.FAILED, Phase.TEST, Reason.TEST_FAILED, f"{detail}{hint}")
    if report.status is None or not ended.proven:
        where = report.running or "the suite"
        detail = f"exit status {ended.status} in the middle of {where}"
        return Verdict(Outcome.CRASHED, Phase.TEST, Reason.SILENT_EXIT, detail)
    if report.status == NO_TESTS and not any(test.is_bad for test in report.tests.values()):
        return Verdict(Outcome.PASSED, Phase.IMPORT, None, f"{IMPORT_ONLY}: the suite has no tests")
    return _judged(ended, report.status, list(report.tests.values()), limits, network=network)


def _judged(ended: Ended, status: int, tests: Sequence[Test], limits: Limits, *, network: bool) -> Verdict:
    bad = [test for test in tests if test.is_bad]
    if status == 0 and not bad:
        return Verdict(Outcome.PASSED, Phase.TEST, None, _counted(tests))
    if not bad:
        detail = REFUSED.get(status, f"pytest ended with exit status {status}")
        said = [line for line in ended.output.splitlines() if line.strip()]
        why = (
            next((line for line in reversed(said) if re.match(r"(ERROR|E |INTERNALERROR)", line)), "")
            or (said or [""])[-1]
        )
        return Verdict(Outcome.FAILED, Phase.TEST, Reason.TEST_FAILED, f"{detail}: {why.strip()[:300]}")
    detail = f"{len(bad)} of {len(tests)} tests failed: {bad[0].id[:1000]}: {bad[0].headline[:300]}"
    reached = {exhausted(*_raised(test), limits) for test in bad}
    if len(reached) == 1 and (limit := reached.pop()):
        reason, hint = limit
        return Verdict(Outcome.KILLED, Phase.TEST, reason, f"{detail} ({hint})")
    return Verdict(Outcome.FAILED, Phase.TEST, Reason.TEST_FAILED, f"{detail}{_hint(bad, network=network)}")


def _hint(bad: Sequence[Test], *, network: bool) -> str:
    """Return what to say of the first test that met no network, else of a module that is not installed.

    The test that met no network is named where it is not the first that failed.
    """
    offline = next((test for test in bad if not network and OFFLINE.search(test.detail)), None)
    if offline is None:
        missing = next((found for test in bad if (found := _MISSING.search(test.detail))), None)
        return f" ({MISSING_HINT.format(missing[1])})" if missing else ""
    if offline is bad[0]:
        return f" ({NETWORK_HINT})"
    return f" ({offline.id[:1000]} met no network: {NETWORK_HINT})"


def _hinted(test: Test) -> Test:
    """Return a test that failed for want of a network with a hint in its detail."""
    if not (test.is_bad and OFFLINE.search(test.detail)):
        return test
    headline, gap, report = test.detail.partition("\n")
    return test._replace(detail=f"{headline} ({NETWORK_HINT}){gap}{report}")


def _counted(tests: Sequence[Test]) -> str:
    reruns = sum(test.reruns for test in tests)
    return f"{counted(tests)}, {reruns} rerun" if reruns else counted(tests)


def _raised(test: Test) -> tuple[str, str]:
    """Return name and message of the exception that a test's headline names."""
    kind, _, message = test.headline.partition(": ")
    return kind.partition(" (")[0], message
