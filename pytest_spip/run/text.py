"""Makes text that a package wrote fit for a terminal and a database. Pure."""

from __future__ import annotations

__all__ = ["harmless"]


def harmless(text: str) -> str:
    """Return the text with everything replaced that could move a cursor, turn letters round, or not be encoded."""
    plain = text.replace("\r\n", "\n")
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else "\N{REPLACEMENT CHARACTER}" for letter in plain
    )
