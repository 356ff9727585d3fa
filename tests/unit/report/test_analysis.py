"""Counts, the grid, and failures grouped by what is really the same."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from pytest_spip.model import Combo, Outcome, Phase, Reason, Result, Test
from pytest_spip.report.analysis import failure_key, groups, signature, unusual_counts
from pytest_spip.report.grid import Stretch, grid
from tests.support.rooms import combo, result, run_facts, summary

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
        ("module demo.core: ImportError: no", "ImportError: no"),
        ("no module demo.core: gone", "no module demo.core: gone"),
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


def suite(ordinal: int, *failed: tuple[str, str], passed: int = 3) -> Result:
    """Return the result of a suite in which these tests failed, by id and detail."""
    tests = [Test(f"tests/test_good.py::test_{number}", "passed") for number in range(passed)]
    tests += [Test(name, "failed", 0.1, detail) for name, detail in failed]
    detail = f"{len(failed)} of {len(tests)} tests failed: {failed[0][0]}: {failed[0][1]}"
    return result(ordinal, FAILED, Reason.TEST_FAILED, detail, Phase.TEST, tests=tuple(tests))


A, B = ("tests/test_a.py::test_x", "AssertionError: no (/tmp/1/a.py:7)\nreport"), ("tests/test_a.py::test_y", "gone")


def test_signature_of_a_suite() -> None:
    """A suite is known by how many tests failed, and the first of them, however many passed and wherever it lay."""
    assert signature(suite(0, A, B)) == (
        "test-failed: 2 tests failed: tests/test_a.py::test_x: AssertionError: no (…/a.py:…)"
    )
    assert signature(suite(0, B)) == "test-failed: 1 test failed: tests/test_a.py::test_y: gone"


def test_suites_are_alike_when_the_same_tests_fail() -> None:
    """Equal failing tests with equal headlines are one kind, whatever passed, in whatever order; all else is another."""
    elsewhere = (A[0], "AssertionError: no (/home/2/a.py:9)\nanother report")
    assert failure_key(suite(0, A, B)) == failure_key(suite(1, B, elsewhere, passed=9))
    others = [suite(2, A), suite(3, A, (B[0], "here")), suite(4, A, ("tests/test_b.py::test_y", "gone"))]
    assert len({failure_key(one) for one in (suite(0, A, B), *others)}) == 4
    combos = [combo(n, version=f"1.{n}") for n in range(5)]
    found = groups(combos, {one.ordinal: one for one in (suite(0, A, B), suite(1, B, elsewhere, passed=9), *others)})
    assert (found[0].count, [one.ordinal for one in found[0].results]) == (2, [0, 1])
    assert len(found) == 4


def test_suites_that_did_not_end_are_known_by_their_end() -> None:
    """What failed before a timeout does not tell timeouts apart, nor do counts."""
    tests = (Test("test_a.py::test_x", "failed"),)
    ended = [
        result(0, Outcome.KILLED, Reason.TIMEOUT, f"no end in test_b; 1 of {n} tests failed before", tests=tests[:n])
        for n in range(2)
    ]
    assert failure_key(ended[0]) == failure_key(ended[1])
    assert signature(ended[0]) == "timeout: no end in test_b; some tests failed before"


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


def test_group_shows_what_its_signature_leaves_out() -> None:
    """Where names or numbers are left out of a signature, the group has one combination's own words."""
    combos = [combo(n, version=f"1.{n}") for n in range(2)]
    detail = "toml-0.8.1.tar.gz builds toml-0.8.2-py3-none-any.whl"
    found = groups(combos, {0: result(0, FAILED, IMPORT, detail), 1: result(1, FAILED, IMPORT, "ImportError: no")})
    assert {group.signature: group.example for group in found} == {
        "import-error: toml-….gz builds toml-…-py3-none-any.whl": detail,
        "import-error: ImportError: no": "",
    }


def test_example_is_cut() -> None:
    """A combination's own words are shown up to twice a signature's length."""
    (found,) = groups([combo(0)], {0: result(0, FAILED, IMPORT, "demo 1.2.3 " + "x" * 500)})
    assert found.example == "demo 1.2.3 " + "x" * 309
    assert len(found.example) == 320


def test_one_cause_in_three_spellings() -> None:
    """What newer Pythons say of an old print statement is one kind of failure, with its advice and without."""
    spellings = ("", """. Did you mean print("hello, (you)")?""", ". Did you mean print(...)?")
    details = [f"SyntaxError: Missing parentheses in call to 'print'{end} (x.py, line 3)" for end in spellings]
    found = {failure_key(result(n, FAILED, IMPORT, detail)) for n, detail in enumerate(details)}
    assert len(found) == 1


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


def test_import_only_is_no_pass_of_tests() -> None:
    """A version whose suite has no tests is not joined with those whose tests pass."""
    bare = result(1, detail="import-only: the suite has no tests")
    found = summary(cross({"demo": ["1", "2", "3"]}, ["py312"]), [result(0), bare, result(2)])
    assert [row.first for row in grid(found, compact=True)[1]] == ["3", "2", "1"]
    assert found.import_only == 1


def shown(combos: list[Combo], bad: set[int]) -> list[tuple[str, ...]]:
    """Return the joined rows, with a letter for each cell, of a run in which some combinations fail."""
    results = [result(one.ordinal, *((FAILED, IMPORT) if one.ordinal in bad else ())) for one in combos]
    _, rows = grid(summary(combos, results), compact=True)
    return [
        (
            f"{row.first}-{row.last}",
            *(f"{other.first}-{other.last}" for other in row.others),
            *row.resolutions,
            "".join("." if cell is None else "x" if cell.verdict.outcome is FAILED else "+" for cell in row.cells),
        )
        for row in rows
    ]


def test_resolutions_have_rows_where_they_differ() -> None:
    """Versions whose resolutions come to the same have one row; one whose resolutions differ has one for each that does."""
    ways = ("", "lowest-direct", "lowest")
    combos = [combo(n, version=str(n // 3 + 1), resolution=ways[n % 3]) for n in range(12)]
    assert shown(combos, bad={4, 5}) == [
        ("4-3", "+"),
        ("2-2", "highest", "+"),
        ("2-2", "lowest-direct", "lowest", "x"),
        ("1-1", "+"),
    ]


def crossed(*sizes: int) -> list[Combo]:
    """Return a cross of so many versions of each package on one Python; the last package's versions are innermost."""
    names = "abc"
    rows = itertools.product(*(range(1, size + 1) for size in sizes))
    return [
        combo(n, "a", str(row[0]), others=tuple((names[k], str(row[k])) for k in range(1, len(row))))
        for n, row in enumerate(rows)
    ]


def test_cross_is_joined_from_the_inside() -> None:
    """Of a cross the last package's neighbours are joined first, then versions of the first whose rows are all equal."""
    assert shown(crossed(4, 3), bad={0, 3}) == [
        ("4-3", "3-1", "+"),
        ("2-1", "3-2", "+"),
        ("2-1", "1-1", "x"),
    ]
    assert shown(crossed(2, 2, 2), bad=set()) == [("2-1", "2-1", "2-1", "+")]


def test_cross_that_was_sampled() -> None:
    """A cell that was left out of a cross stands in nobody's way."""
    tried = [("1", "1", "py39"), ("1", "2", "py312"), ("2", "1", "py312"), ("2", "2", "py39"), ("3", "1", "py39")]
    combos = [combo(n, "a", one, label, others=(("b", other),)) for n, (one, other, label) in enumerate(tried)]
    assert shown(combos, bad={4}) == [("3-3", "1-1", "x."), ("2-1", "2-1", "++")]


def test_stretches_count() -> None:
    """A row tells how many versions it stands for, of each package."""
    _, rows = grid(summary(crossed(4, 3), [result(n) for n in range(12)]), compact=True)
    assert [(row.package, row.count, row.others) for row in rows] == [("a+b", 4, (Stretch("3", "1", 3),))]


# -- numbers of tests ---------------------------------------------------------------------------------------------------


def ran(ordinal: int, count: int, outcome: Outcome = Outcome.PASSED, reason: Reason | None = None) -> Result:
    """Return the result of a suite that ran so many tests."""
    tests = tuple(Test(f"test_{number}", "passed") for number in range(count))
    return result(ordinal, outcome, reason, phase=Phase.TEST, tests=tests)


def unusual(results: list[Result], *, versions: str = "11111111", project: str = "/project") -> dict[int, int]:
    """Return the unusual counts of results, whose combinations have these versions in order."""
    combos = [combo(one.ordinal, version=versions[one.ordinal], label=f"py3{one.ordinal}") for one in results]
    return unusual_counts(summary(combos, results, facts=run_facts(project=project)))


def test_unusual_count_is_another_than_most_have() -> None:
    """Of one suite a number of tests is unusual that is not the most frequent; of two as frequent the larger is usual."""
    assert unusual([ran(0, 3), ran(1, 5), ran(2, 3)]) == {1: 3}
    assert unusual([ran(0, 5), ran(1, 3), ran(2, 3), ran(3, 5)]) == {1: 5, 2: 5}
    assert unusual([ran(0, 3), ran(1, 3)]) == {}
    assert unusual([ran(0, 9), ran(1, 5), ran(2, 3), ran(3, 3)]) == {0: 3, 1: 3}


def test_counts_are_compared_within_a_suite() -> None:
    """A project's suite is one for all releases; else each release has its own, and its count says nothing of another's."""
    results = [ran(0, 3), ran(1, 3), ran(2, 5), ran(3, 5), ran(4, 4)]
    assert unusual(results, versions="11222", project="") == {4: 5}
    assert unusual(results, versions="11222") == {0: 5, 1: 5, 4: 5}


def test_only_suites_that_ran_to_their_end_are_compared() -> None:
    """What was killed had no chance to run all, and an import check has no tests; failures and empty suites are compared."""
    killed = ran(2, 1, Outcome.KILLED, Reason.TIMEOUT)
    empty = result(3, detail="import-only: the suite has no tests")
    failed = ran(4, 2, FAILED, Reason.TEST_FAILED)
    assert unusual([ran(0, 3), ran(1, 3), killed, empty, failed, result(5), ran(6, 2, FAILED, IMPORT)]) == {3: 3, 4: 3}
    combos = [combo(0), combo(1)]
    assert unusual_counts(summary(combos, [ran(0, 3)])) == {}
