"""The worker's loop: what it runs, gives back and leaves, as it is told from another thread."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_spip.model import Limits, Outcome, Phase, Reason, Refused, Result, Sandbox, Verdict
from pytest_spip.record.rundb import RunWriter
from pytest_spip.session.worker_loop import Worker
from pytest_spip.session.worker_spec import PLAN, WorkerSpec
from tests.support.rooms import combo, interpreter, plan, run_facts

PATIENCE = 20.0
REFUSED = Verdict(Outcome.FAILED, Phase.BUILD, Reason.BUILD_FAILED, "as ever")


class Line:
    """Both ends of a worker's channel; reports wait at ``gate``, which is open at first."""

    def __init__(self) -> None:
        self.told: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()
        self.listening = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.tell: Callable[[object], None]

    def send(self, item: object, /) -> None:
        """Take in what the worker says."""
        assert isinstance(item, tuple)
        self.told.put(item)
        if item[0] == "testreport":
            assert self.gate.wait(PATIENCE)

    def setcallback(self, callback: Callable[[object], None], endmarker: object) -> None:
        """Learn how to tell the worker something."""
        assert endmarker is None
        self.tell = callback
        self.listening.set()

    def hear(self, name: str) -> dict[str, Any]:
        """Return what the worker says next, which is to be of this kind."""
        said, details = self.told.get(timeout=PATIENCE)
        assert said == name
        return details

    def hear_report(self) -> Result:
        """Return the result that the worker reports next."""
        data = self.hear("testreport")["data"]
        assert data["seconds"] >= 0
        return Result.from_plain(json.loads(data["spip"]))


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    """Start a worker on a plan of six combinations whose provisioning came to a verdict: it has nothing to run."""
    combos = [combo(ordinal, version=f"{ordinal}.0") for ordinal in range(6)]
    writer = RunWriter(tmp_path / "run.sqlite")
    writer.create(plan(*combos, pythons=(interpreter(),)), run_facts(uuid="run", plan_hash="abc"))
    for one in combos:
        writer.provisioned(Refused(one.ordinal, REFUSED))
    spec = WorkerSpec(
        database=str(writer.path),
        workers=str(tmp_path),
        replica="",
        room=str(tmp_path),
        run="run",
        cache=str(tmp_path),
        limits=Limits(timeout=60, memory=256 << 20),
        runner="cold",
        sandbox=Sandbox(1),
        closures={},
        exclude_newer="",
        index_options="",
    )
    line = Line()
    worker = Worker(line, {"workerid": "gw3", "spip": spec.to_plain()})
    thread = threading.Thread(target=worker.work)
    thread.start()
    assert line.listening.wait(PATIENCE)
    yield line
    line.gate.set()
    line.tell(None)
    thread.join(PATIENCE)
    assert not thread.is_alive()
    writer.close()


def test_introduction(line: Line) -> None:
    """A worker says which plan it means, and what it is."""
    info = line.hear("workerready")["workerinfo"]
    assert info[PLAN] == "abc"
    assert {"version", "executable", "cwd"} <= info.keys()


def test_runs_what_it_is_told(line: Line) -> None:
    """Combinations are run in the order in which they were told, the last one too, each with one report."""
    line.hear("workerready")
    line.tell(("runtests", {"indices": [4, 1]}))
    line.tell(("runtests", {"indices": [5]}))
    results = [line.hear_report() for _ in range(3)]
    assert [result.ordinal for result in results] == [4, 1, 5]
    assert {result.verdict for result in results} == {REFUSED}
    assert {result.worker for result in results} == {"gw3"}
    assert line.told.empty()


def test_gives_back_what_is_wanted(line: Line) -> None:
    """What is wanted back, and has not begun, is given back and not run; what is running stays."""
    line.hear("workerready")
    line.gate.clear()
    line.tell(("runtests", {"indices": [0, 1, 2, 3]}))
    assert line.hear_report().ordinal == 0
    line.tell(("steal", {"indices": [0, 2, 3, 5]}))
    assert line.hear("unscheduled") == {"indices": [2, 3]}
    line.gate.set()
    assert line.hear_report().ordinal == 1
    line.tell(("steal", {"indices": [1]}))
    assert line.hear("unscheduled") == {"indices": []}


def test_shutdown_leaves_the_rest(line: Line) -> None:
    """Told to end, a worker ends with the combination in hand."""
    line.hear("workerready")
    line.gate.clear()
    line.tell(("runtests", {"indices": [0, 1, 2]}))
    assert line.hear_report().ordinal == 0
    line.tell(("shutdown", {}))
    line.gate.set()
    assert line.hear("workerfinished")["workeroutput"] == {"exitstatus": 0, "shouldfail": False, "shouldstop": False}


def test_lost_controller_is_an_end(line: Line) -> None:
    """When nobody is at the other end any more, a worker that waits for work ends."""
    line.hear("workerready")
    line.tell(None)
    assert line.hear("workerfinished")["workeroutput"]["exitstatus"] == 0


def test_answers_nothing_without_its_parent(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker whose parent died is about to end: it does not acknowledge what it is given, and has nothing to say at the end."""
    line.hear("workerready")
    line.tell(("steal", {"indices": []}))
    assert line.hear("unscheduled") == {"indices": []}
    monkeypatch.setattr("os.getppid", lambda: 1)
    line.tell(("steal", {"indices": []}))
    line.tell(("runtests", {"indices": [2]}))
    assert line.hear_report().ordinal == 2
    line.tell(None)
    assert line.told.empty()
