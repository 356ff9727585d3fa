"""Which runs are warm and which cold, by what the combinations before came to."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import pytest

from pytest_spip.model import Combo, Outcome, Phase, Reason, Result, Verdict
from pytest_spip.run.confirming import Judge
from tests.support.rooms import combo

WAYS = {
    "p": Verdict(Outcome.PASSED, Phase.TEST),
    "f": Verdict(Outcome.FAILED, Phase.TEST, Reason.TEST_FAILED),
    "t": Verdict(Outcome.KILLED, Phase.TEST, Reason.TIMEOUT),
    "s": Verdict(Outcome.SKIPPED, Phase.TEST, Reason.EXCLUDED),
}


def judged(judge: Judge, ways: str, combos: Iterable[Combo]) -> list[str]:
    """Return how combinations that come to these ends were run: "w" for warm, "c" for cold, in their order."""
    runs: list[str] = []
    for way, one in zip(ways, combos, strict=True):
        kinds: list[str] = []

        def run(*, warm: bool, way: str = way, one: Combo = one, kinds: list[str] = kinds) -> Result:
            kinds.append("w" if warm else "c")
            return Result(one.ordinal, WAYS[way], runner="warm" if warm else "cold")

        result, disagreement = judge.result(run, one, doubts_passes=False)
        assert (result.verdict, disagreement) == (WAYS[way], None)
        runs.append("".join(kinds))
    return runs


def releases(*versions: int, **fields: Any) -> list[Combo]:
    """Return combinations of releases of one package with one interpreter."""
    return [dataclasses.replace(combo(number), version=f"1.{number}", **fields) for number in versions]


@pytest.mark.parametrize(
    ("versions", "ways", "runs"),
    [
        ((1, 2, 3), "ppp", "w w w"),
        ((1, 2, 3, 4, 5), "fffpp", "wc c c c w"),
        ((5, 4, 3, 2, 1), "ppfff", "w w wc c c"),
        ((10, 9, 8), "fff", "wc c c"),
        ((1, 9, 5, 4, 6), "fpffp", "wc c wc c w"),
        ((1, 9, 5, 3, 7), "ffpff", "wc c c wc wc"),
        ((1, 3, 2), "ftf", "wc c wc"),
        ((1, 3, 2), "sfs", "wc wc wc"),
        ((1, 2, 3, 4, 5, 6), "fpfffp", "wc c wc wc c c"),
    ],
)
def test_what_is_expected_to_fail_is_run_cold_at_once(versions: tuple[int, ...], ways: str, runs: str) -> None:
    """Between and beside releases that failed alike another one is run cold alone; beside them, misses make that rarer."""
    judge = Judge(trusts=False, foresees=True)
    assert judged(judge, ways, releases(*versions)) == runs.split()


def test_each_line_of_releases_has_failures_of_its_own() -> None:
    """Another package, interpreter or resolution says nothing about this one."""
    judge = Judge(trusts=False, foresees=True)
    others = [releases(1, **{key: "another"})[0] for key in ("package", "interpreter", "resolution")]
    assert judged(judge, "fffff", [*releases(0), *others, *releases(1)]) == ["wc", "wc", "wc", "wc", "c"]


@pytest.mark.parametrize(("trusts", "runs"), [(True, "w w w"), (False, "wc wc wc")])
def test_nothing_is_foreseen_unasked(trusts: bool, runs: str) -> None:
    """Who trusts warm runs has no cold ones, whatever failed before; who foresees nothing has both."""
    judge = Judge(trusts=trusts, foresees=trusts)
    assert judged(judge, "fff", releases(0, 1, 2)) == runs.split()
