"""Tables, as tabulate makes them."""

import pytest
from tally import Entry, narrow, plain

ENTRIES = [Entry("ada", 1250, "lunch for everybody"), Entry("bob", 200)]


def test_plain():
    assert plain(ENTRIES).splitlines() == [
        "who    paid    for",
        "-----  ------  -------------------",
        "ada    12.50   lunch for everybody",
        "bob    2.00",
    ]


def test_headers_alone():
    assert plain([]).split()[:3] == ["who", "paid", "for"]


@pytest.mark.parametrize("width", [10, 12])
def test_narrow(width):
    lines = narrow(ENTRIES, width).splitlines()
    assert max(len(line) for line in lines) <= 18 + width
    assert "everybody" in lines[-2] + lines[-3]
