"""Numbers with what they count, in the singular and the plural."""

from __future__ import annotations

__all__ = ["plural"]


def plural(count: int, noun: str) -> str:
    """Return ``1 combination`` or ``2 combinations``: nouns that take an s."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
