"""Tables of entries."""

from collections.abc import Iterable

from tabulate import tabulate

from tally.accounts import Entry

HEADERS = ["who", "paid", "for"]


def plain(entries: Iterable[Entry]) -> str:
    """Return a table, as wide as it gets."""
    return tabulate(_rows(entries), HEADERS, tablefmt="simple", disable_numparse=True)


def narrow(entries: Iterable[Entry], width: int) -> str:
    """Return a table whose last column is wrapped: needs tabulate 0.8.10."""
    return tabulate(_rows(entries), HEADERS, tablefmt="simple", maxcolwidths=[None, None, width])


def _rows(entries: Iterable[Entry]) -> "list[tuple[str, str, str]]":
    return [(entry.who, f"{entry.cents / 100:.2f}", entry.what) for entry in entries]
