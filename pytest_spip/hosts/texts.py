"""Texts of any characters, in databases that do not take them all."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Text, TypeDecorator

__all__ = ["AnyText", "stored"]

MARK = "\x01"


def stored(value: str) -> str:
    """Return a text as it is stored: PostgreSQL takes neither NUL nor lone surrogates, which names of files may hold."""
    is_plain = "\0" not in value and not value.startswith(MARK)
    if is_plain and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            is_plain = False
    return value if is_plain else MARK + value.encode("unicode_escape").decode("ascii")


class AnyText(TypeDecorator[str]):
    """A text of any characters. Two texts are stored alike only if they are the same."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        """Return a text as it is stored."""
        return None if value is None else stored(value)

    def process_result_value(self, value: str | None, dialect: Any) -> str | None:
        """Return a text as it was given."""
        if value is None or not value.startswith(MARK):
            return value
        return value.removeprefix(MARK).encode("ascii").decode("unicode_escape")
