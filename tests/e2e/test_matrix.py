"""End to end, as data: what a package contains, and the cell of the report that it ends in."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import sqlite3
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import uv
from packaging.version import Version

from tests.conftest import MakeMachine
from tests.support.distributions import Content, builds, simple_sdist, wheel
from tests.support.interpreters import pythons
from tests.support.machine import LABEL, VERSION, Cell, Done, Machine, eventually
from tests.support.odd_wheels import REFUSED, TAKEN, odd_wheel

OUTCOMES = ("passed", "failed", "skipped", "killed", "crashed", "error")
PASSED: Cell = ("passed", "import", None)
IMPORT_ERROR: Cell = ("failed", "import", "import-error")
BAD_WHEEL: Cell = ("failed", "install", "bad-metadata")
NO_INTERPRETER: Cell = ("skipped", "plan", "no-interpreter")
NOT_FOR_THIS_PYTHON: Cell = ("skipped", "plan", "requires-python")

SECRET = "hunter2"

HOUSE = f"""\
import os, subprocess, sys, sysconfig
inside = [__file__, sysconfig.get_path("scripts")]
assert all(os.path.realpath(path).startswith(sys.prefix + os.sep) for path in inside), inside
assert sys.prefix != sys.base_prefix
assert os.environ["PATH"].split(os.pathsep)[0] == os.path.join(sys.prefix, "bin")
assert {SECRET!r} not in "".join(os.environ.values())
assert os.listdir(os.getcwd()) == os.listdir(os.environ["HOME"]) == []
"""
PRINT_PREFIX = "import sys\ndef main():\n    print(sys.prefix)\n"
SCRIPTS = """\
import os, subprocess, sys
for name in ("house-tool", "house-main"):
    script = os.path.join(sys.prefix, "bin", name)
    assert subprocess.check_output([script]).decode().strip() == os.path.realpath(sys.prefix), name
assert open(os.path.join(sys.prefix, "share", "house.txt")).read() == "text"
"""
DAEMON = """\
import os, signal, sys, time
ready, told = os.pipe()
if not os.fork():
    os.setsid()
    if not os.fork():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.write(told, b"x")
        time.sleep(600)
    os._exit(0)
os.read(ready, 1)
"""
LITTER = """\
import os, sys
site = os.path.dirname(os.path.abspath(__file__))
for name in ("sitecustomize.py", "litter.pth", "__pycache__x"):
    open(os.path.join(site, name), "w").write("import nonesuch_litter")
for place in (os.environ["HOME"], os.getcwd(), os.environ["TMPDIR"], sys.prefix, os.path.join(sys.prefix, "bin")):
    open(os.path.join(place, "litter"), "w").close()
"""
NO_LITTER = """\
import os, sys
for place in (os.environ["HOME"], os.getcwd(), os.environ["TMPDIR"], sys.prefix, os.path.join(sys.prefix, "bin")):
    assert not os.path.exists(os.path.join(place, "litter")), place
assert "litter" not in "".join(os.listdir(os.path.dirname(os.path.abspath(__file__)))).replace("no_litter", "")
"""
VANDAL = """\
import os, sys
os.unlink(os.path.join(sys.prefix, "pyvenv.cfg"))
os.unlink(os.path.join(sys.prefix, "bin", "python"))
open(os.path.join(sys.prefix, "bin", "python"), "w").close()
"""


FILES = """\
import importlib.metadata, os
files = importlib.metadata.files("files")
assert len(files) == 9, files
missing = [str(file) for file in files if not os.path.exists(file.locate())]
assert not missing, missing
"""
FILES_DATA = {"headers/deep/x.h": "", "headers/y.h": "", "data/share/x": ""}


@dataclasses.dataclass(frozen=True)
class Case:
    """A package, how it is made in the index's directory, and what the report says of it."""

    name: str
    cell: Cell
    make: Callable[[Path, str], object]
    detail: str = ""
    """Text that the report's detail holds."""


def module(text: str, **how: Any) -> Callable[[Path, str], object]:
    """Make a wheel of one module, named like the project."""
    return lambda files, name: wheel(files, name, "1.0", {f"{name}.py": text}, **how)


def tree(contents: Mapping[str, Content], **how: Any) -> Callable[[Path, str], object]:
    """Make a wheel of the files."""
    return lambda files, name: wheel(files, name, "1.0", contents, **how)


def source(text: str = "", **how: Any) -> Callable[[Path, str], object]:
    """Make an sdist of one module, named like the project."""
    return lambda files, name: simple_sdist(files, name, "1.0", {f"{name}.py": text}, **how)


def odd(name: str) -> Callable[[Path, str], object]:
    """Make a wheel that breaks the specification in the way of that name."""
    spoil, _ = {**TAKEN, **REFUSED}[name]
    return lambda files, name: odd_wheel(files, name, spoil)


CASES = (
    # Those who disturb come before those who would notice.
    Case("vandal", PASSED, module(VANDAL)),
    Case("litter", PASSED, module(LITTER)),
    Case("no_litter", PASSED, module(NO_LITTER)),
    Case("daemon", PASSED, module(DAEMON)),
    Case("good", PASSED, module("")),
    Case("house", PASSED, module(HOUSE)),
    Case(
        "scripts",
        PASSED,
        module(
            SCRIPTS,
            scripts={"house-tool": f"#!python\n{PRINT_PREFIX}main()\n"},
            data={"data/share/house.txt": "text", "purelib/house_main.py": PRINT_PREFIX},
            entry_points="[console_scripts]\nhouse-main = house_main:main\n",
        ),
    ),
    Case("not_public", PASSED, tree({"not_public.py": "", "_private.py": "1 / 0", "tests/__init__.py": "1 / 0"})),
    Case("no_module", PASSED, tree({"_no_module.py": "1 / 0"}), "it installs no public module"),
    Case("needs_good", PASSED, module("import good", requires=["good"])),
    Case("from_source", PASSED, source()),
    Case("from_source_here", PASSED, source(universal=False)),
    Case("missing_module", IMPORT_ERROR, module("import nonesuch"), "ModuleNotFoundError: No module named 'nonesuch'"),
    Case("second_module", IMPORT_ERROR, tree({"aaa_second.py": "", "second_module.py": "1 / 0"}), "ZeroDivisionError"),
    Case(
        "in_namespace", IMPORT_ERROR, tree({"space/part/__init__.py": "1 / 0"}), "ZeroDivisionError: division by zero"
    ),
    Case("syntax", IMPORT_ERROR, module("print 'hello'"), "SyntaxError"),
    Case("exits", IMPORT_ERROR, module("import sys; sys.exit(0)"), "SystemExit: 0"),
    Case("asks", IMPORT_ERROR, module("input()"), "EOFError"),
    Case("at_exit", IMPORT_ERROR, module("import atexit, os; atexit.register(os._exit, 3)"), "exit status 3"),
    Case("build_fails", ("failed", "build", "build-failed"), source(fails="no compiler here"), "no compiler here"),
    Case(
        "needs_build",
        ("failed", "build", "dependency-build-failed"),
        module("", requires=["build_fails"]),
        "build-fails",
    ),
    Case("unlisted", PASSED, odd("unlisted")),
    Case("scripttwice", PASSED, odd("scripttwice")),
    Case("wronghash", BAD_WHEEL, odd("wronghash"), "didn't match RECORD"),
    Case("with_library", PASSED, tree({"with_library/__init__.py": "", "libfoo.so": b"\x7fELF library"})),
    Case(
        "with_strays",
        PASSED,
        tree({"with_strays.py": "", **dict.fromkeys(("conftest.py", "setup.py", "noxfile.py"), "1 / 0")}),
    ),
    Case("names_it", IMPORT_ERROR, tree({"alright.py": "", "broken.py": "{}[1]"}), "module broken: KeyError: 1"),
    Case("files", PASSED, tree({"files.py": FILES}, data=FILES_DATA, scripts={"tool": "#!python\n"})),
    Case(
        "as_data", IMPORT_ERROR, tree({}, data={f"data/lib/python{VERSION}/site-packages/as_data.py": "1 / 0"}), "Zero"
    ),
    Case(
        "as_data64",
        IMPORT_ERROR,
        tree({}, data={f"data/lib64/python{VERSION}/site-packages/as_data64.py": "1/0"}),
        "Zero",
    ),
    Case(
        "elsewhere_data", PASSED, tree({}, data={"data/lib/python2.7/site-packages/x.py": "1 / 0"}), "no public module"
    ),
    Case("other_name", BAD_WHEEL, module("", metadata_name="another"), "another"),
    Case("other_version", BAD_WHEEL, module("", metadata_version="2.0"), "2.0"),
    Case("zip_slip", BAD_WHEEL, tree({"zip_slip.py": "", "../../../../../../escaped.py": ""})),
    Case("absolute", BAD_WHEEL, tree({"absolute.py": "", "/escaped.py": ""})),
    Case("builds_other", ("failed", "build", "bad-metadata"), source(built_version="2.0"), "builds builds_other-2.0"),
    Case("builds_name", ("failed", "build", "bad-metadata"), source(built_name="strange"), "strange"),
    Case("too_old", NOT_FOR_THIS_PYTHON, module("", requires_python=f"<{VERSION}"), f"<{VERSION}"),
    Case("too_new", NOT_FOR_THIS_PYTHON, module("", requires_python=f">{VERSION},!={VERSION}.*"), f">{VERSION}"),
    Case("elsewhere", ("skipped", "plan", "no-wheel"), module("", tag="cp27-cp27m-win32"), f"no wheel for {LABEL}"),
    Case("unsolvable", ("skipped", "resolve", "no-solution"), module("", requires=["good==99"]), "good==99"),
    Case(
        "needs_unknown",
        ("skipped", "resolve", "no-solution"),
        module("", requires=["nobody-wrote-it"]),
        "nobody-wrote-it",
    ),
    Case(
        "hangs",
        ("killed", "import", "timeout"),
        module(
            "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('before', flush=True)\ntime.sleep(600)"
        ),
        "no end after 5 s",
    ),
    Case("greedy", ("killed", "import", "out-of-memory"), module("x = bytearray(1 << 30)"), "limit 300 MiB"),
    Case("prints", ("killed", "import", "log-limit"), module("while True: print('x' * 65536)"), "16 MiB of output"),
    Case(
        "writes",
        ("killed", "import", "environment-full"),
        module("open('big', 'wb').truncate(2 << 30)"),
        "File too large",
    ),
    Case(
        "segfault",
        ("crashed", "import", "SIGSEGV"),
        module("import ctypes; ctypes.string_at(0)"),
        "signal 11 (SIGSEGV)",
    ),
    Case("aborts", ("crashed", "import", "SIGABRT"), module("import os; os.abort()"), "SIGABRT"),
    Case("leaves", ("crashed", "import", "silent-exit"), module("import os; os._exit(0)"), "exit status 0"),
    Case("last", PASSED, module(NO_LITTER)),
)


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:
    """Serve the cases."""
    machine = make_machine()
    for case in CASES:
        case.make(machine.files, case.name)
    (machine.project() / "packages.txt").write_text("".join(f"{case.name}\n" for case in CASES), "utf-8")
    return machine


@pytest.fixture(scope="module")
def done(machine: Machine) -> Done:
    """Run all cases once, on the running Python."""
    return machine.run(
        "--spip-matrix=@packages.txt",
        "--spip-timeout=5",
        "--spip-memory=300MiB",
        env={"MY_TOKEN": SECRET, "AWS_SECRET_ACCESS_KEY": SECRET},
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_cell(done: Done, case: Case) -> None:
    """A package ends in the cell that its contents call for, with a detail that says why."""
    cell = f"{case.name.replace('_', '-')}[1.0-{LABEL}]"
    assert done.cells.get(cell) == case.cell, done.combinations.get(cell, done.stdout + done.stderr)
    assert case.detail in done.combinations[cell]["detail"]


def test_cells_come_in_order(done: Done) -> None:
    """The report lists combinations in the order in which packages were asked for."""
    assert list(done.cells) == [f"{case.name.replace('_', '-')}[1.0-{LABEL}]" for case in CASES]
    assert done.status == 1


def test_report_follows_the_schema(done: Done) -> None:
    """The JSON report has every key of schema 1."""
    report = done.report
    assert report["schema"] == 1
    assert {"uuid", "started", "finished", "exclude_newer", "command", "hosts", "sandbox", "runner", "ram"} <= report[
        "run"
    ].keys()
    assert all(report["run"][key] for key in ("uuid", "started", "finished", "exclude_newer", "hosts"))
    assert [one.keys() for one in report["interpreters"]] == [{"id", "label", "path"}]
    keys = "id package version python interpreter outcome phase reason detail fingerprint seconds cpu_seconds peak_rss"
    keys += " attempts reused runner worker host locked reproduce"
    for combination in report["combinations"]:
        assert set(keys.split()) <= combination.keys()
    counts = {outcome: report["summary"][outcome] for outcome in OUTCOMES}
    assert sum(counts.values()) == report["summary"]["planned"] == len(CASES)
    assert {"seconds", "per_second", "cpu_utilisation", "iowait", "phases"} <= report["summary"].keys()
    assert all({"signature", "count", "examples"} <= group.keys() for group in report["groups"])


def test_verdicts_tell_what_they_cost(done: Done) -> None:
    """A combination that ran has time, processor time, memory and a fingerprint of its own."""
    ran = done.combinations[f"good[1.0-{LABEL}]"]
    assert 0 < ran["cpu_seconds"] < 5
    assert 0 < ran["seconds"] < 5
    assert 1 << 20 < ran["peak_rss"] < 1 << 28
    assert ran["attempts"] == 1
    fingerprints = [one["fingerprint"] for one in done.combinations.values() if one["phase"] == "import"]
    assert len(fingerprints) == len(set(fingerprints))


def test_lock_names_dependencies(done: Done) -> None:
    """The report tells which versions an environment was locked to."""
    assert done.combinations[f"needs-good[1.0-{LABEL}]"]["locked"] == {"needs-good": "1.0", "good": "1.0"}


def test_output_is_kept(done: Done) -> None:
    """What a package printed before it was killed is in the report."""
    assert done.combinations[f"hangs[1.0-{LABEL}]"]["output"] == "before\n"


def test_warnings_are_told(done: Done) -> None:
    """What installers overlook in a wheel is a warning on its combination, in the report and below the grid."""
    told = {name.partition("[")[0]: one["warnings"] for name, one in done.combinations.items() if one["warnings"]}
    assert set(told) == {"unlisted", "scripttwice"}
    assert told["unlisted"] == ["unlisted-1.0-py3-none-any.whl: unlisted/__init__.py is not mentioned in RECORD"]
    assert f"spip: warning: {told['unlisted'][0]}  (unlisted[1.0-{LABEL}])" in done.stdout


def test_terminal_groups_failures(done: Done) -> None:
    """The terminal shows the reason of a failure once, with how many combinations share it."""
    assert "    4 x import-error: ZeroDivisionError: division by zero\n" in done.stdout
    (group,) = [one for one in done.report["groups"] if "ZeroDivisionError" in one["signature"]]
    assert (group["count"], len(group["examples"])) == (4, 4)


def test_nothing_is_left(machine: Machine, done: Done) -> None:
    """After the run no process of it is left, not even a daemon's, and no worktree; nothing was written elsewhere."""
    assert done.status == 1
    assert eventually(lambda: not machine.processes()), machine.processes()
    assert eventually(lambda: not machine.worktrees())
    assert not list(machine.root.rglob("escaped.py"))
    assert not Path("/escaped.py").exists()
    assert [path.name for path in (machine.root / "home").iterdir()] in ([], [".local"])  # uv keeps a lock there


def test_failures_can_be_seen_again(machine: Machine, done: Done) -> None:
    """The line that comes with a failure shows the same failure without pytest-spip."""
    command = done.combinations[f"missing-module[1.0-{LABEL}]"]["reproduce"]
    assert command.startswith("uv run ")
    again = subprocess.run(
        [uv.find_uv_bin(), *shlex.split(command)[1:]],
        env=machine.environment(),
        cwd=machine.project_path("project"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (again.returncode, again.stderr.splitlines()[-1]) == (1, "ModuleNotFoundError: No module named 'nonesuch'")


def test_run_database_is_complete(done: Done) -> None:
    """The run's database has one row per combination in the ledger, the workers' telemetry, and a link to it."""
    latest = done.project / ".spip" / "latest"
    assert latest.resolve().name == done.report["run"]["uuid"]
    assert list((latest / "workers").iterdir()) == []
    with contextlib.closing(sqlite3.connect(latest / "run.sqlite")) as database:
        ledger = database.execute(
            "SELECT id, outcome FROM ledger JOIN plan USING (ordinal) ORDER BY ordinal"
        ).fetchall()
        phases = {phase for (phase,) in database.execute("SELECT DISTINCT phase FROM phase")}
        (samples,) = database.execute("SELECT count(*) FROM sample").fetchone()
    assert ledger == list(done.outcomes.items())
    assert {"resolve", "fetch", "build", "install", "compose", "run"} <= phases
    assert samples > 0


def test_locks_are_kept_under_the_run(done: Done) -> None:
    """The lock of a combination that was resolved lies with the run."""
    locks = done.project / ".spip" / "latest" / "locks"
    assert 'name = "good"' in (locks / f"needs-good-1.0-{LABEL}.toml").read_text("utf-8")


HARM = {
    "razes": "import shutil, sys; shutil.rmtree(sys.prefix, ignore_errors=True)",
    "unlinks": "import os, sys; os.unlink(sys.prefix + '/.git'); os.unlink(sys.prefix + '/pyvenv.cfg')",
}


@pytest.mark.parametrize("harm", HARM)
def test_worktree_is_made_anew(make_machine: MakeMachine, harm: str) -> None:
    """A package that destroys its worktree harms neither the next one nor a repository of the user's around it."""
    machine = make_machine()
    for name, text in ((harm, HARM[harm]), ("after", "")):
        wheel(machine.files, name, "1.0", {f"{name}.py": text})
    project = machine.project()
    (project / "ram").mkdir()
    (project / "work.txt").write_text("committed", "utf-8")
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a", "commit", "-qm", "a"]):
        subprocess.run(["git", *command], cwd=project, check=True)
    (project / "work.txt").write_text("precious", "utf-8")

    done = machine.run(f"--spip-matrix={harm}", "--spip-matrix=after", f"--spip-ram={project}/ram")

    assert (project / "work.txt").read_text("utf-8") == "precious"
    assert done.outcomes == {f"{harm}[1.0-{LABEL}]": "passed", f"after[1.0-{LABEL}]": "passed"}


# -- several interpreters -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def across(make_machine: MakeMachine) -> Done:
    """Run packages on the oldest and the newest Python and on one that nobody has."""
    machine = make_machine()
    wheel(machine.files, "everywhere", "1.0", {"everywhere.py": ""})
    wheel(machine.files, "modern", "1.0", {"modern.py": "match 1:\n    case _: pass\n"})
    wheel(machine.files, "modern", "2.0", {"modern.py": "match 1:\n    case _: pass\n"}, requires_python=">=3.10")
    simple_sdist(machine.files, "made", "1.0", {"made.py": ""}, universal=False, counter=machine.root / "builds")
    named = ",".join((*ENDS, "pypy3.99"))
    packages = [f"--spip-matrix={name}" for name in ("modern", "everywhere", "made")]
    return machine.run("--spip-sandbox=off", *packages, python=named)  # a confined build could not be counted


ENDS = (min(pythons(), key=Version), max(pythons(), key=Version))
OLD, NEW = (f"py{version.replace('.', '')}" for version in ENDS)
needs_old_and_new = pytest.mark.skipif(
    Version(ENDS[0]) >= Version("3.10") or Version(ENDS[1]) < Version("3.10"),
    reason="needs one Python before 3.10 and one from 3.10 on",
)


@needs_old_and_new
def test_verdicts_differ_by_interpreter(across: Done) -> None:
    """Each release has a verdict of its own on each Python; a Python that is not there is skipped, and said so."""
    assert across.cells == {
        f"modern[1.0-{OLD}]": IMPORT_ERROR,
        f"modern[1.0-{NEW}]": PASSED,
        "modern[1.0-pypy399]": NO_INTERPRETER,
        f"modern[2.0-{OLD}]": NOT_FOR_THIS_PYTHON,
        f"modern[2.0-{NEW}]": PASSED,
        "modern[2.0-pypy399]": NO_INTERPRETER,
        f"everywhere[1.0-{OLD}]": PASSED,
        f"everywhere[1.0-{NEW}]": PASSED,
        "everywhere[1.0-pypy399]": NO_INTERPRETER,
        f"made[1.0-{OLD}]": PASSED,
        f"made[1.0-{NEW}]": PASSED,
        "made[1.0-pypy399]": NO_INTERPRETER,
    }
    assert "spip: note: no interpreter pypy3.99 on this machine: its combinations are skipped" in across.stdout


@needs_old_and_new
def test_grid_has_a_column_per_interpreter(across: Done) -> None:
    """The grid has versions down, newest first, and Pythons across, oldest first, each cell with its word."""
    lines = [line.split() for line in across.stdout.splitlines()]
    start = lines.index(["modern", OLD, NEW, "pypy399"])
    assert lines[start + 1 : start + 3] == [["2.0", "-", "ok", "skip"], ["1.0", "imp", "ok", "skip"]]
    assert "ok passed   imp import failed   - not for this Python   skip skipped\n" in across.stdout


@needs_old_and_new
def test_sdist_is_built_once_per_interpreter(across: Done) -> None:
    """An sdist whose wheel is for one interpreter only is built once on each, and on no other."""
    assert sorted(builds(across.project.parents[1] / "builds"), key=Version) == list(ENDS)


# -- what enters the matrix ---------------------------------------------------------------------------------------------

SELECTIONS = {
    (): ["1.0", "1.1", "2.0"],
    ("--spip-versions=latest",): ["2.0"],
    ("--spip-versions=major",): ["1.1", "2.0"],
    ("--spip-versions=2",): ["1.1", "2.0"],
    ("--spip-pre",): ["1.0", "1.1", "2.0", "3.0rc1"],
    ("--spip-yanked",): ["1.0", "1.1", "1.2", "2.0"],
    ("--spip-exclude-newer=2021-06-01",): ["1.0", "1.1"],
}


@pytest.fixture(scope="module")
def selections(make_machine: MakeMachine) -> dict[tuple[str, ...], Done]:
    """List the matrix for each selection."""
    machine = make_machine()
    for year, version in enumerate(("1.0", "1.1", "1.2", "2.0", "3.0rc1"), 2020):
        made = wheel(machine.files, "dated", version, {"dated.py": ""})
        machine.index.add(made, upload_time=f"{year}-01-01T00:00:00Z", yanked=version == "1.2")
    wheel(machine.files, "dated", "2004d", {})
    listing = ("--spip-matrix=Dated", "--collect-only", "-q")
    done = machine.run_all({str(n): {"arguments": (*listing, *options)} for n, options in enumerate(SELECTIONS)})
    return dict(zip(SELECTIONS, done.values(), strict=True))


@pytest.mark.parametrize(("options", "versions"), SELECTIONS.items(), ids=lambda value: " ".join(value) or "default")
def test_selection(selections: dict[tuple[str, ...], Done], options: tuple[str, ...], versions: list[str]) -> None:
    """Options choose which releases enter the matrix, oldest first."""
    listed = [line for line in selections[options].stdout.splitlines() if line.startswith("spip::")]
    assert listed == [f"spip::dated[{version}-{LABEL}]" for version in versions]
