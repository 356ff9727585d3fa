"""Where a sequence of releases changes, in how many runs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_spip.dispatch.bisection import Bisection, Finding, State

LETTERS = {"G": State.GOOD, "B": State.BAD, "S": State.SILENT}


def searched(history: Sequence[State]) -> Bisection:
    """Run a bisection to its end."""
    bisection = Bisection(len(history))
    while (place := bisection.wanted()) is not None:
        bisection.learn(place, history[place])
    return bisection


def states(text: str) -> list[State]:
    """Return a history, a letter for each release."""
    return [LETTERS[letter] for letter in text]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 16, 43, 100])
@pytest.mark.parametrize("older", [State.GOOD, State.BAD])
def test_single_change_is_found(size: int, older: State) -> None:
    """Wherever the one change lies, it is found in ceil(log2 n) + 2 runs, and all that was inferred is true."""
    newer = State.BAD if older is State.GOOD else State.GOOD
    for first in range(size + 1):
        history = [older] * first + [newer] * (size - first)
        bisection = searched(history)
        assert bisection.monotonic
        assert bisection.runs <= math.ceil(math.log2(size)) + 2
        assert all(history[place] is state for place, state in bisection.inferred())
        expected = [Finding(first - 1, first, breaks=newer is State.BAD)] if 0 < first < size else []
        assert bisection.findings() == expected


@pytest.mark.parametrize(
    "text",
    ["GGGGBBBBGGGGBBBB", "BBBBGGGGBBBB", "GGGGGGBBBBGGGGGG", "BBBBGGGGBBBBGGGGBBBBGGGG"],
)
def test_several_changes_are_all_found(text: str) -> None:
    """A history that goes back and forth in long stretches is known for what it is, and every change in it is found."""
    history = states(text)
    bisection = searched(history)
    assert not bisection.monotonic
    assert bisection.runs == len(history)
    found = [(one.before, one.after) for one in bisection.findings()]
    assert found == [(at, at + 1) for at in range(len(history) - 1) if history[at] is not history[at + 1]]


def test_silence_is_passed_over() -> None:
    """Releases that say nothing, the newest among them, move the search to their neighbours."""
    bisection = searched(states("GGGGGGGGSSBBBBSS"))
    assert bisection.findings() == [Finding(7, 10, breaks=True)]
    assert bisection.monotonic
    silent = searched(states("SSSS"))
    assert (silent.findings(), list(silent.inferred()), silent.runs) == ([], [], 4)


@given(st.text(alphabet="GBS", min_size=1, max_size=60))
def test_whatever_happens(text: str) -> None:
    """No place is run twice, nothing stays open, and what was run is never contradicted by what is said of it."""
    history = states(text)
    bisection = Bisection(len(history))
    seen: list[int] = []
    while (place := bisection.wanted()) is not None:
        seen.append(place)
        bisection.learn(place, history[place])
    assert len(seen) == len(set(seen)) == bisection.runs
    inferred = dict(bisection.inferred())
    assert not inferred.keys() & set(seen)
    assert not any(
        history[at] is State.SILENT for finding in bisection.findings() for at in (finding.before, finding.after)
    )
    if not bisection.monotonic:
        assert sorted(seen) == list(range(len(history)))
