"""How the benchmarks speak: tables on standard output, progress on standard error."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence

__all__ = ["SPREAD", "say", "spread", "table"]

SPREAD = ("min", "median", "max")


def table(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the rows as aligned lines: first cells to the left, numbers to the right. The first row is the head."""
    cells = [list(row) for row in rows]
    widths = [max(len(row[column]) for row in cells if column < len(row)) for column in range(max(map(len, cells)))]
    for row in cells:
        first, *others = (
            f"{cell:>{width}}" if column else f"{cell:<{width}}"
            for column, (cell, width) in enumerate(zip(row, widths, strict=False))
        )
        yield "  ".join([first, *others]).rstrip()


def spread(values: Sequence[float], form: str = ".1f") -> list[str]:
    """Return minimum, median and maximum as text."""
    return [format(value, form) for value in (min(values), statistics.median(values), max(values))]


def say(text: str) -> None:
    """Print progress, apart from the result."""
    print(text, file=sys.stderr, flush=True)
