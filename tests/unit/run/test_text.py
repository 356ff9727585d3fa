"""Text of children, made harmless."""

from __future__ import annotations

import pytest

from pytest_spip.run.text import harmless


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("one\r\ntwo", "one\ntwo"),
        ("over\rwritten", "over\N{REPLACEMENT CHARACTER}written"),
        (
            "\x1b[2J\x1b]0;title\x07",
            "\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}]0;title\N{REPLACEMENT CHARACTER}",
        ),
        ("\x9b1m", "\N{REPLACEMENT CHARACTER}1m"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}txt", "\N{REPLACEMENT CHARACTER}txt"),
        ("\x00\x7f\b", "\N{REPLACEMENT CHARACTER}" * 3),
        ("\udcff", "\N{REPLACEMENT CHARACTER}"),
        ("naïve 漢字 🙂", "naïve 漢字 🙂"),
    ],
)
def test_harmless(text: str, plain: str) -> None:
    """What could move a cursor, turn letters round or not be encoded is replaced, the rest stays."""
    assert harmless(text) == plain
