"""What sessions that somebody disturbs have in common: a package that ends in every way, and verdicts to compare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks import matrix

__all__ = ["PACKAGE", "Verdicts", "contents", "counted", "differences", "entered"]

PACKAGE = "victim"
SLOW = "import time\ntime.sleep(0.08)\n"
KINDS = {
    5: "raise ImportError('not today')\n",
    7: "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n",
    11: "import os\nos._exit(0)\n",
}
"""What a release does whose number is divisible so; the others import."""

Verdicts = Mapping[str, Sequence[tuple[str, str, str]]]
"""Outcome, phase and reason of all that the ledger holds for a combination, by its id; there should be one each."""


def contents(releases: int) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the releases by version."""
    for number in range(1, releases + 1):
        code = next((code for divisor, code in KINDS.items() if number % divisor == 0), "answer = 42\n")
        yield f"1.{number}", {f"{PACKAGE}/__init__.py": SLOW + code}


def entered(directory: Path) -> Verdicts:
    """Return the verdicts of the newest run's ledger for every planned combination."""
    query = "SELECT id, outcome, phase, reason FROM plan LEFT JOIN ledger USING (ordinal)"
    told: dict[str, list[tuple[str, str, str]]] = {}
    for row in matrix.database(directory, query):
        verdicts = told.setdefault(row["id"], [])
        if row["outcome"] is not None:
            verdicts.append((row["outcome"], row["phase"], row["reason"] or ""))
    return told


def differences(peace: Verdicts, war: Verdicts, report: matrix.Report) -> Iterator[str]:
    """Yield a line for each combination without exactly one verdict, or with another than in peace that is no error."""
    reported = Counter(each.id for each in report.combinations)
    details = {each.id: each.detail for each in report.combinations}
    for name in peace.keys() | war.keys():
        verdicts, right = war.get(name, ()), peace.get(name, ())
        if len(verdicts) != 1 or len(right) != 1 or reported[name] != 1:
            yield f"{name}: {len(verdicts)} verdicts in the ledger, {reported[name]} in the report"
        elif verdicts[0] != right[0] and "error" not in (verdicts[0][0], right[0][0]):
            yield f"{name}: {' '.join(verdicts[0])} ({details[name]}) instead of {' '.join(right[0])}"


def counted(report: matrix.Report) -> str:
    """Return how many combinations ended in which way, and in what time."""
    counts = Counter(each.outcome for each in report.combinations)
    return f"{', '.join(f'{word} {count}' for word, count in sorted(counts.items()))} in {report.seconds:.1f} s"
