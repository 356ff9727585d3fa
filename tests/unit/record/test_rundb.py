"""``run.sqlite``: one verdict per combination, durable, whatever dies; what is read is what was written."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_spip.model import (
    Combo,
    Environment,
    Interpreter,
    Outcome,
    Phase,
    Plan,
    Provisioned,
    Ready,
    Reason,
    Refused,
    Result,
    Span,
    StoredWheel,
    Test,
    Verdict,
)
from pytest_spip.record import rows, run_reader
from pytest_spip.record.run_reader import RunReader
from pytest_spip.record.rundb import RunWriter
from pytest_spip.record.telemetry import Telemetry
from tests.support.machine import eventually
from tests.support.rooms import combo, plan, result, run_facts

ODD = "naïve 漢字 🙂 \x1b[2J \0 'quoted' \"twice\" 50% \\ \r\n\t"
SKIP = Verdict(Outcome.SKIPPED, Phase.PLAN, Reason.REQUIRES_PYTHON, ODD)
FULL = Interpreter(
    "cpython-3.13.0t-linux",
    "py313t",
    "3.13.0",
    "cpython",
    "/opt/pythön 3/bin/python",
    abis=("cp313t", "abi3"),
    platforms=("manylinux_2_28_x86_64", "linux_x86_64"),
    markers=(("os_name", "posix"), ("platform_version", "#1 SMP; 'odd'")),
    problem="",
)
MISSING = Interpreter("missing-3.20", "py320", "3.20", "cpython", "", problem="no interpreter 3.20 on this machine")
COMBOS = (
    combo(0, "plain"),
    combo(1, "extra", extras=("socks", "test")),
    combo(2, "skipped", plan_verdict=SKIP),
    Combo(3, "unlisted", "", "", "index", (), Verdict(Outcome.ERROR, Phase.PLAN, Reason.INDEX_ERROR, "404")),
    Combo(4, "plain", "2.0rc1+local.1", FULL.id, FULL.label),
    combo(5, "low", resolution="lowest-direct"),
    combo(6, "cross", others=(("other", "1.0"), ("third", "2!3")), others_extras=((), ("x", "y")), resolution="lowest"),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a database in a directory whose name a URI must quote."""
    directory = tmp_path / "a#b?c%41 d&mode=rw"
    directory.mkdir()
    return directory / "run.sqlite"


@contextlib.contextmanager
def writing(path: Path, planned: Plan, **facts: object) -> Iterator[RunWriter]:
    """Create a run and close it in the end."""
    writer = RunWriter(path)
    writer.create(planned, run_facts(**facts))
    try:
        yield writer
    finally:
        writer.close()


@contextlib.contextmanager
def reading(path: Path) -> Iterator[RunReader]:
    """Open a run and close it in the end."""
    reader = RunReader(path)
    try:
        yield reader
    finally:
        reader.close()


@pytest.fixture
def writer(path: Path) -> Iterator[RunWriter]:
    """Create a run of ten combinations."""
    with writing(path, plan(*(combo(n, f"demo{n}") for n in range(10)))) as writer:
        yield writer


@pytest.fixture
def reader(writer: RunWriter) -> Iterator[RunReader]:
    """Read the run while it is written."""
    with reading(writer.path) as reader:
        yield reader


# -- what is read is what was written -----------------------------------------------------------------------------------


def test_plan_comes_back(path: Path) -> None:
    """Combinations, interpreters and facts are read as they were written, in their order, during the run and after it."""
    planned = Plan(COMBOS, (FULL, MISSING), ())
    changes: dict[str, object] = {"finished": None, "hosts": ("ä",), "notes": (ODD,), "settings": {"number": 1.5}}
    facts = run_facts(**changes)
    with writing(path, planned, **changes), reading(path) as reader:
        during = reader.combos(), reader.interpreters(), reader.facts()
    with reading(path) as reader:
        after = reader.combos(), reader.interpreters(), reader.facts()
    assert during == after == (COMBOS, (FULL, MISSING), facts)


def test_facts_are_replaced(writer: RunWriter, reader: RunReader) -> None:
    """A fact that is noted again has its new value, the others stay."""
    writer.note({"started": "once", "notes": ["first"]})
    writer.note({"notes": ["second"], "unheard": "of"})
    assert reader.facts() == run_facts(started="once", notes=("second",))


WHEELS = (
    StoredWheel("a" * 64, "demo", "1.0", "/store/aa", ("demo", "demo_more")),
    StoredWheel("b" * 64, "other", "2!1.0+x", "/störe/bb"),
)


@pytest.mark.parametrize(
    "done",
    [
        Ready(0, Environment(WHEELS, "fingerprint", "lock-version = '1.0'\n")),
        Ready(1, Environment((), "")),
        Refused(2, SKIP, output=ODD),
        Refused(3, Verdict(Outcome.FAILED, Phase.BUILD, Reason.BUILD_FAILED)),
    ],
)
def test_provision_is_seen_when_it_is_made(writer: RunWriter, reader: RunReader, done: Provisioned) -> None:
    """What provisioning made is there for a reader as soon as it is recorded, and exactly so."""
    assert reader.provision(done.ordinal) is None
    writer.provisioned(done)
    assert reader.provision(done.ordinal) == done


def test_first_provision_counts(writer: RunWriter, reader: RunReader) -> None:
    """A combination is provisioned once."""
    first, second = (Ready(0, Environment((), text)) for text in ("first", "second"))
    writer.provisioned(first)
    writer.provisioned(second)
    assert reader.provision(0) == first


def test_work_and_phases_are_summed(writer: RunWriter, reader: RunReader) -> None:
    """What provisioning really did, and how long it took, is added up over the combinations."""
    writer.provisioned(
        Refused(0, SKIP, spans=(Span("resolve", 1e9, 1.0), Span("fetch", 1e9, 0.5)), work={"resolved": 1})
    )
    writer.provisioned(Refused(1, SKIP, spans=(Span("resolve", 1e9, 2.0),), work={"resolved": 1, "built": 3}))
    assert reader.phases() == {"resolve": 3.0, "fetch": 0.5}
    assert reader.work() == {"resolved": 2, "built": 3}


RESULTS = [
    result(0),
    result(
        1,
        Outcome.FAILED,
        Reason.IMPORT_ERROR,
        ODD,
        seconds=0.125,
        cpu_seconds=1e-9,
        peak_rss=1 << 40,
        attempts=2,
        runner="cold",
        worker="gw127",
        host="höst",
        fingerprint="f" * 64,
        locked={"demo": "1.0", "other": "2!1"},
        reproduce="uv run 'x'",
        output=ODD * 100,
    ),
    result(2, Outcome.CRASHED, Reason.SIGSEGV, phase=Phase.TEST),
    result(4, warnings=("no such extra", ODD)),
    result(3, tests=(Test("tests/test_ä.py::test_x[\\0]", "passed", 0.25), Test("test_y", "failed", 1e-9, ODD))),
]


def test_results_come_back(writer: RunWriter, reader: RunReader) -> None:
    """Verdicts are read as they were given, but for their phases, which are telemetry."""
    for one in RESULTS:
        writer.verdict(one)
    writer.flush()
    assert reader.results() == {one.ordinal: one for one in RESULTS}


def test_results_of_one_moment(writer: RunWriter, reader: RunReader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many results are read some at a time, and what is entered meanwhile is not among them. Equal texts are there once."""
    monkeypatch.setattr("pytest_spip.record.run_reader.MANY", 2)
    for ordinal in (0, 1, 2, 3, 5):
        writer.verdict(result(ordinal, detail="alike", host="host"))
    writer.flush()
    rebuild = rows.result

    def slow(row: Any) -> Result:
        if row[0] == 0:
            writer.verdict(result(4))
            writer.flush()
        return rebuild(row)

    monkeypatch.setattr(run_reader, "result", slow)
    found = reader.results()
    assert list(found) == [0, 1, 2, 3, 5]
    assert found[0].verdict.detail is found[5].verdict.detail
    assert list(reader.results()) == [0, 1, 2, 3, 4, 5]


def test_text_that_is_no_text_is_recorded(writer: RunWriter, reader: RunReader) -> None:
    """A file's name that is not UTF-8, in an error's message or a tool's output, costs no verdict."""
    writer.verdict(result(0, Outcome.ERROR, Reason.INTERNAL, "no \udcff", output="\ud800", reproduce="\udc80"))
    writer.provisioned(Refused(1, SKIP, output="\udcff"))
    writer.flush()
    assert (reader.results()[0].verdict.detail, reader.results()[0].output) == ("no ?", "?")
    assert reader.provision(1) == Refused(1, SKIP, output="?")
    writer.verdict(result(1, tests=(Test("\udcff", "failed", 0.0, "\ud800"),)))
    writer.flush()
    assert reader.results()[1].tests == (Test("?", "failed", 0.0, "?"),)


# -- one verdict, and it lasts ------------------------------------------------------------------------------------------


def test_second_verdict_is_ignored(writer: RunWriter, reader: RunReader) -> None:
    """The first verdict of a combination counts, whether the second comes in the same transaction or later."""
    for one in (result(0, detail="first"), result(0, Outcome.ERROR, detail="same transaction"), result(1)):
        writer.verdict(one)
    writer.flush()
    writer.verdict(result(0, detail="later"))
    writer.flush()
    assert {ordinal: one.verdict.detail for ordinal, one in reader.results().items()} == {0: "first", 1: ""}


def test_verdict_is_durable_by_itself(writer: RunWriter, reader: RunReader) -> None:
    """Nobody needs to ask for a verdict to be written."""
    writer.verdict(result(7))
    assert eventually(lambda: 7 in reader.results())


VICTIM = """
import sys, time
from pathlib import Path
from pytest_spip.model import Outcome, Phase, Provisioned, Ready, Refused, Verdict
from pytest_spip.record.rundb import RunWriter
from tests.support.rooms import combo, plan, result, run_facts
writer = RunWriter(Path(sys.argv[1]))
writer.create(plan(*(combo(n, f"demo{n}") for n in range(500))), run_facts(uuid="u"))
for n in range(400):
    writer.verdict(result(n, output="x" * 1000))
    writer.provisioned(Refused(n, Verdict(Outcome.PASSED, Phase.PLAN)))
writer.flush()
print("flushed", flush=True)
while True:
    for n in range(400, 500):
        writer.verdict(result(n, output="y" * 100_000))
        writer.flush()
"""


def killed_when_it_speaks(*command: str) -> None:
    """Run a program until its first line, and kill it."""
    with subprocess.Popen([sys.executable, "-c", *command], stdout=subprocess.PIPE, text=True) as victim:
        assert victim.stdout
        assert victim.stdout.readline()
        victim.kill()
    assert victim.returncode == -signal.SIGKILL


def test_killed_process_keeps_its_verdicts(path: Path) -> None:
    """A process that is killed in the midst of writing keeps every verdict and provision that it had written before."""
    killed_when_it_speaks(VICTIM, str(path))
    with reading(path) as reader:
        assert set(reader.results()) >= set(range(400))
        assert len(reader.combos()) == 500
        assert all(reader.provision(n) for n in range(400))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_threads_may_write_together(writer: RunWriter, reader: RunReader) -> None:
    """Verdicts, provisions and notes from many threads at once are all there in the end."""
    writer.note({})
    work = range(10, 410)

    def write(part: int) -> None:
        for number in work[part::8]:
            writer.provisioned(Refused(number, SKIP, spans=(Span("resolve", 1e9, 1.0),)))
            writer.verdict(result(number))
            if number % 16 == part:
                writer.flush()
                writer.note({f"fact {number}": number})

    threads = [threading.Thread(target=write, args=(part,)) for part in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.flush()
    assert list(reader.results()) == list(work)
    assert reader.phases() == {"resolve": len(work)}
    assert all(reader.provision(number) for number in work)


def test_verdicts_that_cannot_be_written_are_kept(path: Path) -> None:
    """While the database refuses, the writer says why and keeps the verdicts; when it takes them again, all are there."""
    with (
        writing(path, plan(combo())) as writer,
        contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("ALTER TABLE ledger RENAME TO away")
        writer.verdict(result(0))
        with pytest.raises(sqlite3.OperationalError, match="no such table: ledger"):
            writer.flush()
        writer.verdict(result(1))
        assert eventually(lambda: "no such table" in writer.problem)
        other.execute("ALTER TABLE away RENAME TO ledger")
        assert eventually(lambda: not writer.problem)
        with reading(path) as reader:
            assert eventually(lambda: list(reader.results()) == [0, 1])


def test_failed_transaction_leaves_nothing(writer: RunWriter, reader: RunReader) -> None:
    """What fails half-way is rolled back whole, and the next transaction works."""
    with pytest.raises(sqlite3.Error):
        writer.provisioned(Refused(0, SKIP, spans=(Span("resolve", 1e9, 1.0), Span("No Phase", 1e9, 1.0))))
    assert (reader.provision(0), reader.phases()) == (None, {})
    writer.provisioned(Refused(0, SKIP))
    assert reader.provision(0) is not None


def test_plan_is_frozen(path: Path) -> None:
    """A run's plan is written once; a second plan is refused and changes nothing."""
    with writing(path, plan(combo())):
        second = RunWriter(path)
        with pytest.raises(sqlite3.OperationalError, match="already exists"):
            second.create(plan(combo(0, "other")), run_facts())
        second.close()
    with reading(path) as reader:
        assert [one.package for one in reader.combos()] == ["demo"]


def test_closed_run_is_one_file(path: Path) -> None:
    """A finished run is one file without a log, which can be read where nothing can be written."""
    with writing(path, plan(combo())) as writer:
        writer.verdict(result(0))
    assert os.listdir(path.parent) == ["run.sqlite"]
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as connection:
        assert connection.execute("SELECT ordinal FROM ledger").fetchall() == [(0,)]
        assert connection.execute("PRAGMA journal_mode").fetchall() == [("delete",)]


def test_run_is_closed_while_somebody_reads(path: Path) -> None:
    """A reader with an open query neither delays the end of a run nor loses what it is reading."""
    with writing(path, plan(*(combo(n, f"demo{n}") for n in range(3)))):
        other = sqlite3.connect(path)
        query = other.execute("SELECT ordinal FROM plan")
        first = query.fetchone()
    assert [first, *query.fetchall()] == [(0,), (1,), (2,)]
    other.close()


# -- merging ------------------------------------------------------------------------------------------------------------

WORKER = """
import sys
from pathlib import Path
from pytest_spip.model import Span
from pytest_spip.record import telemetry
telemetry.BATCH = 0.01
mine = telemetry.Telemetry(Path(sys.argv[1]), "gw1", "one")
for n in range(100):
    mine.spans(n, [Span("run", 1e9, 1.0)])
while mine._spans:
    mine._ended.wait(0.01)
print("written", flush=True)
mine._ended.wait(600)
"""


@pytest.fixture
def workers(path: Path) -> Path:
    """Make the directory of the workers' files."""
    directory = path.parent / "workers"
    directory.mkdir()
    return directory


def fill(workers: Path, name: str, seconds: float, run: str = "one") -> None:
    """Write one worker's telemetry."""
    telemetry = Telemetry(workers / f"{name}.sqlite", name, run)
    telemetry.spans(0, [Span("compose", 1e9, seconds), Span("run", 1e9 + seconds, 2 * seconds)])
    telemetry.close()


def test_merge_takes_all_workers_in(writer: RunWriter, reader: RunReader, workers: Path) -> None:
    """Phases and samples of all workers end in the run's file, and the workers' files go."""
    for number in range(12):
        fill(workers, f"gw{number}", 1.0)
    assert writer.merge(workers) == []
    assert reader.phases() == {"compose": 12.0, "run": 24.0}
    with contextlib.closing(sqlite3.connect(writer.path)) as connection:
        samples = connection.execute("SELECT worker, min(rss) FROM sample GROUP BY worker").fetchall()
    assert {worker for worker, _ in samples} == {f"gw{number}" for number in range(12)}
    assert all(rss > 0 for _, rss in samples)
    assert os.listdir(workers) == []


def test_merge_writes_verdicts_first(writer: RunWriter, reader: RunReader, workers: Path) -> None:
    """Verdicts that were not yet written are, when the workers' telemetry is taken in."""
    writer.verdict(result(3))
    writer.merge(workers)
    assert list(reader.results()) == [3]


def test_log_of_a_killed_worker_is_taken_in(writer: RunWriter, reader: RunReader, workers: Path) -> None:
    """What a killed worker had written to its log only is not lost."""
    killed_when_it_speaks(WORKER, str(workers / "gw1.sqlite"))
    assert (workers / "gw1.sqlite-wal").stat().st_size > 0
    assert writer.merge(workers) == []
    assert reader.phases() == {"run": 100.0}
    assert os.listdir(workers) == []


def damage(path: Path, how: str) -> None:
    """Damage a worker's file."""
    if how == "no database":
        path.write_bytes(b"this is no database, " * 100)
    elif how == "cut":
        os.truncate(path, path.stat().st_size // 2)
    elif how == "empty":
        os.truncate(path, 0)
    elif how == "overwritten":
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(4096))
    else:
        path.unlink()
        path.mkdir()


@pytest.mark.parametrize("how", ["no database", "cut", "empty", "overwritten", "a directory"])
def test_damaged_file_is_named_and_costs_nothing(writer: RunWriter, reader: RunReader, workers: Path, how: str) -> None:
    """A worker's file that cannot be read is named and kept; every verdict and the others' telemetry are there."""
    for name in ("gw0", "gw1", "gw2"):
        fill(workers, name, 1.0)
    damage(workers / "gw1.sqlite", how)
    writer.verdict(result(0))
    assert writer.merge(workers) == ["gw1.sqlite"]
    writer.verdict(result(1))
    writer.flush()
    assert reader.phases() == {"compose": 2.0, "run": 4.0}
    assert list(reader.results()) == [0, 1]
    assert "gw1.sqlite" in os.listdir(workers)
    assert not {"gw0.sqlite", "gw2.sqlite"} & set(os.listdir(workers))


def test_telemetry_of_another_run_stays_outside(writer: RunWriter, reader: RunReader, workers: Path) -> None:
    """A file that bears another run's UUID is named and kept, and nothing of it is taken in."""
    fill(workers, "gw0", 1.0)
    fill(workers, "gw1", 1.0, "another")
    assert writer.merge(workers) == ["gw1.sqlite"]
    assert reader.phases() == {"compose": 1.0, "run": 2.0}
    assert os.listdir(workers) == ["gw1.sqlite"]


def test_merge_while_others_write(writer: RunWriter, reader: RunReader, workers: Path) -> None:
    """Telemetry is taken in whole while other threads go on writing provisions."""
    for number in range(20):
        fill(workers, f"gw{number}", 1.0)
    ended = threading.Event()

    def write() -> None:
        number = 0
        while not ended.is_set():
            writer.provisioned(Refused(number, SKIP))
            number += 1

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    damaged = writer.merge(workers)
    ended.set()
    for thread in threads:
        thread.join()
    assert damaged == []
    assert reader.phases() == {"compose": 20.0, "run": 40.0}


def test_result_survives_the_wire() -> None:
    """A result that went through plain data, as between worker and controller, is the same result."""
    assert [Result.from_plain(one.to_plain()) for one in RESULTS] == RESULTS


# -- sessions -----------------------------------------------------------------------------------------------------------


def test_later_session_has_what_is_left(path: Path) -> None:
    """A session's work is the plan without earlier verdicts and deselected ones, whatever it has judged since it began."""
    with writing(path, plan(*(combo(n, f"demo{n}") for n in range(5)))) as writer:
        writer.begin(deselected=[4])
        writer.verdict(result(1))
    again = RunWriter(path)
    again.go_on({"finished": "never"})
    with contextlib.closing(again), reading(path) as reader:
        again.begin(deselected=[0])  # of this session alone
        before = [one.ordinal for one in reader.combos(again.session)]
        again.verdict(result(0))
        again.flush()
        after = [one.ordinal for one in reader.combos(again.session)]
        assert before == after == [0, 2, 3]
        assert len(reader.combos()) == 5
        assert not reader.is_complete()
        assert (reader.facts().sessions, reader.facts().finished) == (2, None)


def test_complete_run_is_told(path: Path) -> None:
    """A run is complete when all have verdicts but those that were deselected; whether it fails is told with the verdict."""
    with writing(path, plan(*(combo(n, f"demo{n}") for n in range(3)))) as writer:
        writer.begin(deselected=[2])
        writer.verdict(result(0, Outcome.FAILED), failing=False)
        writer.flush()
        with reading(path) as reader:
            assert (reader.is_complete(), reader.failing()) == (False, False)
        writer.verdict(result(1, Outcome.FAILED))
        writer.flush()
        with reading(path) as reader:
            assert (reader.is_complete(), reader.failing()) == (True, True)


def test_counts(path: Path) -> None:
    """Verdicts are counted by outcome, and the selected combinations with those that have none."""
    with writing(path, plan(*(combo(n, f"demo{n}") for n in range(5)))) as writer:
        writer.begin(deselected=[4])
        for ordinal, outcome in enumerate((Outcome.PASSED, Outcome.FAILED, Outcome.PASSED)):
            writer.verdict(result(ordinal, outcome))
        writer.flush()
        with reading(path) as reader:
            assert reader.counts() == {Outcome.PASSED: 2, Outcome.FAILED: 1}
            assert reader.selected() == (4, 1)


def test_pace_of_all_sessions(path: Path) -> None:
    """Seconds are summed over sessions, one that was killed lasting to its last verdict; shares are means of the others."""
    with writing(path, plan(*(combo(n, f"demo{n}") for n in range(3)))) as writer:
        writer.end(10.0, 0.5, 0.1)
    for _ in range(2):
        again = RunWriter(path)
        again.go_on({})
        again.close()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE session SET began=1000 WHERE number=2")
        connection.execute("UPDATE session SET seconds=30, cpu=0.9, iowait=0.5 WHERE number=3")
    late = RunWriter(path)
    late.session = 2
    late.verdict(result(0))
    late.close()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE ledger SET at=1005")
    with reading(path) as reader:
        assert reader.pace() == pytest.approx((45.0, 0.8, 0.4))


def test_forgotten_provisions_are_made_again(path: Path) -> None:
    """What provisioning made is told for combinations without a verdict, and may be made again where it is forgotten."""
    with writing(path, plan(*(combo(n, f"demo{n}") for n in range(3)))) as writer:
        for ordinal in range(3):
            writer.provisioned(Refused(ordinal, SKIP))
        writer.verdict(result(0))
    again = RunWriter(path)
    again.go_on({}, forgotten=[1])
    with contextlib.closing(again), reading(path) as reader:
        assert [one.ordinal for one in reader.provisioned()] == [2]
        again.provisioned(Refused(1, SKIP))
        assert reader.provision(1) == Refused(1, SKIP)
