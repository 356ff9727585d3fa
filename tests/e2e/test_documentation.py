"""The documentation: what its commands and code do, in real runs against a local index."""

from __future__ import annotations

import re
import sqlite3
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


def test_queries_of_the_run_database_work(documented: tuple[Machine, Done]) -> None:
    """What the page on files asks the run database has an answer."""
    _, done = documented
    queries = [words[2] for block in blocks_of(DOCS / "reference" / "files.md") for words in block.commands]
    with sqlite3.connect(done.project / ".spip" / "latest" / "run.sqlite") as database:
        phases, failures = (database.execute(query).fetchall() for query in queries)
    assert {phase for phase, *_ in phases} >= {"resolve", "fetch", "compose", "run"}
    assert failures == []


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
