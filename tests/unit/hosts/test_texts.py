"""Texts of any characters."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import sqlite

from pytest_spip.hosts.texts import AnyText, stored

ANY = st.text(st.characters(exclude_categories=()))


@given(ANY)
def test_any_text_comes_back(text: str) -> None:
    """Every text can be stored as UTF-8 without NUL, and comes back as it was."""
    dialect = sqlite.dialect()
    kept = AnyText().process_bind_param(text, dialect)
    assert kept is not None
    assert b"\0" not in kept.encode()
    assert AnyText().process_result_value(kept, dialect) == text


@given(ANY, ANY)
def test_texts_stay_apart(one: str, other: str) -> None:
    """Two texts are stored alike only if they are the same."""
    assert (stored(one) == stored(other)) == (one == other)


@pytest.mark.parametrize("text", ["", "plain", string.printable, "ß😀", '{"a": "\\u0000"}'])
def test_usual_texts_are_stored_as_they_are(text: str) -> None:
    """What a database takes is stored as it is."""
    assert stored(text) == text


def test_nothing_stays_nothing() -> None:
    """A missing text is stored as such."""
    dialect = sqlite.dialect()
    assert AnyText().process_bind_param(None, dialect) is AnyText().process_result_value(None, dialect) is None
