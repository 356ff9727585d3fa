"""Telemetry at rest: what a run's database took in, and what it refused."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_spip.model import Disagreement, Outcome, Phase, Reason, Refused, Span, Verdict
from pytest_spip.record.run_reader import RunReader
from pytest_spip.record.rundb import RunWriter
from pytest_spip.record.telemetry import Telemetry
from pytest_spip.record.timeline import Timeline
from tests.support.rooms import combo, plan, result, run_facts

SKIP = Verdict(Outcome.SKIPPED, Phase.PLAN, Reason.REQUIRES_PYTHON)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[RunWriter]:
    """Create a run of ten combinations."""
    with contextlib.closing(RunWriter(tmp_path / "run.sqlite")) as writer:
        writer.create(plan(*(combo(n, f"demo{n}") for n in range(10))), run_facts())
        yield writer


@pytest.fixture
def reader(writer: RunWriter) -> Iterator[RunReader]:
    """Read the run while it is written."""
    with contextlib.closing(RunReader(writer.path)) as reader:
        yield reader


@pytest.fixture
def workers(tmp_path: Path) -> Path:
    """Make the directory of the workers' files."""
    (tmp_path / "workers").mkdir()
    return tmp_path / "workers"


def fill(workers: Path, name: str) -> None:
    """Write one worker's telemetry: three seconds for one combination."""
    telemetry = Telemetry(workers / f"{name}.sqlite", name, "one")
    telemetry.spans(0, [Span("compose", 1e9, 1.0), Span("run", 1e9 + 1, 2.0)])
    telemetry.close()


def test_what_telemetry_lacks_is_counted(writer: RunWriter, workers: Path) -> None:
    """Combinations that a worker ran and has no span of are counted; those that did not run, or ran elsewhere, are not."""
    for ordinal, worker in enumerate(["gw0", "gw0", "gw1", "gw2", "gw2", "gw2"]):
        writer.verdict(result(ordinal, runner="warm", worker=worker))
    writer.verdict(result(6, Outcome.FAILED, Reason.BUILD_FAILED, worker="gw1"))
    writer.verdict(result(7, Outcome.ERROR, Reason.WORKER_LOST))
    telemetry = Telemetry(workers / "gw0.sqlite", "gw0", "one")
    for ordinal in (0, 1, 3):
        telemetry.spans(ordinal, [Span("run", 1e9, 1.0)] * 2)
    telemetry.spans(4, [Span("compose", 1e9, 1.0)])
    telemetry.close()
    writer.merge(workers)
    with contextlib.closing(Timeline(writer.path)) as timeline:
        assert timeline.untold() == {"gw1": 1, "gw2": 3}


@pytest.mark.parametrize("seed", range(40))
def test_no_damage_is_taken_in(writer: RunWriter, reader: RunReader, workers: Path, seed: int) -> None:
    """Whatever bytes of a worker's file are changed, the merge ends, verdicts stay, and all that is read makes sense."""
    chance = random.Random(seed)  # the same damage each time
    telemetry = Telemetry(workers / "gw1.sqlite", "gw1", "one", room=workers)
    for ordinal in range(10):
        telemetry.spans(ordinal, [Span("run", 1e9, 1.0)] * 10)
        telemetry.disagreement(Disagreement(ordinal, "warm", "cold"))
    telemetry.close()
    with (workers / "gw1.sqlite").open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        for _ in range(seed % 7 * 50 + 1):
            file.seek(chance.randrange(100 if seed % 2 else 0, size))
            file.write(chance.randbytes(seed % 3 + 1))
    fill(workers, "gw2")
    writer.verdict(result(0))
    assert writer.merge(workers) in ([], ["gw1.sqlite"])
    assert list(reader.results()) == [0]
    with contextlib.closing(Timeline(writer.path)) as timeline:
        spans = list(timeline.spans())
        assert json.loads(json.dumps([spans, [dataclasses.astuple(one) for one in timeline.host()]], allow_nan=False))
    assert {span.worker for span in spans} <= {"gw1", "gw2"}
    assert sum(span.seconds for span in spans if span.worker == "gw2") == 3.0
    assert all(event.ordinal < 10 for event in reader.disagreements())
    assert reader.phases()["compose"] >= 1.0


def test_timeline_is_read_in_order(writer: RunWriter, workers: Path) -> None:
    """Workers' spans come as each worker recorded them; those of provisioning by combination, the first begun first."""
    for ordinal, at in ((3, 5.0), (1, 2.0), (2, 4.0)):
        spans = (Span("resolve", at, 1.0), Span("fetch", at + 1, 2.0))
        writer.provisioned(Refused(ordinal, SKIP, spans=spans))
    for name in ("gw1", "gw0"):
        fill(workers, name)
    writer.merge(workers)
    with contextlib.closing(Timeline(writer.path)) as timeline:
        assert [(span.worker, span.phase, span.ordinal) for span in timeline.spans()] == [
            ("gw0", "compose", 0),
            ("gw0", "run", 0),
            ("gw1", "compose", 0),
            ("gw1", "run", 0),
        ]
        told = [(span.ordinal, span.phase, span.at) for span in timeline.provisioning()]
        assert told == [
            (n, phase, at + k) for n, at in ((1, 2), (2, 4), (3, 5)) for k, phase in enumerate(("resolve", "fetch"))
        ]
        assert (timeline.began(), timeline.provisioned()) == (2.0, 8.0)


def test_timeline_of_nothing(writer: RunWriter) -> None:
    """A run that recorded nothing has an empty timeline."""
    with contextlib.closing(Timeline(writer.path)) as timeline:
        assert (list(timeline.spans()), list(timeline.provisioning()), timeline.host()) == ([], [], [])
        assert (timeline.began(), timeline.provisioned(), timeline.untold()) == (0.0, None, {})
        assert timeline.processor_share("controller") == 0.0
