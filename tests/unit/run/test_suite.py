"""What a suite's process told, as tests and a verdict: ids, attempts, and hints; see run/child/check_suite.py for the lines."""

from __future__ import annotations

import json
import runpy

import pytest

from pytest_spip.model import Limits, Test, Verdict
from pytest_spip.options import MARKS, OPTIONS
from pytest_spip.run.process import Ended
from pytest_spip.run.suite import suite_verdict
from pytest_spip.run.suite_check import CHECK_SUITE

LONG = "tests/test_it.py::test_it[" + "x" * 20_000
REFUSED = "OSError: [Errno 101] Network is unreachable (a.py:1)\nreport"


def test_our_settings_are_known() -> None:
    """A suite's own pytest takes each of our ini options, and no other, for granted."""
    known = {f"spip_{name}" for name in runpy.run_path(CHECK_SUITE, run_name="looked at")["INI"]}
    assert known == {option.dest for option in OPTIONS} | MARKS.keys()


def judged(*lines: list[object], status: int = 1, network: bool = False) -> tuple[Verdict, tuple[Test, ...]]:
    """Return what lines of a suite that came to its end mean."""
    told = "".join(json.dumps(line) + "\n" for line in (*lines, ["end", status, 1]))
    verdict, tests, _ = suite_verdict(Ended(status, "", "", told.encode(), 1.0, 1.0, 1), Limits(), network=network)
    return verdict, tests


@pytest.mark.parametrize(
    "ids",
    [
        ["short", "tests/test_it.py::test_it[" + "y" * 5000 + "]"],
        [f"{LONG}1]", f"{LONG}2]"],
        ["test_it[\x1b]", "test_it[\x07]", "test_it[\N{REPLACEMENT CHARACTER}]"],
    ],
    ids=["whole", "cut", "harmless"],
)
def test_ids_stay_different(ids: list[str]) -> None:
    """Ids are whole as far as there is room, and two tests never become one."""
    _, tests = judged(*(["test", name, "passed", 0.1, "", 0] for name in ids), status=0)
    assert len({test.id for test in tests}) == len(ids)
    if ids[0] == "short":
        assert [test.id for test in tests] == ids
    assert all(len(test.id) < 9000 for test in tests)


def test_reruns_are_counted() -> None:
    """A test's last attempt is its outcome, and the verdict counts those before."""
    verdict, tests = judged(["test", "a", "passed", 0.1, "", 2], ["test", "b", "passed", 0.1, "", 1], status=0)
    assert verdict.detail == "2 passed, 3 rerun"
    assert [test.reruns for test in tests] == [2, 1]


def test_a_test_that_is_told_twice() -> None:
    """Of a test that two workers of the suite's own ran, the failure counts."""
    lines: list[list[object]] = [["test", "a", "failed", 0.1, "no", 0], ["test", "a", "passed", 0.1, "", 0]]
    assert [test.outcome for test in judged(*lines)[1]] == ["failed"]
    assert [test.outcome for test in judged(*reversed(lines))[1]] == ["failed"]


def test_hint_stands_with_its_test() -> None:
    """The hint that there is no network is with the test that met none, and the verdict names it if another one failed first."""
    lines: list[list[object]] = [
        ["test", "a", "failed", 0.1, "AssertionError: no", 0],
        ["test", "b", "error", 0.1, REFUSED, 0],
    ]
    verdict, (first, second) = judged(*lines)
    assert "network" not in first.detail
    assert second.headline.endswith("(a.py:1) (there is no network in the sandbox; --spip-network opens it)")
    assert verdict.detail.startswith(
        "2 of 2 tests failed: a: AssertionError: no (b met no network: there is no network in"
    )
    alone, _ = judged(lines[1])
    assert alone.detail.startswith("1 of 1 tests failed: b: OSError")
    assert alone.detail.endswith("(there is no network in the sandbox; --spip-network opens it)")
    opened, (known, _) = judged(*reversed(lines), network=True)
    assert "--spip-network" not in opened.detail + known.detail
