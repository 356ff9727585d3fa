"""Counts, the grid, and failures grouped by what is really the same."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_spip.model import Combo, Outcome, Reason, Result
from pytest_spip.report.analysis import grid, groups, signature
from tests.support.rooms import combo, result, summary

FAILED, SKIPPED = Outcome.FAILED, Outcome.SKIPPED
IMPORT = Reason.IMPORT_ERROR

# -- signatures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("detail", "normal"),
    [
        ("ImportError: cannot import name 'Mapping' from 'collections'",) * 2,
        (
            "ImportError: cannot import name 'x' from 'y' (/dev/shm/pytest-spip-0/12-34/gw0/py312/lib/y.py)",
            "ImportError: cannot import name 'x' from 'y' (…/y.py)",
        ),
        ("FileNotFoundError: '/dev/shm/a/b/' is gone", "FileNotFoundError: '…/b' is gone"),
        ("OSError: /tmp/one/x.so: undefined symbol, /usr/lib/y.so", "OSError: …/x.so: undefined symbol, …/y.so"),
        ("one/two is no path, and /one is short", "one/two is no path, and /one is short"),
        ("<object at 0x7f3b46174f40>", "<object at 0x…>"),
        ("bad syntax (setup.py, line 42)", "bad syntax (setup.py, line …)"),
        ("needs Python >=3.8,<4 but 3.12.1 runs", "needs Python >=…,<4 but … runs"),
        ("demo 1.0rc1 wants other 2.0.post1", "demo … wants other …"),
        ("wheel deadbeef0123456789 is broken", "wheel … is broken"),
        ("code 137 is no version", "code 137 is no version"),
        ("module 'ast2' has no attribute 'x86'",) * 2,
        ("  much \t space  ", "much space"),
        ("first line\nsecond line", "first line"),
        ("escape \x1b[2J", "escape \N{REPLACEMENT CHARACTER}[2J"),
        ("x" * 500, "x" * 160),
    ],
)
def test_signature(detail: str, normal: str) -> None:
    """Paths, addresses, versions, line numbers and hashes differ between failures of one kind; the rest does not."""
    assert signature(result(0, FAILED, IMPORT, detail)) == f"import-error: {normal}"


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (result(0, Outcome.CRASHED, Reason.SIGSEGV), "SIGSEGV"),
        (result(0, FAILED, None, "no reason"), "failed: no reason"),
        (result(0, FAILED), "failed"),
        (result(0, FAILED, IMPORT, "\n\n"), "import-error"),
    ],
)
def test_signature_of_few_words(one: Result, text: str) -> None:
    """A failure without detail is known by its reason, one without reason by its outcome."""
    assert signature(one) == text


# -- groups -------------------------------------------------------------------------------------------------------------


def test_groups_are_ordered_by_size_then_text() -> None:
    """Failures of one kind are one group with their ids in the plan's order; the largest comes first, then by text."""
    combos = [combo(n, version=f"1.{n}") for n in range(8)]
    details = {6: "line 1", 0: "line 22", 3: "line 333", 1: "b", 2: "a", 7: "c"}
    found = groups(combos, {n: result(n, FAILED, IMPORT, detail) for n, detail in details.items()})
    assert [(group.signature, group.count, group.ids) for group in found] == [
        ("import-error: line …", 3, ("demo[1.0-py312]", "demo[1.3-py312]", "demo[1.6-py312]")),
        ("import-error: a", 1, ("demo[1.2-py312]",)),
        ("import-error: b", 1, ("demo[1.1-py312]",)),
        ("import-error: c", 1, ("demo[1.7-py312]",)),
    ]
    assert [one.ordinal for one in found[0].results] == [0, 3, 6]


def test_only_what_went_wrong_is_grouped() -> None:
    """Passed and skipped combinations are in no group; the four other outcomes are."""
    combos = [combo(n, version=f"1.{n}") for n in range(len(Outcome))]
    found = groups(combos, {n: result(n, outcome) for n, outcome in enumerate(Outcome)})
    assert {group.signature for group in found} == {"failed", "killed", "crashed", "error"}


# -- counts -------------------------------------------------------------------------------------------------------------


def test_summary_counts() -> None:
    """A summary counts outcomes, what was selected and not run, and combinations a second."""
    combos = [combo(n, version=f"1.{n}") for n in range(6)]
    found = summary(combos, [result(0), result(1), result(2, FAILED)], selected=[0, 1, 2, 3, 4])
    assert dict(found.counts) == {Outcome.PASSED: 2, Outcome.FAILED: 1}
    assert (found.missing, found.per_second) == (2, 0.75)


def test_summary_of_no_time() -> None:
    """A run in which nothing ran has a speed of nothing."""
    assert summary([], [], seconds=0.0).per_second == 0.0


# -- the grid -----------------------------------------------------------------------------------------------------------


def cross(packages: dict[str, list[str]], labels: list[str]) -> list[Combo]:
    """Return a plan: package by package, oldest version first, interpreters inside."""
    ids = [(name, version, label) for name, versions in packages.items() for version in versions for label in labels]
    return [combo(ordinal, *identity) for ordinal, identity in enumerate(ids)]


def test_grid_has_versions_down_and_pythons_across() -> None:
    """Rows are versions, newest first, packages in the plan's order; a cell without a verdict is empty."""
    combos = cross({"zoo": ["1.0", "2.0"], "ark": ["1.0"]}, ["py39", "py312"])
    results = [result(ordinal) for ordinal in range(6) if ordinal != 1]
    labels, rows = grid(summary(combos, results), compact=False)
    assert labels == ("py39", "py312")
    assert [(row.package, row.first, row.last, row.count) for row in rows] == [
        ("zoo", "2.0", "2.0", 1),
        ("zoo", "1.0", "1.0", 1),
        ("ark", "1.0", "1.0", 1),
    ]
    assert [[cell and cell.ordinal for cell in row.cells] for row in rows] == [[2, 3], [0, None], [4, 5]]


def test_grid_leaves_out_what_was_not_run() -> None:
    """A version of which nothing ran has no row."""
    combos = cross({"demo": ["1.0", "2.0", "3.0"]}, ["py312"])
    _, rows = grid(summary(combos, [result(0), result(2)]), compact=True)
    assert [(row.first, row.last, row.count) for row in rows] == [("3.0", "1.0", 2)]


def test_grid_of_nothing() -> None:
    """Without results there are labels and no rows."""
    assert grid(summary(cross({"demo": ["1.0"]}, ["py312"]), []), compact=True) == (("py312",), ())


def test_project_that_is_not_listed_has_a_row() -> None:
    """A project that the index would not list has a row of its own, without cells."""
    unlisted = Combo(0, "ark", "", "", "index")
    combos = [unlisted, *(dataclasses.replace(one, ordinal=1) for one in cross({"bee": ["1"]}, ["py312"]))]
    _, rows = grid(summary(combos, [result(0, Outcome.ERROR, Reason.INDEX_ERROR), result(1)]), compact=True)
    assert [(row.package, row.first, [cell and cell.ordinal for cell in row.cells]) for row in rows] == [
        ("ark", "", [None]),
        ("bee", "1", [1]),
    ]


def test_compact_grid_joins_neighbours() -> None:
    """Neighbouring versions with equal outcomes and reasons are one row, whatever their details; others are not."""
    combos = cross({"ark": ["1", "2", "3", "4", "5", "6"], "bee": ["1"]}, ["py39", "py312"])
    bad = {
        4: result(4, FAILED, IMPORT, "one way"),
        6: result(6, FAILED, IMPORT, "another way"),
        8: result(8, FAILED, Reason.BUILD_FAILED, "one way"),
    }
    results = [bad.get(ordinal, result(ordinal)) for ordinal in range(14)]
    _, rows = grid(summary(combos, results), compact=True)
    assert [(row.package, row.first, row.last, row.count) for row in rows] == [
        ("ark", "6", "6", 1),
        ("ark", "5", "5", 1),
        ("ark", "4", "3", 2),
        ("ark", "2", "1", 2),
        ("bee", "1", "1", 1),
    ]
    _, rows = grid(summary(combos, results), compact=False)
    assert [row.first for row in rows] == ["6", "5", "4", "3", "2", "1", "1"]
