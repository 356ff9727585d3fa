"""What runs warm, what cold, and what runs twice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_spip.model import Check, Combo, Limits, Outcome, Reason, Result, Sandbox
from pytest_spip.record.telemetry import Telemetry
from pytest_spip.session.judging import Judge
from pytest_spip.session.worker_spec import WorkerSpec
from tests.support.rooms import combo, result

FAILED, PASSED, ERROR = Outcome.FAILED, Outcome.PASSED, Outcome.ERROR


class Runner:
    """Knows what becomes of a combination, and remembers how each was run."""

    def __init__(self) -> None:
        self.ran: list[tuple[int, str]] = []
        self.outcomes: dict[int, Outcome] = {}

    def warms(self, *_: object) -> bool:
        """Everything can be run warm."""
        return True

    def run(self, one: Combo, *_: object, warm: bool, variables: Mapping[str, str]) -> Result:
        """Run one."""
        how = "warm" if warm else "cold"
        self.ran.append((one.ordinal, how))
        outcome = self.outcomes.get(one.ordinal, PASSED)
        return result(one.ordinal, outcome, Reason.TEST_FAILED if outcome is FAILED else None, runner=how)


class Court:
    """A judge with its runner."""

    def __init__(self, judge: Judge, runner: Runner) -> None:
        self._judge = judge
        self._runner = runner

    def ways(self, one: Combo, outcome: Outcome = PASSED, *, cold: bool = False) -> list[str]:
        """Run a combination that ends so, and return how it was run."""
        self._runner.ran.clear()
        self._runner.outcomes[one.ordinal] = outcome
        anything: Any = None
        found = self._judge.result(one, anything, anything, Limits(), {}, cold=cold)
        assert found.verdict.outcome is outcome
        return [how for _, how in self._runner.ran]


def court(tmp_path: Path, kind: str, runner: str) -> Court:
    """Return a judge of a run with that check."""
    spec = WorkerSpec(
        database="",
        workers=str(tmp_path),
        replica="",
        room="",
        run="run",
        cache="",
        limits=Limits(),
        runner=runner,
        sandbox=Sandbox(1),
        closures={},
        exclude_newer="",
        index_options="",
        check=Check(kind),
    )
    made: Any = Runner()
    return Court(Judge(spec, made, Telemetry(tmp_path / "gw0.sqlite", "gw0", "run")), made)


@pytest.fixture(autouse=True)
def no_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pass is doubted here."""
    monkeypatch.setattr("pytest_spip.session.judging.SAMPLE", 1 << 62)


def test_suite_after_one_that_failed_runs_cold_at_once(tmp_path: Path) -> None:
    """Failing suites of one package come in a row: only the first is run twice. After a pass the next runs warm again."""
    judged = court(tmp_path, "suite", "auto")
    assert judged.ways(combo(0), FAILED) == ["warm", "cold"]
    assert judged.ways(combo(1), FAILED) == ["cold"]
    assert judged.ways(combo(2)) == ["cold"]
    assert judged.ways(combo(3)) == ["warm"]


def test_only_like_combinations_are_expected_to_fail(tmp_path: Path) -> None:
    """Neither another package's suite nor one on another interpreter runs cold for it."""
    judged = court(tmp_path, "suite", "auto")
    judged.ways(combo(0), FAILED)
    assert judged.ways(combo(1, "other")) == ["warm"]
    assert judged.ways(combo(2, label="py39")) == ["warm"]
    assert judged.ways(combo(3, others=(("other", "1.0"),))) == ["warm"]
    assert judged.ways(combo(4), FAILED) == ["cold"]


def test_faults_of_ours_say_nothing(tmp_path: Path) -> None:
    """After an error, which says nothing about the package, the next suite runs warm."""
    judged = court(tmp_path, "suite", "auto")
    judged.ways(combo(0), ERROR)
    assert judged.ways(combo(1)) == ["warm"]


@pytest.mark.parametrize(
    ("kind", "runner", "expected"),
    [
        ("import", "auto", ["warm", "cold"]),
        ("suite", "warm", ["warm"]),
        ("suite", "cold", ["cold"]),
        ("import", "cold", ["cold"]),
    ],
)
def test_others_run_as_ever(tmp_path: Path, kind: str, runner: str, expected: list[str]) -> None:
    """A warm import costs little beside its confirmation; who asks for a runner has it."""
    judged = court(tmp_path, kind, runner)
    assert [judged.ways(combo(ordinal), FAILED) for ordinal in range(3)] == [expected] * 3


def test_what_is_to_be_cold_is_not_run_warm(tmp_path: Path) -> None:
    """A regression is tried again in a fresh interpreter."""
    assert court(tmp_path, "suite", "auto").ways(combo(0), FAILED, cold=True) == ["cold"]
