"""What a run says: counts, and failures grouped by what is really the same. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence

from pytest_spip.model import Combo, Group, Outcome, Reason, Result, Summary, Test

__all__ = ["FailureKey", "failure_key", "groups", "signature", "unusual_counts"]


def unusual_counts(summary: Summary) -> dict[int, int]:
    """Return the combinations whose suites had another number of tests than most, and how many most had, by ordinal.

    Compared are those with one suite: a project's, or that of one release. What was killed or crashed had no chance to run all.
    """
    suites: dict[Hashable, dict[int, int]] = {}
    for combo in summary.combos:
        result = summary.results.get(combo.ordinal)
        if result and (result.tests or result.verdict.is_import_only) and _ran_to_its_end(result):
            suite = None if summary.shares_suite else combo.releases
            suites.setdefault(suite, {})[combo.ordinal] = len(result.tests)
    unusual: dict[int, int] = {}
    for counts in suites.values():
        usual = max(Counter(counts.values()).items(), key=lambda pair: (pair[1], pair[0]))[0]
        unusual |= {ordinal: usual for ordinal, count in counts.items() if count != usual}
    return unusual


def _ran_to_its_end(result: Result) -> bool:
    return result.verdict.outcome is Outcome.PASSED or result.verdict.reason is Reason.TEST_FAILED


_NORMAL: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"\Amodule [\w.]+: "), ""),
    (re.compile(r"0x[0-9a-fA-F]+"), "0x…"),
    (re.compile(r"(?:/[^\s/'\":,)]+){2,}/?"), lambda found: "…/" + found[0].rstrip("/").rpartition("/")[2]),
    (re.compile(r"\bline \d+"), "line …"),
    (re.compile(r"(?<=\.py:)\d+\b"), "…"),
    (re.compile(r"\b\d+ of \d+ tests\b"), "some tests"),
    (re.compile(r"\b[0-9a-f]{12,}\b"), "…"),
    (re.compile(r"\b\d+(?:\.\d+)+(?:[a-z]+\d+)?(?:\.\w+)?\b"), "…"),
    # One cause in three spellings: with the statement itself, with an ellipsis, and without advice.
    (re.compile(r"(Missing parentheses in call to '\w+')\. Did you mean \w+\(.*\)\?"), r"\1"),
    (re.compile(r"\s+"), " "),
)


SIGNATURE = 160
"""Characters of a signature's text."""
FailureKey = Hashable
"""Equal for failures of one kind."""


def signature(result: Result) -> str:
    """Return a failure's normalised signature: equal causes give equal texts, whatever the path, address or version.

    Of a suite it says how many tests failed, and the first of them; how many passed may differ.
    """
    text = _normal(result.verdict.detail)
    if failed := _failed_tests(result):
        first = min(failed)
        text = f"{len(failed)} {'test' if len(failed) == 1 else 'tests'} failed: {first.id}: {_normal(first.headline)}"
    reason = result.verdict.reason.value if result.verdict.reason else result.verdict.outcome.value
    return f"{reason}: {text}" if text else reason


def failure_key(result: Result) -> FailureKey:
    """Return what failures of one kind have in common: the signature, and of a suite all failing tests with their headlines."""
    return signature(result), frozenset((test.id, _normal(test.headline)) for test in _failed_tests(result))


def _failed_tests(result: Result) -> list[Test]:
    """Return the tests that made a suite fail. What was killed has its own cause, whatever failed before."""
    return [test for test in result.tests if test.is_bad] if result.verdict.reason is Reason.TEST_FAILED else []


def _normal(text: str) -> str:
    """Return the first line of a text without what differs between failures of one kind."""
    text = text.splitlines()[0] if text else ""
    for pattern, replacement in _NORMAL:
        text = pattern.sub(replacement, text)
    return _printable(text)[:SIGNATURE].strip()


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text).strip()


def groups(combos: Sequence[Combo], results: Mapping[int, Result]) -> tuple[Group, ...]:
    """Group what went wrong by failure key, the largest group first; errors, which say nothing about the package, come last."""
    ids = {combo.ordinal: combo.id for combo in combos}
    gathered: dict[FailureKey, list[Result]] = {}
    for ordinal in sorted(results):
        if results[ordinal].verdict.outcome.is_bad:
            gathered.setdefault(failure_key(results[ordinal]), []).append(results[ordinal])
    made = (_group(members, [ids[one.ordinal] for one in members]) for members in gathered.values())
    return tuple(sorted(made, key=lambda group: (group.is_environment, -group.count, group.signature)))


def _group(members: Sequence[Result], ids: Sequence[str]) -> Group:
    first, text = members[0], signature(members[0])
    words = _printable(first.verdict.detail.partition("\n")[0])[: 2 * SIGNATURE]
    is_said = words in text or bool(_failed_tests(first))
    return Group(text, tuple(members), tuple(ids), "" if is_said else words)
