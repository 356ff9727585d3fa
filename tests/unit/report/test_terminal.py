"""The terminal report as plain text, as a person reads it."""

from __future__ import annotations

import pytest

from pytest_spip.model import Combo, Outcome, Reason, Result, Summary, Test
from pytest_spip.report.terminal import (
    _CELLS,
    _IMPORT_ONLY,
    _MEANINGS,
    _REASON_CELLS,
    LARGEST,
    Line,
    cell,
    closing_lines,
    grid_lines,
    group_lines,
    legend,
    summary_line,
    warning_lines,
)
from tests.support.rooms import combo, result, run_facts, summary

FAILED, SKIPPED, KILLED, CRASHED, ERROR = (
    Outcome.FAILED,
    Outcome.SKIPPED,
    Outcome.KILLED,
    Outcome.CRASHED,
    Outcome.ERROR,
)
IMPORT = Reason.IMPORT_ERROR


def text(lines: object) -> list[str]:
    """Return lines without their styles."""
    assert not isinstance(lines, str)
    return ["".join(word for word, _ in line) for line in list(lines)]  # type: ignore[call-overload]  # lines of spans


def numbered(*ids: tuple[str, str, str]) -> list[Combo]:
    """Return combinations of package, version and label."""
    return [combo(ordinal, *identity) for ordinal, identity in enumerate(ids)]


@pytest.fixture
def mixed() -> Summary:
    """Return a run in which something of everything happened."""
    versions = [("colorama", version) for version in ("0.1", "0.4.6")] + [("flask", "3.0.0")]
    combos = numbered(*((name, version, label) for name, version in versions for label in ("py38", "py39", "py312")))
    ends = [
        result(0, FAILED, IMPORT, "no module at /a/b/c.py"),
        result(1, SKIPPED, Reason.NO_WHEEL),
        result(2, KILLED, Reason.TIMEOUT),
        result(3, seconds=0.1),
        result(4, FAILED, IMPORT, "no module at /d/e/c.py", reproduce="uv run --with colorama==0.4.6"),
        result(6, SKIPPED, Reason.REQUIRES_PYTHON),
        result(7, CRASHED, Reason.SIGSEGV, "killed by signal 11 (SIGSEGV)", reproduce="uv run --with flask==3.0.0"),
        result(8, ERROR, Reason.WORKER_LOST),
    ]
    unlisted = Combo(9, "typo", "", "", "index")
    return summary([*combos, unlisted], [*ends, result(9, ERROR, Reason.INDEX_ERROR, "typo: not listed")])


def test_grid(mixed: Summary) -> None:
    """The grid has a line for each version below each package's head, and a legend of the words that occur."""
    assert text(grid_lines(mixed)) == [
        "colorama     py38   py39  py312",
        "0.4.6          ok    imp      .",
        "0.1           imp  nowhl   time",
        "flask        py38   py39  py312",
        "3.0.0           -  CRASH    err",
        "typo         py38   py39  py312",
        "not listed",
        "   ".join(  # noqa: FLY002  # one line
            [
                "ok passed",
                "imp import failed",
                "time timeout",
                "CRASH crashed",
                "err error, no verdict",
                "- not for this Python",
                "nowhl no wheel, none built",
                ". not run",
            ]
        ),
    ]


def test_groups(mixed: Summary) -> None:
    """Failures are told by kind, the most frequent first, with examples and a line that shows the first again."""
    assert text(group_lines(mixed.groups)) == [
        "    2 x import-error: no module at …/c.py",
        "        colorama[0.1-py38], colorama[0.4.6-py39]",
        "        last bad 0.1, 0.4.6 passes (on 3.8)",
        "        colorama[0.1-py38]: no module at /a/b/c.py",
        "    1 x SIGSEGV: killed by signal 11 (SIGSEGV)",
        "        flask[3.0.0-py39]",
        "        uv run --with flask==3.0.0",
        "    1 x timeout",
        "        colorama[0.1-py312]",
        "no verdict, for reasons that are not the package's:",
        "    1 x index-error: typo: not listed",
        "        typo[unlisted-index]",
        "    1 x worker-lost",
        "        flask[3.0.0-py312]",
    ]


def test_summary_line(mixed: Summary) -> None:
    """One line has the counts in the outcomes' order, what is missing, time, speed and use of the CPU."""
    assert summary_line(mixed) == (
        "9 combinations: 1 passed, 2 failed, 2 skipped, 1 killed, 1 crashed, 2 errors, 1 not run"
        " in 4.0 s, 2.2 combinations/s, CPU 96%, iowait 1.2%"
    )


def test_summary_line_of_nothing() -> None:
    """A run in which nothing ran says so."""
    line = summary_line(summary([], [], seconds=0.0, cpu=0.0, iowait=0.0))
    assert line == "0 combinations: none in 0.0 s, 0.0 combinations/s, CPU 0%, iowait 0.0%"


def test_closing_lines() -> None:
    """Below the summary line stands what limited the run, then which telemetry is damaged; a lost worker's is no news."""
    ran = [result(n, runner="warm") for n in range(3)]
    found = summary(
        numbered(*(("demo", f"1.{n}", "py312") for n in range(4))),
        [*ran, result(3, SKIPPED)],
        facts=run_facts(damaged_telemetry=("gw1.sqlite", "gw2.sqlite")),
        limits=["limited by: tail - patience"],
        untold={"gw0": 1, "gw1": 1},
    )
    assert list(closing_lines(found)) == [
        "limited by: tail - patience",
        "telemetry: 1 of 3 combinations have no spans (gw1 damaged)",
    ]
    assert list(closing_lines(summary([], []))) == []


def test_many_versions_are_joined() -> None:
    """From 25 versions on, neighbours with equal verdicts are one line that names both ends and the count."""
    combos = numbered(*(("demo", f"1.{number}", "py312") for number in range(25)))
    results = [result(ordinal, FAILED, IMPORT) if ordinal == 20 else result(ordinal) for ordinal in range(25)]
    assert text(grid_lines(summary(combos, results))) == [
        "demo             py312",
        "1.24 … 1.21 (4)     ok",
        "1.20               imp",
        "1.19 … 1.0 (20)     ok",
        "ok passed   imp import failed",
    ]
    assert len(text(grid_lines(summary(combos[:24], results[:24])))) == 26


def test_long_grid_is_cut() -> None:
    """A grid that no screen holds is cut, and the line after it says where the rest is."""
    combos = numbered(*(("demo", f"1.{number}", "py312") for number in range(LARGEST + 5)))
    results = [result(n, FAILED, IMPORT) if n % 2 else result(n) for n in range(LARGEST + 5)]
    lines = text(grid_lines(summary(combos, results)))
    assert len(lines) == 1 + LARGEST + 2
    assert lines[-2:] == [
        "… 5 more rows; --spip-report=json:PATH has all of them",
        "ok passed   imp import failed",
    ]


def test_grid_of_nothing() -> None:
    """A run without results has an empty grid."""
    assert text(grid_lines(summary(numbered(("demo", "1", "py312")), []))) == [""]


def test_many_groups_and_examples_are_cut() -> None:
    """Of many kinds of failures the first are told, of many examples three, and how many more there are."""
    combos = numbered(*(("demo", f"1.{number}", "py312") for number in range(25)))
    details = ["same"] * 5 + [f"{chr(97 + number)} kind" for number in range(20)]
    groups = summary(combos, [result(n, FAILED, IMPORT, detail) for n, detail in enumerate(details)]).groups
    lines = text(group_lines(groups, most=2))
    assert lines == [
        "    5 x import-error: same",
        "        demo 1.0 … 1.4 (5) on 3.12",
        "    1 x import-error: a kind",
        "        demo[1.5-py312]",
        "      … and 19 more signatures",
    ]


def test_warnings() -> None:
    """Each warning is told once, the most frequent first, with the first combinations that it is about."""
    combos = numbered(*(("demo", f"1.{number}", "py312") for number in range(5)))
    results = [result(n, warnings=("all have this", *(("one has that",) if n == 2 else ()))) for n in range(5)]
    assert text(warning_lines(summary(combos, results))) == [
        "spip: warning: all have this  (demo[1.0-py312], demo[1.1-py312], demo[1.2-py312] … and 2 more)",
        "spip: warning: one has that  (demo[1.2-py312])",
    ]
    assert text(warning_lines(summary(combos, results), most=1))[1:] == [
        "      … and 1 more warnings; --spip-report=json:PATH has all of them"
    ]


def test_resolutions() -> None:
    """A row that is for one resolution names it, and a line below the legend says what the others are for."""
    combos = [
        combo(n, version=version, resolution=way)
        for n, (version, way) in enumerate((v, way) for v in ("1.0", "2.0") for way in ("", "lowest-direct"))
    ]
    results = [result(0), result(1, FAILED, IMPORT), result(2), result(3)]
    assert text(grid_lines(summary(combos, results))) == [
        "demo                py312",
        "2.0                    ok",
        "1.0  highest           ok",
        "1.0  lowest-direct    imp",
        "ok passed   imp import failed",
        "resolutions: highest, lowest-direct; rows that name none stand for all",
    ]
    low = [combo(0, resolution="lowest")]
    assert text(grid_lines(summary(low, [result()])))[-1] == "resolution: lowest"


def test_cross() -> None:
    """A row of a cross names a version of each package, or how many it stands for."""
    pairs = [(one, other) for one in range(6) for other in range(5)]
    combos = [combo(n, "ark", f"1.{one}", others=(("bee", f"2.{other}"),)) for n, (one, other) in enumerate(pairs)]
    results = [result(n, FAILED, IMPORT) if pair == (5, 0) else result(n) for n, pair in enumerate(pairs)]
    assert text(grid_lines(summary(combos, results[:29])))[-1] == (
        "not all was tried; the cell of several versions stands for those that were"
    )
    assert text(grid_lines(summary(combos, results))) == [
        "ark+bee                        py312",
        "1.5           + 2.4 … 2.1 (4)     ok",
        "1.5           + 2.0              imp",
        "1.4 … 1.0 (5) + 2.4 … 2.0 (5)     ok",
        "ok passed   imp import failed",
    ]


def test_suites_without_tests() -> None:
    """A suite without tests has a word of its own in the grid, and is counted apart from those that passed."""
    combos = numbered(("demo", "1.0", "py312"), ("demo", "2.0", "py312"))
    found = summary(combos, [result(0, detail="import-only: the suite has no tests"), result(1, detail="3 passed")])
    assert text(grid_lines(found)) == [
        "demo  py312",
        "2.0      ok",
        "1.0      io",
        "ok passed   io import only, no tests",
    ]
    assert summary_line(found).startswith("2 combinations: 1 passed, 1 import-only in ")


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (None, (".", "dim")),
        (result(0, detail="import-only: the suite has no tests"), ("io", "yellow")),
        (result(), ("ok", "green")),
        (result(0, FAILED), ("FAIL", "red")),
        (result(0, FAILED, Reason.TEST_FAILED), ("FAIL", "red")),
        (result(0, FAILED, Reason.BUILD_FAILED), ("build", "red")),
        (result(0, FAILED, Reason.DEPENDENCY_BUILD_FAILED), ("dep", "red")),
        (result(0, FAILED, Reason.BAD_METADATA), ("meta", "red")),
        (result(0, SKIPPED, Reason.REQUIRES_PYTHON), ("-", "dim")),
        (result(0, SKIPPED, Reason.NO_INTERPRETER), ("skip", "dim")),
        (result(0, SKIPPED, Reason.NO_SOLUTION), ("nosol", "yellow")),
        (result(0, KILLED, Reason.OUT_OF_MEMORY), ("mem", "red")),
        (result(0, KILLED, Reason.LOG_LIMIT), ("KILL", "red")),
        (result(0, CRASHED, Reason.SILENT_EXIT), ("CRASH", "red")),
        (result(0, ERROR, Reason.INTERNAL), ("err", "yellow")),
    ],
)
def test_cell(one: Result | None, expected: tuple[str, str]) -> None:
    """A cell has a short word for the reason where it has one, else for the outcome."""
    assert cell(one) == expected


def test_every_word_is_explained() -> None:
    """Every outcome has a word, every word fits a column of five, and the legend knows it."""
    words = {text for text, _ in [*_CELLS.values(), *_REASON_CELLS.values(), _IMPORT_ONLY, cell(None)]}
    assert set(_CELLS) == set(Outcome)
    assert words == set(_MEANINGS)
    assert all(len(word) <= 5 for word in words)


def test_legend_of_nothing() -> None:
    """Without rows nothing is explained."""
    assert legend([]) == []


def test_package_cannot_write_on_the_terminal() -> None:
    """What a package made of its error's message cannot move the cursor, whoever let it through."""
    groups = summary(numbered(("demo", "1", "py312")), [result(0, FAILED, IMPORT, "\x1b[2J\x07gone")]).groups
    assert all(character.isprintable() for line in text(group_lines(groups)) for character in line)


def test_styles_are_few(mixed: Summary) -> None:
    """Spans bear styles that the edge knows."""
    lines: list[Line] = [*grid_lines(mixed), *group_lines(mixed.groups)]
    assert {style for line in lines for _, style in line} <= {"", "bold", "dim", "red", "green", "yellow"}


# -- suites -------------------------------------------------------------------------------------------------------------

SUITE = run_facts(project={"name": "mine"})


def suite_of(passed: int, failed: int = 0, skipped: int = 0) -> tuple[Test, ...]:
    """Return so many tests of each outcome."""
    outcomes = ["passed"] * passed + ["failed"] * failed + ["skipped"] * skipped
    return tuple(Test(f"test_x.py::test_{n}", outcome, 0.1, "boom") for n, outcome in enumerate(outcomes))


def test_cells_of_suites_are_counted() -> None:
    """A cell tells how many tests passed, or how many failed; one with another number of tests is starred and named."""
    suites = [suite_of(9, skipped=1), suite_of(7, failed=3), suite_of(8), suite_of(10)]
    combos = numbered(*(("demo", version, "py312") for version in ("1.0", "1.1", "1.2", "1.3")))
    ends = [
        result(ordinal, *((FAILED, Reason.TEST_FAILED) if ordinal == 1 else ()), tests=suite)
        for ordinal, suite in enumerate(suites)
    ]
    assert text(grid_lines(summary(combos, ends, facts=SUITE))) == [
        "demo   py312",
        "1.3    ok 10",
        "1.2    ok 8*",
        "1.1   FAIL 3",
        "1.0     ok 9",
        "ok passed   FAIL failed",
        "tests where all passed: 9 passed, 1 skipped (1); 8 passed (1); 10 passed (1)",
        "* not as many tests as most: demo[1.2-py312] 8 (most 10)",
    ]


def test_suites_of_releases_are_their_own() -> None:
    """Each release has a suite of its own: its tests are compared across Pythons, not with another release's."""
    combos = numbered(*(("demo", version, label) for version in ("1.0", "1.1") for label in ("py39", "py311", "py312")))
    counts = [5, 5, 4, 9, 9, 9]
    ends = [result(ordinal, tests=suite_of(count)) for ordinal, count in enumerate(counts)]
    assert text(grid_lines(summary(combos, ends))) == [
        "demo   py39  py311  py312",
        "1.1    ok 9   ok 9   ok 9",
        "1.0    ok 5   ok 5  ok 4*",
        "ok passed",
        "* not as many tests as most: demo[1.0-py312] 4 (most 5)",
    ]


def test_what_was_killed_has_no_count_of_its_own() -> None:
    """A suite that was ended is not said to have had fewer tests."""
    combos = numbered(("demo", "1.0", "py39"), ("demo", "1.0", "py312"))
    ends = [result(0, tests=suite_of(5)), result(1, KILLED, Reason.TIMEOUT, tests=suite_of(2))]
    assert text(grid_lines(summary(combos, ends, facts=SUITE)))[1:] == [
        "1.0    ok 5   time",
        "ok passed   time timeout",
        "tests where all passed: 5 passed",
    ]


def test_nothing_tried_is_said_last() -> None:
    """Where every combination was skipped, the last line says that nothing was tried, and why."""
    combos = numbered(*(("demo", f"1.{n}", "py312") for n in range(3)))
    ends = [
        result(0, SKIPPED, Reason.REQUIRES_PYTHON),
        result(1, SKIPPED, Reason.NO_SOLUTION, "no version of dep"),
        result(2, SKIPPED, Reason.NO_SOLUTION),
    ]
    last = "nothing was tried: 2 no-solution, 1 requires-python; demo[1.1-py312]: no version of dep"
    assert list(closing_lines(summary(combos, ends)))[-1] == last
