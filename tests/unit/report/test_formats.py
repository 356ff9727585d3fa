"""Markdown, CSV and SVG: what a person pastes elsewhere."""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ET

import pytest

from pytest_spip.model import Outcome, Reason, Summary, Test
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
