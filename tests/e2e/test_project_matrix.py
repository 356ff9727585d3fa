"""End to end: a project's suite beside each release of a dependency, and releases' own suites."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import textwrap
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from pytest_spip.common.trees import remove_tree
from pytest_spip.run.levels import FORCE
from tests.conftest import MakeMachine
from tests.support.distributions import PYTEST_WHEELS, installed, project, sdist, suite_metadata, wheel
from tests.support.interpreters import pythons
from tests.support.machine import LABEL, VERSION, Done, Machine, eventually
from tests.support.ways import must_work

SUITE = """\
import os, pathlib, sys
import dep, mine, six

def test_installed():
    assert mine.__file__.startswith(sys.prefix)
    assert pathlib.Path("mine/__init__.py").exists()

def test_dep():
    assert mine.answer() == 42

def test_writes():
    pathlib.Path("tests/written").touch()
"""
MATRIX = "--spip-matrix=dep"


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:
    """List pytest and three releases of ``dep``: the first is too old for the project, the last breaks it."""
    machine = make_machine()
    for name in PYTEST_WHEELS:
        installed(machine.files, name)
    wheel(machine.files, "six", "1.0", {"six.py": ""})
    for version, answer in (("0.9", 42), ("1.0", 42), ("2.0", 43)):
        metadata = suite_metadata("dep", version)
        wheel(machine.files, "dep", version, {"dep/__init__.py": f"ANSWER = {answer}\n"})
        if version != "0.9":
            files = {
                "PKG-INFO": metadata,
                "dep/__init__.py": "",
                "dep/test_in.py": "import dep\n\ndef test_it():\n    dep.ANSWER\n",
            }
            sdist(machine.files, "dep", version, files)
    return machine


def write(machine: Machine, name: str, **options: object) -> Path:
    """Write the project into the machine's."""
    metadata = suite_metadata("mine", "1.0", "dep>=1", 'six; extra == "tests"', extras=["tests"])
    files = {
        "mine/__init__.py": "import dep\n\ndef answer():\n    return dep.ANSWER\n",
        "tests/test_mine.py": SUITE,
        "pytest.ini": "[pytest]\n",
        ".gitignore": ".spip\nreport.json\n",
    }
    given = {"installs": ["mine/__init__.py"], "metadata": metadata, **options}
    made = project(machine.root / "projects" / name, "mine", "1.0", files, **given)  # type: ignore[arg-type]  # passed on
    subprocess.run(["git", "init", "-q", str(made)], check=True)
    return made


def test_project_beside_each_release(machine: Machine) -> None:
    """The project's suite runs beside each release: one is refused by its own bound, one passes, one breaks a test."""
    made = write(machine, "extra_requirements")
    done = machine.run(MATRIX, "--spip-project=.", "--spip-report=junit:tests.xml", project="extra_requirements")
    assert done.cells == {
        f"dep[0.9-{LABEL}]": ("skipped", "resolve", "no-solution"),
        f"dep[1.0-{LABEL}]": ("passed", "test", None),
        f"dep[2.0-{LABEL}]": ("failed", "test", "test-failed"),
    }, done.stdout + done.stderr
    assert done.status == 1
    broken = done.combinations[f"dep[2.0-{LABEL}]"]
    assert "1 of 3 tests failed: tests/test_mine.py::test_dep" in broken["detail"]
    assert broken["locked"]["mine"] == "1.0"
    assert not (made / "tests" / "written").exists()
    root = ET.parse(made / "tests.xml").getroot()
    cases = {
        (suite.get("name"), case.get("classname"), case.get("name"), *(one.tag for one in case))
        for suite in root
        for case in suite.iter("testcase")
    }
    tests = {
        (name, f"{name}.tests.test_mine", test["id"].rpartition("::")[2], *(["failure"] if bad else []))
        for name, one in done.combinations.items()
        for test in one.get("tests", ())
        for bad in [test["outcome"] == "failed"]
    }
    assert len(tests) == 6
    assert cases == {*tests, (f"dep[0.9-{LABEL}]", "spip.dep", f"dep[0.9-{LABEL}]", "skipped")}
    assert [root.get(name) for name in ("tests", "failures", "skipped")] == ["7", "1", "1"]
    with contextlib.closing(sqlite3.connect(made / ".spip" / "latest" / "run.sqlite")) as database:
        rows = database.execute("SELECT id, test, outcome FROM v_tests WHERE outcome != 'passed'").fetchall()
    assert rows == [(f"dep[2.0-{LABEL}]", "tests/test_mine.py::test_dep", "failed")]


def test_project_in_workers(machine: Machine) -> None:
    """Workers judge as the session itself does, and a second run provisions nothing."""
    write(machine, "workers")
    first = machine.run(MATRIX, "--spip-project=.", "-n2", project="workers")
    second = machine.run(MATRIX, "--spip-project=.", "-n2", project="workers")
    assert list(first.outcomes.values()) == ["skipped", "passed", "failed"], first.stdout + first.stderr
    assert first.cells == second.cells
    prints = [[one["fingerprint"] for one in done.report["combinations"]] for done in (first, second)]
    assert prints[0] == prints[1]


def test_python_that_the_project_refuses(machine: Machine) -> None:
    """Interpreters that the project's Requires-Python refuses are skipped without work."""
    metadata = suite_metadata("mine", "1.0", requires_python="<3")
    write(machine, "refuses", metadata=metadata)
    done = machine.run(MATRIX, "--spip-project=.", "--spip-sandbox=off", project="refuses")
    assert {*done.cells.values()} == {("skipped", "plan", "requires-python")}, done.stderr
    assert "mine: Requires-Python <3" in done.combinations[f"dep[1.0-{LABEL}]"]["detail"]


def test_own_suites(machine: Machine) -> None:
    """A release's own suite runs against its wheel; a release without sdist is left out, and no import is looked into."""
    for path in machine.cache.glob("interpreters/closures-*"):
        path.unlink()
    done = machine.run(MATRIX, "--spip-check=suite", project="own")
    assert not list(machine.cache.glob("interpreters/closures-*"))
    assert done.cells == {
        f"dep[0.9-{LABEL}]": ("skipped", "plan", "excluded"),
        f"dep[1.0-{LABEL}]": ("passed", "test", None),
        f"dep[2.0-{LABEL}]": ("passed", "test", None),
    }, done.stdout + done.stderr


def test_suites_that_are_installed(machine: Machine) -> None:
    """The tests of an sdist are run, beside the package and in it; where there are none, those that the wheel installs."""
    test = {"deep/tests/test_in.py": "import deep\n\ndef test_it(): assert deep.__file__\n"}
    brought: dict[str, dict[str, str]] = {
        "1.0": {},
        "2.0": test,
        "3.0": {**test, "tests/test_beside.py": "def test_beside(): pass\n"},
    }
    for version, more in brought.items():
        package = {"deep/__init__.py": ""}
        wheel(machine.files, "deep", version, {**package, **test})
        sdist(machine.files, "deep", version, {"PKG-INFO": suite_metadata("deep", version), **package, **more})
    done = machine.run("--spip-matrix=deep", "--spip-check=suite", "-n0", project="deep")
    again = machine.run("--spip-matrix=deep", "--spip-check=suite", "-n2", project="deep")
    tests = [[test["id"] for test in one["tests"]] for one in done.combinations.values()]
    inside = "deep/tests/test_in.py::test_it"
    assert tests == [["tests/test_in.py::test_it"], [inside], [inside, "tests/test_beside.py::test_beside"]], (
        done.stdout
    )
    assert done.cells == again.cells
    assert {*done.cells.values()} == {("passed", "test", None)}


WHOLE = {
    "pytest.ini": """
        [pytest]
        addopts = --doctest-modules
        testpaths = src tests
        python_files = check_*.py
    """,
    "src/whole/__init__.py": """
        from whole._made import BUILT
        def double(x):
            '''
            >>> double(2)
            4
            '''
            return 2 * x
    """,
    "src/whole/_made.py": "raise ImportError('not built')",
    "src/whole/test_tools.py": "def test_helper(): raise SystemExit",
    "src/whole/data/a.txt": "a",
    "src/whole/tests/__init__.py": "",
    "src/whole/tests/check_in.py": """
        import whole._made, whole._generated
        def test_in(): assert whole._made.BUILT and whole._generated.MADE
    """,
    "tests/check_out.py": """
        import os, pathlib, sys
        HERE = pathlib.Path(__file__).parent
        def test_link():
            os.link(HERE / "../docs/index.md", HERE / "linked")
            assert os.path.samefile(HERE / "../docs/index.md", HERE / "linked")
        def test_rename():
            os.rename(HERE / "../docs", HERE / "../moved")
            os.rename(HERE / "../moved", HERE / "../docs")
        def test_sources(): assert "double" in (HERE.parent / "src/whole/__init__.py").read_text()
        def test_data(): assert (HERE / "../src/whole/data/a.txt").read_text() == "a"
        def test_docs(): assert (HERE / "../docs/index.md").read_text() == "docs"
    """,
    "docs/index.md": "docs",
}
ABOVE = {
    "pytest.ini": "[pytest]\nxfail_strict = true\n",
    "conftest.py": "import pytest\n@pytest.fixture\ndef shared(): return 42\n",
    "docs/index.md": "docs",
}
BELOW = """
    import os, pathlib, pytest
    def test_shared(shared): assert shared == 42
    @pytest.mark.xfail
    def test_strict(): pass
    def test_docs(): assert pathlib.Path("../docs/index.md").read_text() == "docs"
    def test_place(): assert os.getcwd().endswith("/mono/pkg")
"""


def outcomes_of(done: Done) -> dict[str, str]:
    """Return the outcomes of the tests of the only combination."""
    (one,) = done.combinations.values()
    return {test["id"]: test["outcome"] for test in one.get("tests", ())}


def test_whole_checkout(machine: Machine) -> None:
    """Tests and doctests in packages and beside them are run, read the sources, and import what the wheel built."""
    sources = ["src/whole/__init__.py", "src/whole/_made.py", "src/whole/test_tools.py"]
    built = {"whole/_made.py": "BUILT = True\n", "whole/_generated.py": "MADE = True\n"}
    files = {path: textwrap.dedent(text) for path, text in WHOLE.items()}
    root = machine.root / "projects" / "whole"
    project(root, "whole", "1.0", files, installs=sources, strips="src/", generates=built)
    done = machine.run(MATRIX + "==1.0", "--spip-project=.", "-n0", project="whole")
    inside, outside = "src/whole/tests/check_in.py::test_in", "tests/check_out.py::test_"
    wanted = [f"{outside}{name}" for name in ("link", "rename", "sources", "data", "docs")]
    wanted += ["src/whole/__init__.py::whole.double", inside]
    assert outcomes_of(done) == dict.fromkeys(wanted, "passed"), done.stdout


@pytest.mark.parametrize("level", ["", "1"])
def test_below_its_repository(machine: Machine, level: str) -> None:
    """Settings, conftests and files above a project apply as in a whole checkout, and node ids begin at its root."""
    root = machine.root / "projects" / f"mono{level}" / "mono"
    files = {"below.py": "", "tests/test_it.py": textwrap.dedent(BELOW)}
    project(root / "pkg", "below", "1.0", files, installs=["below.py"])
    for path, text in ABOVE.items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(text)
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    env = {FORCE: level} if level else {}
    done = machine.run(MATRIX + "==1.0", "--spip-project=.", "-n0", project=f"mono{level}/mono/pkg", env=env)
    wanted = {"shared": "passed", "strict": "failed", "docs": "passed", "place": "passed"}
    found = {f"pkg/tests/test_it.py::test_{name}": outcome for name, outcome in wanted.items()}
    assert outcomes_of(done) == found, done.stdout


def test_what_the_user_adds(machine: Machine) -> None:
    """What the user adds is there, for an import too."""
    done = machine.run("--spip-matrix=dep==1.0", "--spip-with=six", project="adds")
    assert done.combinations[f"dep[1.0-{LABEL}]"]["locked"] == {"dep": "1.0", "six": "1.0"}, done.stderr


MISCHIEF: dict[str, tuple[str, tuple[str, str, str | None], str]] = {
    "none": ("pass", ("passed", "test", None), "2 passed"),
    "hangs": ("time.sleep(1000)", ("killed", "test", "timeout"), "no end after 7 s in tests/test_it.py::test_it"),
    "leaves": ("subprocess.Popen(['sleep', '1000'], start_new_session=True)", ("passed", "test", None), "2 passed"),
    "fills": (
        "os.posix_fallocate(os.open(path, os.O_CREAT | os.O_WRONLY), 0, 2 << 30)",
        ("killed", "test", "environment-full"),
        "(limit 1024 MiB",
    ),
    "kills": (
        "os.system('kill -9 -1')",
        ("crashed", "test", "SIGKILL"),
        "in tests/test_it.py::test_it",
    ),
    "calls": (
        "socket.create_connection(('example.invalid', 80))",
        ("failed", "test", "test-failed"),
        "there is no network in the sandbox; --spip-network opens it",
    ),
    "leaves-early": ("os._exit(0)", ("crashed", "test", "silent-exit"), "exit status 0 in the middle of"),
    "still-none": ("pass", ("passed", "test", None), "2 passed"),
}
"""By release of a dependency: what a project's test does with it, the verdict, and a part of its detail."""


def test_suites_that_do_mischief(machine: Machine) -> None:
    """Suites that hang, leave daemons, fill the disk, kill and call out get a reason each; others are as if there were none."""
    must_work(3)
    for number, (what, _, _) in enumerate(MISCHIEF.values()):
        wheel(machine.files, "odd", str(number), {"odd.py": f"what = {what!r}\n"})
    text = "import os, socket, subprocess, time\nimport odd\ndef test_first(): pass\ndef test_it(tmp_path):\n"
    files = {
        "tests/test_it.py": f"{text}    path = tmp_path / 'big'\n    exec(odd.what)\n",
        ".gitignore": ".spip\n*.json\n",
    }
    metadata = suite_metadata("mischief", "1.0", "odd")
    project(machine.root / "projects" / "mischief", "mischief", "1.0", files, installs=[], metadata=metadata)
    done = machine.run("--spip-matrix=odd", "--spip-project=.", "--spip-timeout=7", "-n2", project="mischief")
    ids = {name: f"odd[{number}-{LABEL}]" for number, name in enumerate(MISCHIEF)}
    found = {name: done.cells[ids[name]] for name in MISCHIEF}
    assert found == {name: cell for name, (_, cell, _) in MISCHIEF.items()}, done.stdout
    details = {name: done.combinations[ids[name]]["detail"] for name in MISCHIEF}
    assert [name for name, (_, _, told) in MISCHIEF.items() if told not in details[name]] == [], details
    assert eventually(lambda: machine.worktrees() == [], 10.0)  # they are removed in the background
    assert eventually(lambda: not machine.processes()), machine.processes()


BAD: dict[str, tuple[dict[str, object], list[str], str]] = {
    "unpacked": ({"unpacked": "no such header"}, [], "builds no sdist (RuntimeError: no such header)"),
    "extra": ({}, ["--spip-extras=docs"], "--spip-extras: there is no extra 'docs'; there are tests"),
    "group": ({}, ["--spip-groups=docs"], "--spip-groups: there is no group 'docs'; there are none"),
    "twin": ({}, ["--spip-matrix=mine"], "--spip-project: mine is what the matrix varies"),
    "url": ({}, ["--spip-with=x @ file:///x"], "--spip-with: 'x @ file:///x' is a URL"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_projects(machine: Machine, name: str) -> None:
    """What is wrong with a project is one line, with status 4, before anything is created."""
    options, arguments, told = BAD[name]
    wheel(machine.files, "mine", "0.1", {"mine.py": ""})
    made = write(machine, name, **options)
    done = machine.run(MATRIX, "--spip-project=.", *arguments, project=name)
    assert (done.status, done.stdout) == (4, "")
    (line,) = [line for line in done.stderr.splitlines() if line.strip()]
    assert told in line
    assert not (made / ".spip").exists()


def interrupted(machine: Machine, name: str) -> Path:
    """Begin a run with a project that ends before its last combination; return the project's directory."""
    made = write(machine, name)
    newest_first = ["--spip-matrix=dep==2.0", MATRIX]
    first = machine.run(*newest_first, "--spip-project=.", "-x", project=name)
    assert (first.status, list(first.outcomes.values())) == (1, ["failed"]), first.stdout + first.stderr
    return made


def test_resume(machine: Machine) -> None:
    """A run goes on with the project that it began with, whatever became of its directory."""
    made = interrupted(machine, "resume")
    (made / "tests" / "test_mine.py").write_text("def test_other():\n    raise ValueError\n")
    done = machine.run("--spip-resume", project="resume", python="")
    assert sorted(done.outcomes.values()) == ["failed", "passed", "skipped"], done.stdout + done.stderr


def test_resume_without_the_project(machine: Machine) -> None:
    """A run whose project left the cache cannot go on."""
    interrupted(machine, "lost")
    remove_tree(machine.cache / "trees")
    done = machine.run("--spip-resume", project="lost", python="")
    assert done.status == 4
    assert "left the cache" in done.stderr


def test_sdist_whichever_pythons_are_planned(machine: Machine) -> None:
    """The project's sdist is the same whichever Pythons are planned: none of them packs it."""
    made = write(machine, "packed")
    packer = machine.root / "packer"
    backend = (made / "backend.py").read_text()
    noted = f"    open({str(packer)!r}, 'a').write('%d.%d ' % sys.version_info[:2])\n"
    head, _, rest = backend.partition("def build_sdist(")
    first, _, body = rest.partition("\n")
    (made / "backend.py").write_text(f"{head}def build_sdist({first}\n{noted}{body}")
    for python in [version for version in pythons() if version != VERSION][-2:]:
        machine.run(MATRIX, "--spip-project=.", "--collect-only", project="packed", python=python)
    assert packer.read_text().split() == [VERSION, VERSION]


def test_listing(machine: Machine) -> None:
    """A plan can be listed with a project, and nothing is created."""
    made = write(machine, "listing")
    done = machine.run(MATRIX, "--spip-project=.", "--collect-only", "-q", project="listing")
    assert (done.status, f"spip::dep[1.0-{LABEL}]" in done.stdout) == (0, True), done.stderr
    assert not (made / ".spip").exists()
