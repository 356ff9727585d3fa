"""What earlier runs cost, and what that lets expect: read from real run databases, estimated by tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_spip.model import Combo, Outcome, Phase, Result, Span
from pytest_spip.record.costs import IMPORT, PER_BYTE, Cost, Costs, Key, estimate, remembered
from pytest_spip.record.rundb import RunWriter
from pytest_spip.record.telemetry import Telemetry
from tests.support.rooms import combo, plan, result, run_facts

PY312 = combo().interpreter
PY39 = combo(label="py39").interpreter


def run(
    root: Path,
    name: str,
    costs: Sequence[tuple[Combo, Result]],
    *,
    age: int = 0,
    phases: dict[str, float] | None = None,
    **facts: object,
) -> None:
    """Leave a run behind, so many seconds old; ``phases`` are the telemetry of each combination."""
    directory = root / name
    (directory / "workers").mkdir(parents=True)
    writer = RunWriter(directory / "run.sqlite")
    writer.create(plan(*(one for one, _ in costs)), run_facts(uuid="u", **facts))
    telemetry = Telemetry(directory / "workers" / "gw0.sqlite", "gw0", "u")
    for _, judged in costs:
        writer.verdict(judged)
        telemetry.spans(judged.ordinal, [Span(phase, 1e9, seconds) for phase, seconds in (phases or {}).items()])
    telemetry.close()
    writer.merge(directory / "workers")
    writer.close()
    os.utime(directory / "run.sqlite", (1e9 - age, 1e9 - age))


def test_costs_are_remembered(tmp_path: Path) -> None:
    """A combination costs what composing and running it took, and the memory of its check; other phases do not count."""
    phases = {"compose": 0.5, "run": 1.0, "clear": 4.0, "report": 8.0}
    run(tmp_path, "one", [(combo(), result(seconds=0.25, peak_rss=1000))], phases=phases)
    assert remembered(tmp_path, "import").exact == {Key("demo", "1.0", PY312): Cost(1.5, 1000)}


def test_costs_of_further_axes(tmp_path: Path) -> None:
    """What stood beside a release, and how all else was resolved, tell costs apart."""
    judged = [
        (combo(0), result(0, seconds=1.0)),
        (combo(1, resolution="lowest"), result(1, seconds=2.0)),
        (combo(2, others=(("other", "1"),)), result(2, seconds=4.0)),
        (combo(3, others=(("other", "2"),), others_extras=(("x",),), resolution="lowest"), result(3, seconds=8.0)),
    ]
    run(tmp_path, "one", judged)
    assert remembered(tmp_path, "import").exact == {
        Key("demo", "1.0", PY312): Cost(1.0),
        Key("demo", "1.0", PY312, (), "lowest"): Cost(2.0),
        Key("demo", "1.0", PY312, (("other", "1"),)): Cost(4.0),
        Key("demo", "1.0", PY312, (("other", "2"),), "lowest"): Cost(8.0),
    }


def test_costs_without_telemetry(tmp_path: Path) -> None:
    """Where telemetry was lost, the seconds of the check count."""
    run(tmp_path, "one", [(combo(), result(seconds=0.25, peak_rss=1000))])
    assert remembered(tmp_path, "import").exact == {Key("demo", "1.0", PY312): Cost(0.25, 1000)}


def test_what_never_ran_costs_nothing_to_remember(tmp_path: Path) -> None:
    """Errors, and what ended before it was run, say nothing of costs."""
    judged = [
        (combo(0, "lost"), result(0, Outcome.ERROR)),
        (combo(1, "unbuilt"), result(1, Outcome.FAILED, phase=Phase.BUILD)),
        (combo(2, "skipped"), result(2, Outcome.SKIPPED, phase=Phase.PLAN)),
        (combo(3, "broken"), result(3, Outcome.FAILED, seconds=0.5)),
    ]
    run(tmp_path, "one", judged)
    assert remembered(tmp_path, "import").exact == {Key("broken", "1.0", PY312): Cost(0.5)}


def test_newest_seconds_and_most_memory(tmp_path: Path) -> None:
    """Of several runs the newest tells the seconds and the greediest the memory; only so many runs are read."""
    for age, (seconds, peak_rss) in enumerate([(1.0, 10), (2.0, 30), (4.0, 20), (8.0, 99)]):
        run(tmp_path, f"run{age}", [(combo(), result(seconds=seconds, peak_rss=peak_rss))], age=age)
    assert remembered(tmp_path, "import", limit=3).exact == {Key("demo", "1.0", PY312): Cost(1.0, 30)}


FOREIGN: dict[str, dict[str, Any]] = {
    "other check": {"check": "suite"},
    "goes on": {"finished": None},
}


@pytest.mark.parametrize("facts", FOREIGN.values(), ids=FOREIGN)
def test_other_runs_are_passed_over(tmp_path: Path, facts: dict[str, Any]) -> None:
    """Runs of another check, and those that go on, neither tell costs nor count among the newest."""
    run(tmp_path, "good", [(combo(), result(seconds=1.0))], age=5)
    run(tmp_path, "other", [(combo(), result(seconds=9.0))], **facts)
    assert remembered(tmp_path, "import", limit=1).exact == {Key("demo", "1.0", PY312): Cost(1.0)}


DAMAGES = {
    "empty": b"",
    "text": b"no database" * 1000,
    "torn": None,
}


@pytest.mark.parametrize("content", DAMAGES.values(), ids=DAMAGES)
def test_damaged_files_are_passed_over(tmp_path: Path, content: bytes | None) -> None:
    """A file that is no database, or half of one, costs no more than its own memory."""
    run(tmp_path, "good", [(combo(), result(seconds=1.0))], age=5)
    run(tmp_path, "bad", [(combo(n, f"demo{n}"), result(n, seconds=9.0)) for n in range(500)])
    bad = tmp_path / "bad" / "run.sqlite"
    whole = bad.read_bytes()
    bad.write_bytes(whole[: len(whole) // 2] if content is None else content)
    assert remembered(tmp_path, "import").exact == {Key("demo", "1.0", PY312): Cost(1.0)}


def test_no_runs(tmp_path: Path) -> None:
    """Where nothing was run yet, nothing is remembered."""
    assert remembered(tmp_path / "runs", "import") == Costs({})


BESIDE = (("other", "1"),)
KNOWN = Costs(
    {
        Key("demo", "1.0", PY312): Cost(1.0, 10),
        Key("demo", "1.0", "pypy"): Cost(3.0, 50),
        Key("demo", "2.0", "pypy"): Cost(8.0, 20),
        Key("cross", "1.0", PY312, BESIDE): Cost(1.0),
        Key("cross", "1.0", "pypy", BESIDE, "lowest"): Cost(2.0),
        Key("cross", "1.0", PY312, (("other", "2"),)): Cost(9.0),
    }
)
ESTIMATES = {
    "the same": (combo(), 0, Cost(1.0, 10)),
    "the version on others": (combo(label="py39"), 0, Cost(2.0, 50)),
    "the same in a cross": (combo(0, "cross", others=BESIDE), 0, Cost(1.0)),
    "other resolutions": (combo(0, "cross", others=BESIDE, resolution="lowest-direct"), 0, Cost(1.5)),
    "the version beside others": (combo(0, "cross", others=(("other", "3"),)), 0, Cost(2.0)),
    "the package": (combo(version="3.0"), 10**9, Cost(3.0, 50)),
    "its wheels": (combo(0, "other"), 10**9, Cost(IMPORT + PER_BYTE * 10**9)),
    "nothing": (combo(0, "other"), 0, Cost(IMPORT)),
}


@pytest.mark.parametrize("case", ESTIMATES)
def test_estimate(case: str) -> None:
    """The nearest that is known counts: combination, version, package, bytes of wheels, a constant."""
    one, wheel_bytes, expected = ESTIMATES[case]
    assert estimate(one, KNOWN, wheel_bytes) == expected
