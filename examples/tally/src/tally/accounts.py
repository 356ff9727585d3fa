"""Who paid what, and who owes whom. Amounts are in cents."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

LINE = re.compile(r"\s*(\w+)\s+(\d+)(?:\.(\d\d))?\s*(.*?)\s*$")


class Entry(NamedTuple):
    """Somebody paid for something."""

    who: str
    cents: int
    what: str = ""


def parse(text: str) -> Iterator[Entry]:
    """Yield the entries of lines such as ``ada 12.50 lunch``; raises ``ValueError``."""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        found = LINE.match(line)
        if not found:
            raise ValueError(f"line {number}: {line!r} is no entry")
        who, whole, cents, what = found.groups()
        yield Entry(who, 100 * int(whole) + int(cents or 0), what)


def total(entries: Iterable[Entry]) -> int:
    """Return what all paid together."""
    return sum(entry.cents for entry in entries)


def balances(entries: Iterable[Entry]) -> dict[str, int]:
    """Return what each paid beyond a fair share; rounding is to the payers' favour."""
    paid: dict[str, int] = {}
    for entry in entries:
        paid[entry.who] = paid.get(entry.who, 0) + entry.cents
    if not paid:
        return {}
    share, rest = divmod(sum(paid.values()), len(paid))
    owed = {who: share + (position < rest) for position, who in enumerate(sorted(paid, key=lambda who: paid[who]))}
    return {who: paid[who] - owed[who] for who in paid}


def settle(entries: Iterable[Entry]) -> Iterator[tuple[str, str, int]]:
    """Yield debtor, creditor and cents, until nobody owes anything."""
    open_ = balances(entries)
    while any(open_.values()):
        debtor = min(open_, key=lambda who: open_[who])
        creditor = max(open_, key=lambda who: open_[who])
        cents = min(-open_[debtor], open_[creditor])
        open_[debtor] += cents
        open_[creditor] -= cents
        yield debtor, creditor, cents
