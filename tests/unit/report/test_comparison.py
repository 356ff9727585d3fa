"""What changed between two runs."""

from __future__ import annotations

import pytest

from pytest_spip.model import ChangeKind, Judged, Outcome, Phase, Reason, Test, Verdict
from pytest_spip.report.change_lines import change_line, comparison_lines
from pytest_spip.report.comparison import compare, judged, judged_of_document
from pytest_spip.report.jsonfile import as_document
from tests.support.rooms import combo, result, summary


def one(outcome: str, reason: Reason | None = None, *, flaky: bool = False, **tests: str) -> Judged:
    """Return what a run says of a combination; ``tests`` are outcomes by name."""
    return Judged(Verdict(Outcome(outcome), Phase.TEST, reason), tests, flaky)


PASSED, FAILED = one("passed"), one("failed", Reason.IMPORT_ERROR)
CRASHED, KILLED = one("crashed"), one("killed", Reason.TIMEOUT)
ERROR, SKIPPED = one("error", Reason.NETWORK), one("skipped", Reason.NO_SOLUTION)
TWO_FAIL = one("failed", Reason.TEST_FAILED, a="failed", b="error", c="passed")
KINDS = [
    (PASSED, PASSED, "same"),
    (PASSED, FAILED, "regressed"),
    (PASSED, KILLED, "regressed"),
    (PASSED, CRASHED, "regressed"),
    (FAILED, CRASHED, "regressed"),
    (KILLED, CRASHED, "regressed"),
    (CRASHED, FAILED, "same"),
    (FAILED, KILLED, "same"),
    (FAILED, FAILED, "same"),
    (FAILED, PASSED, "fixed"),
    (CRASHED, PASSED, "fixed"),
    (PASSED, one("passed", flaky=True), "flaky"),
    (FAILED, one("passed", flaky=True), "flaky"),
    (one("passed", flaky=True), FAILED, "regressed"),
    *((before, after, "environment") for before in (PASSED, FAILED) for after in (ERROR, SKIPPED)),
    *((before, after, "environment") for before in (ERROR, SKIPPED) for after in (PASSED, FAILED, CRASHED)),
    (ERROR, SKIPPED, "environment"),
    (ERROR, ERROR, "same"),
    (SKIPPED, SKIPPED, "same"),
    (None, FAILED, "new"),
    (FAILED, None, "removed"),
    (TWO_FAIL, one("failed", Reason.TEST_FAILED, a="failed", b="passed", c="passed"), "same"),
    (TWO_FAIL, one("failed", Reason.TEST_FAILED, a="failed", b="passed", c="failed"), "regressed"),
    (TWO_FAIL, one("failed", Reason.TEST_FAILED, a="failed", d="failed"), "regressed"),
    (TWO_FAIL, one("killed", Reason.TIMEOUT, a="failed", c="failed"), "same"),
]


@pytest.mark.parametrize(("before", "after", "kind"), KINDS)
def test_kinds(before: Judged | None, after: Judged | None, kind: str) -> None:
    """Each pair of verdicts is of one kind; errors and skips say nothing about the package."""
    (change,) = compare("base", {"x": before} if before else {}, {"x": after} if after else {}).changes
    assert change.kind.value == kind
    assert (change.before, change.after) == (before and before.verdict, after and after.verdict)


def test_tests_are_named() -> None:
    """Tests that fail and did not, and those that pass now, are named; an error counts as a failure."""
    after = one("failed", Reason.TEST_FAILED, a="passed", b="failed", c="error", d="failed")
    (change,) = compare("base", {"x": TWO_FAIL}, {"x": after}).changes
    assert (change.newly_failing, change.newly_passing) == (("c", "d"), ("a",))
    assert change_line(change) == "x: failed (test-failed) -> failed (test-failed): 2 tests newly fail: c and 1 more"


def test_order_is_the_later_runs() -> None:
    """Changes come in the later run's order; what that one has not comes last."""
    comparison = compare("base", {"gone": PASSED, "b": PASSED}, {"a": PASSED, "b": PASSED})
    assert [change.id for change in comparison.changes] == ["a", "b", "gone"]
    assert comparison.counts == {ChangeKind.NEW: 1, ChangeKind.SAME: 1, ChangeKind.REMOVED: 1}


def test_undone_work_is_known() -> None:
    """Where there was a verdict and an error is now, the comparison says so."""
    comparison = compare("base", {"a": PASSED, "b": PASSED, "c": ERROR}, {"a": ERROR, "b": SKIPPED, "c": ERROR})
    assert [change.id for change in comparison.unjudged] == ["a"]


def test_lines_say_what_regressed_first() -> None:
    """A person reads what regressed, what is flaky, what was fixed, and all counts; long lists are cut short, and counted."""
    details = [
        Verdict(Outcome.FAILED, Phase.TEST, Reason.IMPORT_ERROR, f"{chr(97 + n)} is not there") for n in range(25)
    ]
    before = {f"p{n}": PASSED for n in range(25)} | {"f": FAILED, "e": PASSED}
    after = {f"p{n}": Judged(detail) for n, detail in enumerate(details)} | {"f": PASSED, "e": ERROR}
    lines = ["".join(text for text, _ in line) for line in comparison_lines(compare("base", before, after))]
    assert lines[0] == "regressed: p0: passed -> failed (import-error): a is not there"
    assert lines[20:] == [
        "  … and 5 more regressed, of 5 causes",
        "fixed: f: failed (import-error) -> passed",
        "no verdict: e: passed -> error (network)",
        "compared with base: 25 regressed, 1 fixed, 1 environment",
    ]


def test_changes_of_one_cause_are_together() -> None:
    """What has one cause is one entry: how many, which releases on which Pythons, and which other versions changed."""
    ids = [f"flask[2.0.{patch}-{label}]" for patch in range(4) for label in ("py39", "py310", "pypy310")]
    failed = Verdict(
        Outcome.FAILED, Phase.IMPORT, Reason.IMPORT_ERROR, "cannot import name 'url_quote' from 'werkzeug.urls'"
    )
    old, new = {"flask": "2", "werkzeug": "2.3.7", "click": "8"}, {"flask": "2", "werkzeug": "3.0.1", "click": "8"}
    before = dict.fromkeys(ids, Judged(PASSED.verdict, locked=old))
    after = {name: Judged(PASSED.verdict if "2.0.0" in name else failed, locked=new) for name in ids}
    lines = ["".join(text for text, _ in line) for line in comparison_lines(compare("base", before, after))]
    assert lines == [
        "regressed: 9 x passed -> failed (import-error): cannot import name 'url_quote' from 'werkzeug.urls'",
        "           flask 2.0.1 … 2.0.3 (3) on every Python",
        "           other versions: werkzeug 2.3.7 -> 3.0.1",
        "compared with base: 9 regressed, 3 same",
    ]


@pytest.mark.parametrize(
    ("ids", "where"),
    [
        (["gone[unlisted-py39]", "gone[unlisted-py310]"], "gone not listed on every Python"),
        (["x[1.0-py39]", "x[2.0-py39]", "not-ours"], "x[1.0-py39]; x[2.0-py39]; not-ours"),
    ],
)
def test_each_change_of_a_cause_is_named(ids: list[str], where: str) -> None:
    """What no index lists is named too; where ids are not ours they stand as they are."""
    lines = comparison_lines(compare("base", dict.fromkeys(ids, PASSED), dict.fromkeys(ids, FAILED)))
    assert "".join(text for text, _ in list(lines)[1]).strip() == where


def test_report_says_what_the_run_says() -> None:
    """A JSON report gives the verdicts, tests and flakiness that the records of its run give."""
    tests = (Test("test_a", "passed"), Test("test_b", "failed", 0.0, "why"))
    made = summary(
        [combo(n, version=f"{n}.0") for n in range(3)],
        [result(0, reruns=1), result(1, Outcome.FAILED, Reason.TEST_FAILED, tests=tests), result(2, Outcome.CRASHED)],
    )
    assert judged_of_document(as_document(made)) == judged(made)
    assert judged(made)["demo[0.0-py312]"].is_flaky


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"schema": 2, "combinations": []},
        {"schema": 1},
        {"schema": 1, "combinations": 3},
        {"schema": 1, "combinations": [{}]},
    ],
)
def test_other_documents_are_refused(document: dict[str, object]) -> None:
    """What is no report of schema 1 raises one of three errors."""
    with pytest.raises((KeyError, TypeError, ValueError)):
        judged_of_document(document)
