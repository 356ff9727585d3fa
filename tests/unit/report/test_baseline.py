"""The file of known failures: what it says, and how it changes."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_spip.model import Combo, Outcome, Reason, Result
from pytest_spip.report.baseline import BaselineError, baseline_text, known_failures, parse_baseline, updated
from tests.support.rooms import combo, result

VERSIONS = [f"1.{n}" for n in range(12)]
COMBOS = [
    combo(ordinal, version=version, label=label)
    for ordinal, (version, label) in enumerate((version, label) for version in VERSIONS for label in ("py39", "py312"))
]
BAD: Mapping[str, tuple[Outcome, Reason | None]] = {
    "F": (Outcome.FAILED, Reason.IMPORT_ERROR),
    "B": (Outcome.FAILED, Reason.BUILD_FAILED),
    "C": (Outcome.CRASHED, None),
    "E": (Outcome.ERROR, Reason.NETWORK),
    "S": (Outcome.SKIPPED, Reason.NO_SOLUTION),
    ".": (Outcome.PASSED, None),
}


def results(text: str, combos: list[Combo] = COMBOS) -> dict[int, Result]:
    """Return results, a letter of ``BAD`` for each combination; a dash is none."""
    letters = zip(combos, text.replace(" ", ""), strict=True)
    return {one.ordinal: result(one.ordinal, *BAD[letter]) for one, letter in letters if letter != "-"}


def text_of(letters: str, before: str = "") -> str:
    """Return the baseline after a run."""
    return baseline_text(updated(parse_baseline(before), COMBOS, results(letters)))


def body(text: str) -> list[str]:
    """Return the lines that are no comment."""
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_neighbours_share_a_line() -> None:
    """Neighbouring releases that fail alike on one Python are one line; another reason, or a pass between, begins another."""
    assert body(text_of("F. F. FB .. .. F. B. .. .. .. .. .C")) == [
        "demo  1.0 ... 1.2  py39  failed import-error",
        "demo  1.5  py39  failed import-error",
        "demo  1.6  py39  failed build-failed",
        "demo  1.2  py312  failed build-failed",
        "demo  1.11  py312  crashed",
    ]


@pytest.mark.parametrize("changed", [1, 6, 11, 22])
def test_a_new_failure_is_one_line(changed: int) -> None:
    """The difference that one new failure makes is one line more."""
    letters = list("F. F. .. .. .. F. F. .. .. .. .. .C".replace(" ", ""))
    before = text_of("".join(letters))
    letters[changed] = "B"
    made = list(difflib.unified_diff(before.splitlines(), text_of("".join(letters)).splitlines(), lineterm="", n=0))
    assert [line[0] for line in made[2:] if line[0] != "@"] == ["+"]


def test_silence_keeps_what_was_known() -> None:
    """Errors, skips and combinations that were not run leave the lines as they were, as do other packages and Pythons."""
    other = "zother  1.0  py312  failed test-failed\ndemo  1.0  py37  killed timeout\n"
    before = text_of("F. F. F. .. .. .. .. .. .. .. .. ..", other)
    after = text_of("E. S. -. .E .S .- .. .. .. .. .. ..", before)
    assert after == before
    assert "zother  1.0  py312  failed test-failed" in after


def test_a_release_in_between_is_known() -> None:
    """A stretch also covers releases that were listed later and lie within it, by their order as versions."""
    known = parse_baseline("demo  1.9 ... 1.11  py312  failed import-error\n")
    combos = [
        combo(n, version=version) for n, version in enumerate(("1.8", "1.9", "1.10", "1.10.post1", "1.11", "1.12"))
    ]
    expected = known_failures(known, combos)
    assert [expected[one.id].passed for one in combos] == [True, False, False, False, False, True]


def test_crosses_and_resolutions_have_lines_of_their_own() -> None:
    """The other release of a cross, and the resolution, tell lines apart."""
    combos = [
        combo(0, version="1.0", others=(("other", "2.0"),), resolution="lowest"),
        combo(1, version="1.0", others=(("other", "3.0"),), resolution="lowest"),
        combo(2, version="1.0", others=(("other", "2.0"),)),
    ]
    text = baseline_text(updated((), combos, results("F..", combos)))
    assert body(text) == ["demo + other 2.0  1.0  py312 lowest  failed import-error"]
    expected = known_failures(parse_baseline(text), combos)
    assert [expected[one.id].passed for one in combos] == [False, True, True]


@given(st.text(alphabet="FBCES.-", min_size=24, max_size=24), st.text(alphabet="FBCES.-", min_size=24, max_size=24))
def test_what_is_written_is_read(first: str, second: str) -> None:
    """The text that a run leaves expects what the run saw, is the same when it is written again, and follows a second run."""
    text = text_of(first)
    assert baseline_text(parse_baseline(text)) == text
    assert text_of(first, text) == text
    again = text_of(second, text)
    expected = known_failures(parse_baseline(again), COMBOS)
    for one, letter in zip(COMBOS, second, strict=True):
        if letter in "FBC":
            assert expected[one.id].verdict.outcome is BAD[letter][0]
        if letter == ".":
            assert expected[one.id].passed


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("demo 1.0 py312 failed", "has 1 columns"),
        ("demo  1.0  py312", "has 3 columns"),
        ("demo  1.0  py312  broken", "'broken' is not a valid Outcome"),
        ("demo  1.0  py312  failed nonsense", "'nonsense' is not a valid Reason"),
    ],
)
def test_bad_lines_are_named(line: str, why: str) -> None:
    """A line that is none is refused with its number and what is wrong with it."""
    with pytest.raises(BaselineError, match=why) as caught:
        parse_baseline(f"# comment\n\n{line}\n")
    assert caught.value.number == 3
