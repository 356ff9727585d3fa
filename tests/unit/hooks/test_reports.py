"""What pytest is told of a result: the story of a failure, and the pairs beside an item."""

from __future__ import annotations

from typing import cast

import execnet

from pytest_spip.hooks.reports import make_report, trim
from pytest_spip.model import Outcome, Phase, Reason, Result, Test
from pytest_spip.report.properties import NAMED, properties
from pytest_spip.report.texts import SHOWN, TAIL, failure_text
from tests.support.rooms import combo, result

LONG = "\n".join(f"line {number}" for number in range(30))


def suite(count: int, detail: str = "AssertionError: no (t.py:1)\nE  no") -> Result:
    """Return the result of a suite with so many failing tests, and two others."""
    tests = [Test("t.py::test_good", "passed"), Test("t.py::test_none", "skipped", 0.0, "not here")]
    tests += [Test(f"t.py::test_{n}", "error" if n else "failed", 0.1, detail) for n in range(count)]
    told = f"{count} of {len(tests)} tests failed"
    more = {"output": "raw", "reproduce": "uv run", "warnings": ("no such extra",)}
    return result(0, Outcome.FAILED, Reason.TEST_FAILED, told, Phase.TEST, tests=tuple(tests), **more)


def test_result_travels() -> None:
    """A worker that is a pytest session sends results as execnet takes them, and they arrive as they were."""
    sent = execnet.loads(execnet.dumps(suite(2).to_plain()))
    assert Result.from_plain(sent) == suite(2)


def test_reports_of_one_kind_share_what_is_kept() -> None:
    """pytest keeps all reports of a session: of a hundred thousand that say the same, the words are in memory once."""
    why = ["a", "b", "a"]
    kept = []
    for ordinal, detail in enumerate(why):
        told = result(ordinal, Outcome.SKIPPED, Reason.REQUIRES_PYTHON, f"needs {detail}", Phase.PLAN)
        report = make_report(combo(ordinal, f"demo{ordinal}"), told.to_plain(), 0.1, "spip")
        trim(report)
        assert list(vars(report)["spip"]["verdict"]) == ["skipped", "plan", "requires-python", f"needs {detail}"]
        assert cast("object", report.longrepr) == ("spip", None, f"Skipped: requires-python: needs {detail}")
        kept.append(report)
    first, other, third = kept
    assert (first.longrepr is third.longrepr, vars(first)["spip"] is vars(third)["spip"]) == (True, True)
    assert first.longrepr != other.longrepr
    assert first.location != third.location


def test_story_of_tests() -> None:
    """Instead of raw output each failing test is told, by id and headline, with its report below."""
    assert failure_text(suite(2), lines=TAIL).splitlines() == [
        "failed in phase test: test-failed: 2 of 4 tests failed",
        "  t.py::test_0: AssertionError: no (t.py:1)",
        "    E  no",
        "  t.py::test_1: AssertionError: no (t.py:1)",
        "    E  no",
        "warning: no such extra",
        "reproduce: uv run",
    ]


def test_story_of_many_tests_is_cut() -> None:
    """The first tests are told, with the ends of their reports; -v, by which more lines are asked for, tells all."""
    many = suite(SHOWN + 2, f"headline\n{LONG}")
    lines = failure_text(many, lines=TAIL).splitlines()
    assert sum(line.startswith("  t.py") for line in lines) == SHOWN
    assert len(lines) == 1 + SHOWN * (1 + TAIL) + 3
    assert lines[1 + TAIL] == "    line 29"
    assert lines[-3] == "  … and 2 more; -v shows all"
    assert len(failure_text(many, lines=1000).splitlines()) == 1 + (SHOWN + 2) * 31 + 2


def test_story_of_what_was_killed() -> None:
    """What ended otherwise than by its tests tells both: the tests that failed before, and the end of the output."""
    tests = (Test("t.py::test_0", "failed", 0.1, "gone"),)
    killed = result(0, Outcome.KILLED, Reason.TIMEOUT, "no end", Phase.TEST, tests=tests, output="raw")
    assert failure_text(killed, lines=TAIL).splitlines() == [
        "killed in phase test: timeout: no end",
        "  t.py::test_0: gone",
        "    raw",
    ]


def test_story_without_tests() -> None:
    """Where no test failed the last lines of output are told."""
    failed = result(0, Outcome.FAILED, Reason.IMPORT_ERROR, "why", output=LONG)
    lines = failure_text(failed, lines=TAIL).splitlines()
    assert lines == ["failed in phase import: import-error: why", *(f"    line {n}" for n in range(30 - TAIL, 30))]


def test_properties_of_a_suite() -> None:
    """Beside an item stand the counts of its tests, and each failing test, of very many the first."""
    pairs = properties(suite(2))
    assert pairs[-4:] == [
        ("spip_tests", "1 passed, 1 skipped, 1 failed, 1 error"),
        ("spip_test_failed", "t.py::test_0: AssertionError: no (t.py:1)"),
        ("spip_test_failed", "t.py::test_1: AssertionError: no (t.py:1)"),
        ("spip_warning", "no such extra"),
    ]
    assert len([name for name, _ in properties(suite(NAMED + 9)) if name == "spip_test_failed"]) == NAMED
    assert {name for name, _ in properties(result())} == {"spip_outcome", "spip_phase"}
