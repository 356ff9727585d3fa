"""Parsing, sums and debts."""

import pytest
from tally import Entry, balances, parse, settle, total

LUNCH = [Entry("ada", 1250, "lunch"), Entry("bob", 250, "tea"), Entry("ada", 300)]


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        ("ada 12.50 lunch", Entry("ada", 1250, "lunch")),
        ("ada 12", Entry("ada", 1200)),
        ("  bob   0.05   one sweet  ", Entry("bob", 5, "one sweet")),
        ("ada 1.00 12 eggs", Entry("ada", 100, "12 eggs")),
    ],
)
def test_line(line, entry):
    assert list(parse(line)) == [entry]


@pytest.mark.parametrize("line", ["ada", "12.50", "ada -3"])
def test_bad_line(line):
    with pytest.raises(ValueError, match=r"line 1: .* is no entry"):
        list(parse(line))


@pytest.mark.parametrize("text", ["", "\n\n", "# a note\n", "   \n# ada 12"])
def test_nothing(text):
    assert list(parse(text)) == []


def test_number_of_a_bad_line():
    with pytest.raises(ValueError, match="line 3"):
        list(parse("ada 1\n\nnonsense"))


def test_total():
    assert total(LUNCH) == 1800
    assert total([]) == 0


def test_balances():
    assert balances(LUNCH) == {"ada": 650, "bob": -650}


def test_nobody_owes_anything():
    assert balances([]) == {}
    assert list(settle([Entry("ada", 5), Entry("bob", 5)])) == []


def test_settle():
    assert list(settle(LUNCH)) == [("bob", "ada", 650)]


@pytest.mark.parametrize("cents", [1, 2, 100, 101])
def test_rounding_loses_nothing(cents):
    three = [Entry("ada", cents), Entry("bob", 0), Entry("cy", 0)]
    assert sum(balances(three).values()) == 0
    assert sum(owed for _, _, owed in settle(three)) == max(balances(three).values())
