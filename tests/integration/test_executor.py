"""An executor: composes, runs, clears and signs one combination after another, whatever the last one did to it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import pytest

from pytest_spip.common.cache import Cache
from pytest_spip.model import (
    Check,
    Combo,
    Environment,
    Interpreter,
    Limits,
    Outcome,
    Phase,
    Plan,
    Ready,
    Reason,
    Refused,
    Result,
    Sandbox,
    Verdict,
)
from pytest_spip.record.rundb import RunWriter
from pytest_spip.run.closures import SCRIPT
from pytest_spip.session.executor import ATTEMPTS, Executor
from pytest_spip.session.worker_spec import WorkerSpec
from tests.support.interpreters import pythons
from tests.support.paths import ROOT
from tests.support.rooms import Bases, environment, filed, filed_pytest, run_facts, tree_of
from tests.support.ways import must_work

pytestmark = pytest.mark.usefixtures("adopted")

LATEST = list(pythons())[-1]
GOOD = "import demo_helper"
BAD = "import nowhere"
HELPER = {"demo_helper.py": ""}


class Bench:
    """A run of a few modules, each a project of its own, and a worker's bench for it."""

    def __init__(self, bases: Bases, root: Path, codes: Mapping[str, str], python: str = LATEST) -> None:
        self.room = root / "room"
        self.room.mkdir()
        self.workers = root / "workers"
        self.workers.mkdir()
        self.interpreter: Interpreter = bases.pythons[python]
        self.cache = Cache(root / "cache")
        self.cache.root.mkdir()
        shutil.copytree(bases.cache.base, self.room / "base.git")
        self.combos = tuple(self._combo(ordinal, name) for ordinal, name in enumerate(codes))
        self.writer = RunWriter(root / "run.sqlite")
        self.writer.create(Plan(self.combos, (self.interpreter,), ()), run_facts())
        for combo, code in zip(self.combos, codes.values(), strict=True):
            self.writer.provisioned(Ready(combo.ordinal, self._environment(combo, code)))
        self.spec = WorkerSpec(
            database=str(self.writer.path),
            workers=str(self.workers),
            replica=str(self.room / "base.git"),
            room=str(self.room),
            run="run",
            cache=str(self.cache.root),
            limits=Limits(timeout=60, memory=256 << 20),
            runner="cold",
            sandbox=Sandbox(1),
            closures={},
            exclude_newer="2026-11-01T00:00:00Z",
            index_options="--default-index=http://localhost/simple/",
        )

    def _combo(self, ordinal: int, name: str) -> Combo:
        return Combo(ordinal, name, "1.0", self.interpreter.id, self.interpreter.label)

    def _environment(self, combo: Combo, code: str) -> Environment:
        helper = filed(self.cache, "demo-helper", "2.0", HELPER)
        return environment(helper, filed(self.cache, combo.package, "1.0", {f"{combo.package}.py": code}))

    @contextlib.contextmanager
    def worker(self) -> Iterator[Executor]:
        """Set up the executor, and close the books in the end."""
        executor = Executor(self.spec, "gw0")
        try:
            yield executor
        finally:
            executor.close()
            self.writer.close()

    def results(self) -> list[Result]:
        """Run all combinations."""
        with self.worker() as executor:
            return [executor.result(combo) for combo in self.combos]


class SuiteBench(Bench):
    """The same with suites: what stands for a project is its only file of tests."""

    def _environment(self, combo: Combo, code: str) -> Environment:
        tree = self.room.parent / f"tree-{combo.package}"
        tree.mkdir()
        (tree / "test_it.py").write_text(code)
        wheels = filed_pytest(self.cache)
        own = filed(self.cache, combo.package, "1.0", {f"{combo.package}.py": ""})
        return dataclasses.replace(environment(*wheels, own), tree=str(tree))


def outcomes(results: list[Result]) -> list[tuple[Outcome, int]]:
    """Return outcomes and attempts."""
    return [(one.verdict.outcome, one.attempts) for one in results]


def test_combinations_are_run_one_after_another(bases: Bases, tmp_path: Path) -> None:
    """Each combination has its verdict, signed with what only the executor knows."""
    bench = Bench(bases, tmp_path, {"good": GOOD, "bad": BAD})
    good, bad = bench.results()
    assert outcomes([good, bad]) == [(Outcome.PASSED, 1), (Outcome.FAILED, 1)]
    for one, name in ((good, "good"), (bad, "bad")):
        assert (one.runner, one.worker, one.host) == ("cold", "gw0", socket.gethostname())
        assert one.fingerprint.startswith("fingerprint of ")
        assert one.locked == {"demo-helper": "2.0", name: "1.0"}
        assert one.phases.keys() == {"compose", "run", "clear"}
        assert all(seconds > 0 for seconds in one.phases.values())
    assert (good.reproduce, good.output) == ("", "")
    assert "ModuleNotFoundError: No module named 'nowhere'" in bad.output


def test_failure_can_be_seen_again(bases: Bases, tmp_path: Path) -> None:
    """A failed combination has one line of shell that shows the failure without us: interpreter, version, indexes, date."""
    bench = Bench(bases, tmp_path, {"bad": BAD})
    (bad,) = bench.results()
    assert shlex.split(bad.reproduce) == [
        *("uv", "run", "--isolated", "--no-project", "--python", bench.interpreter.path, "--with", "bad==1.0"),
        *("--exclude-newer", "2026-11-01T00:00:00Z", "--default-index=http://localhost/simple/"),
        *("python", "-c", "import bad"),
    ]
    assert "\n" not in bad.reproduce


def test_line_is_short_where_nothing_is_special(bases: Bases, tmp_path: Path) -> None:
    """Without a date or indexes of its own a run's line names neither; without modules it only installs."""
    bench = Bench(bases, tmp_path, {"bad": BAD})
    bench.spec = dataclasses.replace(bench.spec, exclude_newer="", index_options="")
    verdict = Verdict(Outcome.FAILED, Phase.BUILD, Reason.BUILD_FAILED, "no compiler")
    unbuilt = dataclasses.replace(bench.combos[0], ordinal=7, extras=("fast",))
    bench.writer.provisioned(Refused(7, verdict, output="the log"))
    with bench.worker() as executor:
        result = executor.result(unbuilt)
    assert (result.verdict, result.output, result.attempts, result.phases) == (verdict, "the log", 1, {})
    words = shlex.split(result.reproduce)
    assert words[-5:] == ["--with", "bad[fast]==1.0", "python", "-c", "pass"]


def test_cross_is_tried_as_a_whole(bases: Bases, tmp_path: Path) -> None:
    """Of a cross all releases are imported, all have to be what was asked for, and all are named to see a failure again."""
    bench = Bench(bases, tmp_path, {"bad": BAD})
    one = dataclasses.replace(bench.combos[0], package="demo-helper", version="2.0", others=(("bad", "1.0"),))
    with bench.worker() as executor:
        failed = executor.result(dataclasses.replace(one, resolution="lowest"))
        other = executor.result(dataclasses.replace(one, others=(("bad", "3.0"),)))
    assert (failed.verdict.reason, failed.verdict.detail) == (
        Reason.IMPORT_ERROR,
        "module bad: ModuleNotFoundError: No module named 'nowhere'",
    )
    words = shlex.split(failed.reproduce)
    assert words[6:12] == ["--with", "demo-helper==2.0", "--with", "bad==1.0", "--resolution", "lowest"]
    assert words[-1] == "import demo_helper, bad"
    assert (other.verdict.outcome, other.verdict.reason) == (Outcome.FAILED, Reason.BAD_METADATA)


@pytest.mark.parametrize("version", ["1.0", ""])
def test_skipped_combination_is_not_run(bases: Bases, tmp_path: Path, version: str) -> None:
    """A combination that provisioning judged is passed on as it is; there is nothing to see again, and no worktree."""
    bench = Bench(bases, tmp_path, {})
    verdict = Verdict(Outcome.SKIPPED, Phase.PLAN, Reason.REQUIRES_PYTHON, "Requires-Python >=4")
    bench.writer.provisioned(Refused(0, verdict))
    with bench.worker() as executor:
        result = executor.result(Combo(0, "demo", version, "missing", "py400"))
    assert (result.verdict, result.reproduce, result.locked, result.fingerprint) == (verdict, "", {}, "")
    assert os.listdir(bench.room) == ["base.git"]


def test_words_of_a_build_are_harmless(bases: Bases, tmp_path: Path) -> None:
    """What a package's build wrote, and what was made of it, cannot move the terminal's cursor."""
    bench = Bench(bases, tmp_path, {})
    verdict = Verdict(Outcome.FAILED, Phase.BUILD, Reason.BUILD_FAILED, "error: \x1b[2J")
    bench.writer.provisioned(Refused(0, verdict, output="one\n\x1b]0;two\x07\n"))
    with bench.worker() as executor:
        result = executor.result(Combo(0, "demo", "", bench.interpreter.id, "py312"))
    assert result.verdict.detail == "error: \N{REPLACEMENT CHARACTER}[2J"
    assert result.output == "one\n\N{REPLACEMENT CHARACTER}]0;two\N{REPLACEMENT CHARACTER}\n"


def test_combination_that_was_not_provisioned_is_an_error_of_ours(bases: Bases, tmp_path: Path) -> None:
    """A combination that comes too early has a verdict too, which says nothing about the package."""
    bench = Bench(bases, tmp_path, {})
    with bench.worker() as executor:
        result = executor.result(Combo(5, "demo", "", bench.interpreter.id, "py312"))
    expected = Verdict(Outcome.ERROR, Phase.PLAN, Reason.INTERNAL, "handed out before it was provisioned")
    assert result.verdict == expected


def test_database_that_cannot_be_read_is_an_error_of_ours(bases: Bases, tmp_path: Path) -> None:
    """When the plan's database breaks in the middle, combinations still have a verdict."""
    bench = Bench(bases, tmp_path, {"good": GOOD})
    with bench.worker() as executor:
        with contextlib.closing(sqlite3.connect(bench.writer.path)) as other:
            other.execute("DROP TABLE provision")
        verdict = executor.result(dataclasses.replace(bench.combos[0], version="")).verdict
    assert (verdict.outcome, verdict.phase, verdict.reason) == (Outcome.ERROR, Phase.PLAN, Reason.INTERNAL)
    assert "no such table" in verdict.detail


def test_telemetry_has_every_phase(bases: Bases, tmp_path: Path) -> None:
    """Each step of each combination is in the worker's file, one after the other, with reporting and waiting."""
    bench = Bench(bases, tmp_path, {"good": GOOD, "bad": BAD})
    before = time.time()
    with bench.worker() as executor:
        executor.waited(1e9, 0.25)
        for combo in bench.combos:
            executor.result(combo)
            executor.report_took(combo.ordinal, 0.5)
    with contextlib.closing(sqlite3.connect(bench.workers / "gw0.sqlite")) as connection:
        found = connection.execute("SELECT ordinal, phase, at, seconds FROM phase ORDER BY rowid").fetchall()
    steps = [(n, phase) for n in (0, 1) for phase in ("compose", "run", "clear", "report")]
    assert [(ordinal, phase) for ordinal, phase, _, _ in found] == [(None, "wait"), *steps]
    measured = [(at, at + seconds) for _, phase, at, seconds in found if phase not in ("report", "wait")]
    assert before <= measured[0][0]
    assert measured[-1][1] <= time.time()
    assert all(end <= start + 1e-6 for (_, end), (start, _) in pairwise(measured))  # floats of today are that coarse
    assert found[0] == (None, "wait", 1e9, 0.25)


# -- after a fault ------------------------------------------------------------------------------------------------------


def test_wheel_that_is_gone_is_tried_again(bases: Bases, tmp_path: Path) -> None:
    """A fault of ours is tried once more before it is a verdict; the next combination is not touched by it."""
    bench = Bench(bases, tmp_path, {"lost": GOOD, "good": GOOD})
    shutil.rmtree(next(bench.cache.wheels.glob("*/*/purelib/lost.py")).parents[1])
    lost, good = bench.results()
    assert outcomes([lost, good]) == [(Outcome.ERROR, ATTEMPTS), (Outcome.PASSED, 1)]
    assert (lost.verdict.phase, lost.verdict.reason) == (Phase.INSTALL, Reason.INTERNAL)
    assert lost.verdict.detail.startswith("HarnessProblem: cannot compose an environment in ")


def test_interpreter_that_is_gone_is_an_error_of_ours(bases: Bases, tmp_path: Path) -> None:
    """A combination of an interpreter that has no base environment has a verdict that says nothing about the package."""
    bench = Bench(bases, tmp_path, {"good": GOOD})
    subprocess.run(["git", "-C", bench.room / "base.git", "config", "core.bare", "nonsense"], check=True)
    (result,) = bench.results()
    assert outcomes([result]) == [(Outcome.ERROR, ATTEMPTS)]
    assert "git cannot add the worktree" in result.verdict.detail


VANDALS = {
    "its replica": "import os, shutil, sys; shutil.rmtree(os.path.join(os.path.dirname(sys.prefix), 'base.git'), True)",
    "its worktree and replica": "import os, shutil, sys; shutil.rmtree(os.path.dirname(sys.prefix), True)",
    "its worktree's git file": "import os, sys; os.unlink(os.path.join(sys.prefix, '.git'))",
    "its interpreter": "import os, sys; os.unlink(sys.executable)",
}


@pytest.mark.parametrize("what", VANDALS)
def test_next_combination_does_not_suffer(bases: Bases, tmp_path: Path, what: str) -> None:
    """A combination that destroys what the worker works with keeps its verdict, and the next ones have theirs."""
    code = f"{VANDALS[what]}\nraise SystemExit('done')"
    bench = Bench(bases, tmp_path, {"vandal": code, "good": GOOD, "again": code, "bad": BAD})
    known = tree_of(bench.room / "base.git")
    results = bench.results()
    assert [one.verdict.detail for one in results] == [
        "SystemExit: done",
        "",
        "SystemExit: done",
        "ModuleNotFoundError: No module named 'nowhere'",
    ]
    assert [one.verdict.outcome for one in results] == [Outcome.FAILED, Outcome.PASSED, Outcome.FAILED, Outcome.FAILED]
    assert tree_of(bench.room / "base.git") == known


DEEP = """
import os
os.chdir(os.environ["TMPDIR"])
for _ in range(1500):
    os.mkdir("deeper")
    os.chdir("deeper")
"""


def test_tree_that_is_too_deep_to_remove_costs_no_verdict(bases: Bases, tmp_path: Path) -> None:
    """What was found before an environment could not be cleared away stays, and the next one is clean."""
    results = Bench(bases, tmp_path, {"deep": DEEP, "good": GOOD}).results()
    assert [one.verdict.outcome for one in results] == [Outcome.PASSED, Outcome.PASSED]
    subprocess.run(["rm", "-rf", tmp_path / "room"], check=True)  # pytest would fail at it


FULL = """
import os, subprocess, sys
from pathlib import Path
from tests.integration.test_executor import BAD, Bench, pretend
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", sys.argv[1]], check=True)
pretend(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def pretend(room: Path, root: Path) -> None:
    """Run a combination that does not fit into a room of a megabyte, and one that does, and print the reasons."""
    bases = Bases(root / "bases", [LATEST])
    bench = Bench(bases, root / "bench", {"large": "#" * (2 << 20), "good": GOOD})
    shutil.copytree(bench.room, room, dirs_exist_ok=True)
    bench.spec = dataclasses.replace(bench.spec, room=str(room), replica=str(room / "base.git"))
    for result in bench.results():
        print(result.verdict.outcome.value, result.verdict.reason and result.verdict.reason.value)


def test_full_disk_is_told_apart(tmp_path: Path) -> None:
    """A room that is full is an error of ours with a reason of its own; what fits is run all the same."""
    for name in ("room", "bases", "bench"):
        (tmp_path / name).mkdir()
    command = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c", FULL]
    done = subprocess.run(
        [*command, tmp_path / "room", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    if "unshare failed" in done.stderr and not os.environ.get("SPIP_MUST_WORK"):
        pytest.skip("no user namespaces here")
    assert (done.stdout.splitlines(), done.stderr) == (["error no-space", "passed None"], "")


# -- warm and cold --------------------------------------------------------------------------------------------------------

ONLY_WARM = "import sys\nassert not any(type(finder).__name__ == 'HiddenModules' for finder in sys.meta_path), 'warm'\n"
"""Fails in a warm child, and tells so."""


def warm_bench(bases: Bases, root: Path, codes: Mapping[str, str], runner: str = "auto") -> Bench:
    """Return a bench that can run warm."""
    bench = Bench(bases, root, codes)
    closures = root / "closures.json"
    with closures.open("wb") as out:
        command = [bench.interpreter.path, "-I", "-S", "-B", str(SCRIPT), "json"]
        subprocess.run(command, check=True, stdout=out, env={})
    known = {bench.interpreter.id: str(closures)}
    bench.spec = dataclasses.replace(bench.spec, runner=runner, closures=known)
    return bench


def disagreements(bench: Bench) -> list[tuple[int, str, str]]:
    """Return what the worker's telemetry tells of warm and cold verdicts that differ."""
    with contextlib.closing(sqlite3.connect(bench.workers / "gw0.sqlite")) as telemetry:
        return list(telemetry.execute("SELECT ordinal, warm, cold FROM disagreement"))


def test_what_fails_warm_is_tried_cold(bases: Bases, tmp_path: Path) -> None:
    """The cold verdict counts; where the two differ, the difference is an event of its own."""
    bench = warm_bench(bases, tmp_path, {"good": GOOD, "bad": BAD, "odd": ONLY_WARM})
    results = bench.results()
    assert [(one.verdict.outcome, one.runner) for one in results] == [
        (Outcome.PASSED, "warm"),
        (Outcome.FAILED, "cold"),
        (Outcome.PASSED, "cold"),
    ]
    assert disagreements(bench) == [(2, "failed (import-error): AssertionError: warm", "passed")]


def test_a_sample_of_passes_is_tried_cold(bases: Bases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What passes warm only, and is among the sample, is found out."""
    monkeypatch.setattr("pytest_spip.session.judging.SAMPLE", 1)
    bench = warm_bench(bases, tmp_path, {"good": GOOD, "odd": ONLY_WARM.replace("not any", "any")})
    assert [(one.verdict.outcome, one.runner) for one in bench.results()] == [
        (Outcome.PASSED, "warm"),
        (Outcome.FAILED, "cold"),
    ]
    assert disagreements(bench) == [(1, "passed", "failed (import-error): AssertionError: warm")]


def test_tests_that_differ_are_a_disagreement(bases: Bases, tmp_path: Path) -> None:
    """Where warm and cold suites fail alike, but for other tests, that is recorded, and the cold tests count."""
    must_work(3)
    code = "def test_bad(): assert 0\ndef test_odd(): assert b'\\0zygote\\0' not in open('/proc/self/cmdline', 'rb').read()\n"
    bench = SuiteBench(bases, tmp_path, {"demo": code})
    limits = Limits(timeout=60, memory=512 << 20)
    bench.spec = dataclasses.replace(bench.spec, runner="auto", sandbox=Sandbox(3), check=Check("suite"), limits=limits)
    (result,) = bench.results()
    assert result.runner == "cold"
    assert {test.id: test.outcome for test in result.tests} == {
        "test_it.py::test_bad": "failed",
        "test_it.py::test_odd": "passed",
    }
    ((_, warm, cold),) = disagreements(bench)
    assert warm.endswith("; test_it.py::test_odd failed")
    assert cold.endswith("; test_it.py::test_odd passed")


@pytest.mark.parametrize(("runner", "outcome"), [("warm", Outcome.FAILED), ("cold", Outcome.PASSED)])
def test_runner_as_wished(bases: Bases, tmp_path: Path, runner: str, outcome: Outcome) -> None:
    """Who wishes for one runner gets its verdict alone."""
    bench = warm_bench(bases, tmp_path, {"odd": ONLY_WARM}, runner)
    assert [(one.verdict.outcome, one.runner) for one in bench.results()] == [(outcome, runner)]
    assert disagreements(bench) == []


def test_whoever_is_killed_from_outside_has_another_try(bases: Bases, tmp_path: Path) -> None:
    """A child that SIGKILL ended once passes at the next try; one that dies so each time crashed."""
    once = f"import os, signal\nif not os.path.exists({str(tmp_path / 'was')!r}):\n    open({str(tmp_path / 'was')!r}, 'w')\n"
    kill = "os.kill(os.getpid(), signal.SIGKILL)"
    codes = {"once": f"{once}    {kill}\n", "always": f"import os, signal\n{kill}\n"}
    results = Bench(bases, tmp_path, codes).results()
    assert [(one.verdict.outcome, one.verdict.reason) for one in results] == [
        (Outcome.PASSED, None),
        (Outcome.CRASHED, Reason.SIGKILL),
    ]
