"""The documentation: what its commands and code do, in real runs against a local index."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.support.distributions import wheel
from tests.support.machine import LABEL, Done, Machine
from tests.support.markdown import blocks_of
from tests.support.paths import DOCS

COLOURS = 'class Fore:\n    RED = "\\x1b[31m"\n'


@pytest.fixture(scope="module")
def documented(make_machine: Callable[[], Machine]) -> tuple[Machine, Done]:
    """Run the tutorial's matrix with the guide's test functions, on an index that lists a small colorama."""
    machine = make_machine()
    for version in ("0.3", "0.4.5", "0.4.6"):
        wheel(machine.files, "colorama", version, {"colorama/__init__.py": f'{COLOURS}__version__ = "{version}"\n'})
    script = {"pygments.py": "def main(): print('Pygments version 2')\n"}
    wheel(machine.files, "pygments", "2.0", script, entry_points="[console_scripts]\npygmentize = pygments:main\n")
    page = DOCS / "how-to" / "test-functions.md"
    test, *_ = (block.text for block in blocks_of(page) if block.kind == "python")
    machine.project("project", {"tests/test_compat.py": test})
    return machine, machine.run("--spip-matrix=colorama", "tests/test_compat.py")


def test_guide_to_test_functions_works(documented: tuple[Machine, Done]) -> None:
    """Its tests pass beside the import of every release; the marked one runs where its marker says so."""
    _, done = documented
    assert done.status == 0, done.stdout
    assert done.outcomes == dict.fromkeys([f"colorama[{each}-{LABEL}]" for each in ("0.3", "0.4.5", "0.4.6")], "passed")
    assert "8 passed" in done.stdout


@pytest.fixture(scope="module")
def failing(documented: tuple[Machine, Done]) -> Done:
    """Run a release that fails and one that passes, and require the same project."""
    machine, _ = documented
    for version, code in (("1.0", "import colorama"), ("2.0", "import nowhere")):
        wheel(machine.files, "demo", version, {"demo.py": code}, requires=["colorama==0.4.6"])
    return machine.run("--spip-matrix=demo", project="failing")


def test_queries_of_the_run_database_work(failing: Done) -> None:
    """What the page asks the run database has an answer, and the views are those that the page lists."""
    page = DOCS / "reference" / "run-database.md"
    queries = [words[2] for block in blocks_of(page) if block.kind == "console" for words in block.commands]
    with contextlib.closing(sqlite3.connect(failing.project / ".spip" / "latest" / "run.sqlite")) as database:
        reasons, passes, tests, locked, phases, attempts = (database.execute(query).fetchall() for query in queries)
        listed = dict(re.findall(r"^\| `(v_\w+)` \| [^|]+ \| (.*) \|$", page.read_text("utf-8"), re.MULTILINE))
        for view, columns in listed.items():
            found = [column for column, *_ in database.execute(f"SELECT * FROM {view}").description]
            assert re.findall(r"`(\w+)`", columns) == found
        made = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'view'")}
    assert listed.keys() == made
    assert reasons == [("import-error", 1)]
    assert passes == [("demo", LABEL, 1, 2)]
    assert tests == []
    assert locked == [("colorama", "0.4.6", 1, 1), ("demo", "1.0", 1, 0), ("demo", "2.0", 0, 1)]
    assert {phase for phase, *_ in phases} >= {"resolve", "fetch", "compose", "run"}
    assert attempts == []


def test_code_for_notebooks_works(failing: Done) -> None:
    """The page's code, cell by cell in one session, prints what the run came to; so does that of the guide."""
    database, guide = (DOCS / page for page in ("reference/run-database.md", "how-to/read-runs.md"))
    cells = [block.text for block in blocks_of(database) if block.kind == "python"]
    guides = [block.text for block in blocks_of(guide) if block.kind == "python"]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join([*cells, *guides])],
        cwd=failing.project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    uuid = failing.report["run"]["uuid"]
    assert lines[0].startswith(uuid)
    assert sorted(lines[1:3]) == ["failed 1", "passed 1"]
    assert lines[3].startswith(f"{{'package': 'demo', 'version': '1.0', 'python': '{LABEL}', 'outcome': 'passed'")
    assert lines[4] == f"1 import-error: ModuleNotFoundError: No module named 'nowhere' demo[2.0-{LABEL}]"
    assert lines[5].startswith("demo[")


def test_tutorial_selects_and_pastes(documented: tuple[Machine, Done]) -> None:
    """The tutorial's last commands run one combination by its node id, and list what would run."""
    machine, _ = documented
    words = [words[1:] for block in blocks_of(DOCS / "tutorial" / "index.md") for words in block.commands][3:]
    pasted, listed, selected = ([word.replace("py312", LABEL) for word in each] for each in words)
    assert list(machine.run(*pasted).outcomes) == [f"colorama[0.4.6-{LABEL}]"]
    done = machine.run(*listed, *selected[1:])
    assert re.findall(r"^spip::.*", done.stdout, re.MULTILINE) == [
        f"spip::colorama[{each}-{LABEL}]" for each in ("0.3", "0.4.5", "0.4.6")
    ]
