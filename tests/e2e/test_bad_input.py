"""Bad input, end to end: status 4, one line that names the option and the fix, and nothing left behind.

``tests/unit/test_bad_options.py`` has the other texts that options may not have; here is one of a kind.
"""

from __future__ import annotations

import dataclasses
import shutil
import socket
import sys
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.conftest import MakeMachine
from tests.support.distributions import simple_sdist, wheel
from tests.support.index import Fault
from tests.support.machine import HERE, LABEL, Done, Machine

GOOD = "--spip-matrix=good"
HIDE_UV = "import sys; sys.modules['uv'] = None; import pytest; sys.exit(pytest.main(sys.argv[1:]))"


@dataclasses.dataclass(frozen=True)
class Case:
    """Arguments, and what the one line says: which option, what is wrong, and what mends it.

    In arguments and environment ``{root}`` stands for the machine's directory, ``{port}`` for a port where nobody listens.
    """

    name: str
    arguments: Sequence[str]
    option: str
    words: Sequence[str]
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    program: Sequence[str] = (sys.executable, "-m", "pytest")
    python: str = HERE


CASES = (
    Case("no-matrix", ["--spip"], "--spip", ["no matrix is named", "add --spip-matrix=REQ"]),
    Case("unknown-package", ["--spip-matrix=goood"], "--spip-matrix", ["'goood'", "check the spelling"]),
    Case("typo", ["--spip-matrix=good=>1"], "--spip-matrix", ["'good=>1' is no requirement", "write it like"]),
    Case("no-version", ["--spip-matrix=good>7"], "--spip-matrix", ["none of 1 releases", "newest: 1.0", "widen"]),
    Case("at-empty", ["--spip-matrix=@{root}/empty"], "--spip-matrix", ["empty"]),
    Case("no-interpreter", [GOOD], "--spip-python", ["no interpreter 3.99", "uv python install"], python="3.99"),
    Case(
        "no-such-path",
        [GOOD],
        "--spip-python",
        ["/no/such/python does not exist", "name one"],
        python="/no/such/python",
    ),
    Case("a-directory", [GOOD], "--spip-python", ["{root} is a directory"], python="{root}"),
    Case("a-file", [GOOD], "--spip-python", ["{root}/empty is a file that cannot be exec"], python="{root}/empty"),
    Case("a-shim", [GOOD], "--spip-python", ["{root}/shim is a script", "name the program"], python="{root}/shim"),
    Case(
        "no-python", [GOOD], "--spip-python", ["git is a program, but does not answer", "git version"], python="{git}"
    ),
    Case("versions", [GOOD, "--spip-versions=newest"], "--spip-versions", ["'newest'", "use all, latest"]),
    Case("cross-typo", [GOOD, "--spip-matrix=goood", "--spip-cross"], "--spip-matrix", ["'goood'", "the spelling"]),
    Case("timeout", [GOOD, "--spip-timeout=soon"], "--spip-timeout", ["'soon'", "positive number of seconds"]),
    Case("profile-auto", [GOOD, "--spip-profile=fast", "-nauto"], "--spip-profile", ["'fast'", "balanced"]),
    Case("report-kind", [GOOD, "--spip-report=jsn:out.json"], "--spip-report", ["'jsn'", "json"]),
    Case("report-path", [GOOD, "--spip-report=json"], "--spip-report", ["needs a path", "json:out.json"]),
    Case("trace-path", [GOOD, "--spip-report=trace"], "--spip-report", ["trace needs a path", "trace:out.json"]),
    Case("report-directory", [GOOD, "--spip-report=json:no/out.json"], "--spip-report", ["no/out.json", "create it"]),
    Case("report-is-directory", [GOOD, "--spip-report=json:{root}"], "--spip-report", ["{root}"]),
    Case(
        "undated", [GOOD, "--spip-exclude-newer=2026-01-01"], "--spip-exclude-newer", ["no upload times", "leave the"]
    ),
    Case(
        "too-old",
        ["--spip-matrix=dated", "--spip-exclude-newer=2020-01-01"],
        "--spip-exclude-newer",
        ["dated had no release before 2020-01-02", "the first is of 2025-01-01", "name a later date"],
    ),
    Case(
        "invalid-version",
        ["--spip-matrix=invalid"],
        "--spip-matrix",
        ["no release of invalid can be installed", "versions are not valid: invalid-2004d.tar.gz"],
    ),
    Case("yanked", ["--spip-matrix=yanked"], "--spip-matrix", ["none of 1 releases", "add --spip-yanked for 1"]),
    Case("ram", [GOOD, "--spip-ram={root}/no"], "--spip-ram", ["{root}/no", "--spip-ram=auto"]),
    Case(
        "cache-file",
        [GOOD, "--spip-cache={root}/empty/cache"],
        "--spip-cache",
        ["{root}/empty/cache", "--spip-cache=DIR"],
    ),
    Case("cache-colon", [GOOD, "--spip-cache={root}/a:b"], "--spip-cache", ["{root}/a:b has a ':'", "name another"]),
    Case("ram-colon", [GOOD, "--spip-ram={root}/a:b"], "--spip-ram", ["{root}/a:b has a ':'", "name another"]),
    Case("cache-proc", [GOOD, "--spip-cache=/proc/cache"], "--spip-cache", ["/proc/cache", "--spip-cache=DIR"]),
    Case("dist-each", [GOOD, "-n2", "--dist=each"], "--dist", ["leave the option out"]),
    Case(
        "unreachable",
        [GOOD],
        "--spip-matrix",
        ["http://127.0.0.1:{port}/simple", "refused", "UV_DEFAULT_INDEX"],
        env={"UV_DEFAULT_INDEX": "http://127.0.0.1:{port}/simple/"},
    ),
    Case(
        "no-scheme",
        [GOOD],
        "--spip-matrix",
        ["file:///", "127.0.0.1/simple", "the index settings"],
        env={"UV_DEFAULT_INDEX": "127.0.0.1/simple/"},
    ),
    Case("malformed", ["--spip-matrix=malformed"], "--spip-matrix", ["malformed JSON answer", "UV_DEFAULT_INDEX"]),
    Case("failing", ["--spip-matrix=failing"], "--spip-matrix", ["503", "UV_DEFAULT_INDEX"]),
    Case("no-git", [GOOD], "git", ["not found on PATH", "install git"], env={"PATH": "/nonexistent"}),
    Case(
        "no-uv",
        [GOOD],
        "uv",
        ["not found", "pip install uv"],
        env={"PATH": "{root}/tools"},
        program=(sys.executable, "-c", HIDE_UV),
    ),
)


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:
    """Serve a good package and some that the index cannot list."""
    machine = make_machine()
    for name in ("good", "dated", "malformed", "failing", "yanked"):
        made = wheel(machine.files, name, "1.0", {f"{name}.py": ""})
        if name == "dated":
            machine.index.add(made, upload_time="2025-01-01T00:00:00Z")
        if name == "yanked":
            machine.index.add(made, yanked=True)
    simple_sdist(machine.files, "invalid", "1.0", {}).rename(machine.files / "invalid-2004d.tar.gz")
    machine.index.inject(
        machine.index.page_path("malformed"), Fault(body=b'{"meta": {"api-version": "1.1"}, "files": [{}]}')
    )
    machine.index.inject(machine.index.page_path("failing"), Fault(status=503))
    (machine.root / "empty").touch()
    (machine.root / "shim").write_text('#!/bin/sh\nexec python3 "$@"\n', "utf-8")
    (machine.root / "shim").chmod(0o755)
    (machine.root / "tools").mkdir()
    (machine.root / "tools" / "git").symlink_to(str(shutil.which("git")))
    return machine


@pytest.fixture(scope="module")
def closed_port() -> int:
    """Return a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def done(machine: Machine, closed_port: int) -> dict[str, Done]:
    """Run every case."""
    return machine.run_all(
        {
            case.name: {
                "arguments": [filled(text, machine, closed_port) for text in case.arguments],
                "env": {name: filled(text, machine, closed_port) for name, text in case.env.items()},
                "program": case.program,
                "python": filled(case.python, machine, closed_port),
            }
            for case in CASES
        }
    )


def filled(text: str, machine: Machine, port: int) -> str:
    """Put the machine's directory and the closed port into a text."""
    text = text.replace("{root}", str(machine.root)).replace("{port}", str(port))
    return text.replace("{git}", str(shutil.which("git")))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_one_line(done: dict[str, Done], machine: Machine, closed_port: int, case: Case) -> None:
    """Bad input ends in status 4 with one line that names the option, what is wrong and what mends it."""
    one = done[case.name]
    assert (one.status, one.stdout.strip()) == (4, ""), one.stdout + one.stderr
    (line,) = [line for line in one.stderr.splitlines() if line.strip()]
    assert line.startswith(f"ERROR: {case.option}")
    assert [word for word in case.words if filled(word, machine, closed_port) not in line] == [], line


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_nothing_is_created(done: dict[str, Done], case: Case) -> None:
    """Bad input leaves nothing in the project."""
    found = sorted(path.name for path in done[case.name].project.iterdir())
    assert found == ["pytest.ini"]


def test_nothing_is_left(done: dict[str, Done], machine: Machine) -> None:
    """Bad input leaves nothing where worktrees live, in the home directory, or half-made in the cache, and no process."""
    assert len(done) == len(CASES)
    assert machine.worktrees() == []
    assert machine.processes() == {}
    assert list((machine.root / "home").iterdir()) == []
    assert list((machine.cache / "staging").iterdir()) == []
    assert not Path("/proc/cache").exists()


def test_same_run_twice(machine: Machine) -> None:
    """A run's name cannot be used twice, and the first run stays as it was."""
    first = machine.run(GOOD, "--spip-run=mine", project="named")
    database = first.project / ".spip" / "runs" / "mine" / "run.sqlite"
    before = database.read_bytes()
    second = machine.run(GOOD, "--spip-run=mine", project="named")
    assert (first.status, second.status) == (0, 4)
    assert second.stderr.startswith("ERROR: --spip-run: run mine exists already; choose another name")
    assert database.read_bytes() == before


def test_unwritable_project(machine: Machine) -> None:
    """Where the project cannot be written, the one line names the root directory."""
    project = machine.project("sealed")
    (project / ".spip").touch()
    done = machine.run(GOOD, project="sealed")
    assert (done.status, done.stdout) == (4, "")
    (line,) = [line for line in done.stderr.splitlines() if line.strip()]
    assert line.startswith("ERROR: rootdir: cannot write ")
    assert "--rootdir" in line
    assert machine.worktrees() == []


# -- one bad package among others ---------------------------------------------------------------------------------------

BAD = ("goood", "malformed", "failing", "good>7")


@pytest.fixture(scope="module")
def among_others(machine: Machine) -> Done:
    """Run a good package among bad ones."""
    bad = [f"--spip-matrix={name}" for name in BAD[:3]]
    return machine.run(*bad[:1], GOOD, *bad[1:], "--junitxml=junit.xml", project="among")


def test_bad_packages_have_verdicts_of_their_own(among_others: Done) -> None:
    """A package that the index cannot list ends in one index-error, which is pytest's error; the others run."""
    index_error = ("error", "plan", "index-error")
    assert among_others.cells == {
        "goood[unlisted-index]": index_error,
        f"good[1.0-{LABEL}]": ("passed", "import", None),
        "malformed[unlisted-index]": index_error,
        "failing[unlisted-index]": index_error,
    }
    assert among_others.status == 1
    assert "= 1 passed, 3 errors in" in among_others.stdout
    assert "no project named 'goood'" in among_others.combinations["goood[unlisted-index]"]["detail"]


def test_junitxml_calls_errors_errors(among_others: Done) -> None:
    """In JUnit's XML what says nothing about the package is an error, not a failure."""
    cases = ET.parse(among_others.project / "junit.xml").getroot().findall(".//testcase")
    tags = {case.get("name"): [child.tag for child in case if child.tag != "properties"] for case in cases}
    assert tags["goood[unlisted-index]"] == ["error"]
    assert tags[f"good[1.0-{LABEL}]"] == []


def test_no_matching_version_among_others(machine: Machine) -> None:
    """A requirement that no release fits does not stop the others, and has a verdict of its own."""
    done = machine.run(GOOD, "--spip-matrix=dated>7", project="no-match")
    assert done.outcomes[f"good[1.0-{LABEL}]"] == "passed", done.stderr
    assert len(done.outcomes) == 2


def test_unlisted_node_id_pastes_back(machine: Machine) -> None:
    """The node id of a package that is not listed, pasted back, tells the same again."""
    done = machine.run("spip::goood[unlisted-index]", project="paste", python="")
    assert "no project named 'goood'" in done.stdout + done.stderr
