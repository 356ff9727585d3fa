"""Markdown, CSV and SVG: what a person pastes elsewhere."""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ET

import pytest

from pytest_spip.model import Outcome, Reason, Summary, Test
from pytest_spip.report.junit import junit
from pytest_spip.report.markdown import markdown
from pytest_spip.report.svg import badge, grid_svg
from pytest_spip.report.table import COLUMNS, csv_text
from tests.support.rooms import combo, result, summary

HOSTILE = 'x | <img src=x onerror=alert(1)> `code` [a](http://e.example) @someone "q" \x1b[2J\nsecond'


@pytest.fixture
def made() -> Summary:
    """Return a run of two releases on two Pythons; one combination failed with hostile words."""
    combos = [
        combo(0, version="1.0", label="py39"),
        combo(1, version="1.0", label="py312"),
        combo(2, version="2.0", label="py39"),
        combo(3, version="2.0", label="py312"),
    ]
    tests = (Test("test_a", "passed"), Test("test_b", "failed", 0.0, HOSTILE))
    results = [
        result(0, Outcome.SKIPPED, Reason.REQUIRES_PYTHON),
        result(1, Outcome.FAILED, Reason.IMPORT_ERROR, f"=cmd {HOSTILE}"),
        result(2),
        result(3, Outcome.FAILED, Reason.TEST_FAILED, "1 of 2 tests failed", tests=tests, reproduce="uv run `x` | y"),
    ]
    return summary(combos, results)


def test_markdown(made: Summary) -> None:
    """A table for each package, the summary, and the failures; words of packages are no markup, and stay in their cell."""
    lines = markdown(made).splitlines()
    assert lines[:4] == [
        "| demo | py39 | py312 |",
        "|---|---|---|",
        "| 2.0 | ✅ ok | ❌ FAIL |",
        "| 1.0 | — - | ❌ imp |",
    ]
    assert any(line.startswith("**4 combinations: 1 passed, 2 failed, 1 skipped in ") for line in lines)
    text = "\n".join(lines)
    assert "<img" not in text.replace("\\<img", "")
    assert "\x1b" not in text
    rows = [line for line in lines if line.startswith("| 1 |")]
    assert len(rows) == 2
    assert any("``uv run `x` \\| y``" in row for row in rows)


def test_csv(made: Summary) -> None:
    """Each verdict is a line with all columns; what a spreadsheet would run is text."""
    rows = list(csv.DictReader(io.StringIO(csv_text(made))))
    assert [row["id"] for row in rows] == [one.id for one in made.combos]
    assert set(rows[0]) == set(COLUMNS)
    assert (rows[3]["tests_passed"], rows[3]["tests_failed"], rows[3]["tests"]) == ("1", "1", "2")
    assert rows[1]["detail"].startswith("'=cmd x | <img")
    assert (rows[0]["outcome"], rows[0]["reason"]) == ("skipped", "requires-python")


def test_pictures(made: Summary) -> None:
    """Badge and grid are sound XML without scripts or links, and say what passed."""
    hostile = summary([combo(0, package='a<b>"&', version="1<2")], [result(0)])
    for text in (badge(made), grid_svg(made), badge(hostile), grid_svg(hostile), grid_svg(summary([], []))):
        root = ET.fromstring(text)  # our own
        assert {element.tag.rpartition("}")[2] for element in root.iter()} <= {"svg", "title", "rect", "g", "text"}
    assert "demo: 1 of 3 pass" in badge(made)
    assert "pytest-spip: nothing tried" in badge(summary([], []))
    cells = [element.text for element in ET.fromstring(grid_svg(made)).iter() if element.tag.endswith("text")]
    assert cells == ["demo", "py39", "py312", "2.0", "ok", "FAIL", "1.0", "-", "imp"]


# -- JUnit ----------------------------------------------------------------------------------------------------------------


def suites(made: Summary) -> dict[str, ET.Element]:
    """Return the suites of a run's JUnit report by name, whose counts are those of their cases."""
    root = ET.fromstring(junit(made))  # our own
    assert root.tag == "testsuites"
    for suite in (root, *root):
        cases = list(suite.iter("testcase"))
        elements = [child.tag for case in cases for child in case]
        assert set(elements) <= {"failure", "error", "skipped"}
        assert all(len(case) <= 1 for case in cases)
        counted = [suite.get(name) for name in ("tests", "failures", "errors", "skipped")]
        assert counted == [str(len(cases)), *(str(elements.count(one)) for one in ("failure", "error", "skipped"))]
    return {suite.get("name", ""): suite for suite in root}


def test_junit_has_a_case_for_each_test() -> None:
    """A suite's tests are cases below their combination; it has one of its own where the tests do not tell its end."""
    tests = (
        Test("tests/test_x.py::TestA::test_y[a::b-1]", "passed", 0.25),
        Test("tests/test_x.py::test_f", "failed", 1.0, "assert 1 == 2\n  where 1 = f()"),
        Test("tests/test_x.py::test_e", "error", 0.0, "fixture 'db' not found"),
        Test("tests/test_x.py::test_s", "skipped", 0.0, "no network"),
        Test("tests/test_x.py::test_xf", "xfailed", 0.0, "known"),
        Test("tests/test_x.py::test_xp", "xpassed"),
        Test("README.md", "passed"),
    )
    results = [
        result(0, Outcome.FAILED, Reason.TEST_FAILED, "2 failed", tests=tests, host="here", seconds=2.5),
        result(1, Outcome.KILLED, Reason.TIMEOUT, "no end after 600 s", tests=tests[:1]),
        result(2, Outcome.ERROR, Reason.NETWORK, "no answer"),
        result(3, Outcome.SKIPPED, Reason.NO_WHEEL),
        result(4),
    ]
    made = suites(summary([combo(n, version=f"{n}.0") for n in range(7)], results, selected=range(6)))
    assert list(made) == [f"demo[{n}.0-py312]" for n in range(6)], "the last was left out"
    first, killed, error, skipped, passed, undone = made.values()
    below = "demo[0.0-py312].tests.test_x"
    cases = [(case.get("classname"), case.get("name"), [one.tag for one in case]) for case in first.iter("testcase")]
    assert cases == [
        (f"{below}.TestA", "test_y[a::b-1]", []),
        (below, "test_f", ["failure"]),
        (below, "test_e", ["error"]),
        (below, "test_s", ["skipped"]),
        (below, "test_xf", ["skipped"]),
        (below, "test_xp", []),
        ("demo[0.0-py312]", "README.md", []),
    ]
    failure = first.find(".//failure")
    assert failure is not None
    assert (failure.get("message"), failure.text) == ("assert 1 == 2", "assert 1 == 2\n  where 1 = f()")
    assert [case.get("time") for case in first.iter("testcase")][:2] == ["0.250", "1.000"]
    assert (first.get("time"), first.get("hostname"), first.get("timestamp")) == (
        "2.500",
        "here",
        "2026-11-01T00:00:00Z",
    )
    facts = {one.get("name"): one.get("value") for one in first.iter("property")}
    assert (facts["spip_outcome"], facts["spip_reason"]) == ("failed", "test-failed")
    assert [case.get("name") for case in killed.iter("testcase")] == ["demo[1.0-py312]", "test_y[a::b-1]"]
    ends = [[one.tag for one in next(suite.iter("testcase"))] for suite in (killed, error, skipped, passed, undone)]
    assert ends == [["failure"], ["error"], ["skipped"], [], ["error"]]


def test_junit_says_what_xml_can_say() -> None:
    """Markup is text, line ends in attributes stay, and characters that XML has not stand as their numbers."""
    hostile = f"{HOSTILE}\r\t]]> \ud800 \x00 \ufffe \U0001f600"
    tests = (Test(f"t<&'.py::test_a[{hostile}]", "failed", 0.0, f"first {hostile}"),)
    made = summary([combo(0, package='a<b>"&')], [result(0, Outcome.FAILED, Reason.TEST_FAILED, hostile, tests=tests)])
    (suite,) = suites(made).values()
    (case,) = suite.iter("testcase")
    shown = hostile
    for illegal in ("\x1b", "\ud800", "\x00", "\ufffe"):
        shown = shown.replace(illegal, f"#x{ord(illegal):02X}")
    assert suite.get("name") == 'a<b>"&[1.0-py312]'
    assert case.get("name") == f"test_a[{shown}]"
    assert case[0].text == f"first {shown}"
    assert case[0].get("message") == f"first {shown}".partition("\n")[0]
