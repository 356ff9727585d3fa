"""The main job on the real index; the rest of the tests need no network."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import urllib.error
import urllib.request

import pytest

from tests.support.machine import LABEL, Machine
from tests.support.oracle import PYPI
from tests.support.paths import EXAMPLES

pytestmark = pytest.mark.network

REAL = {"UV_DEFAULT_INDEX": PYPI}


@pytest.fixture(scope="module", autouse=True)
def reachable() -> None:
    """Skip where the real index cannot be reached, unless it must be."""
    if os.environ.get("SPIP_MUST_WORK") == "1":
        return
    request = urllib.request.Request(f"{PYPI}colorama/", method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=10).close()
    except (urllib.error.URLError, TimeoutError) as error:
        pytest.skip(f"{PYPI} cannot be reached: {error}")


def test_latest_colorama(machine: Machine) -> None:
    """The newest colorama works on the running Python, and its wheel comes with its hash from the real index."""
    done = machine.run("--spip-matrix=colorama", "--spip-versions=latest", "-n2", env=REAL)
    (cell,) = done.combinations.values()
    assert done.status == 0, done.stdout
    assert (cell["outcome"], cell["locked"]) == ("passed", {"colorama": cell["version"]})
    assert done.report["summary"]["work"] == {"resolved": 1, "downloaded": 1, "built": 0, "filed": 1}


def test_grid_of_the_readme(machine: Machine) -> None:
    """Each release of colorama comes to what the grid in the README shows, on the running Python."""
    text = (EXAMPLES.parent / "README.md").read_text("utf-8")
    grid = re.search(r"^colorama .*?(?=^ok passed)", text, re.MULTILINE | re.DOTALL)
    assert grid, "the README shows another package"
    day = "--spip-exclude-newer=2026-11-01"  # the rows name the newest release of then
    done = machine.finish(machine.start("--spip-matrix=colorama", day, "-n2", env=REAL), timeout=300)
    printed = done.stdout[done.stdout.index("\ncolorama ") :].splitlines()[2 : 2 + grid[0].count("\n") - 1]
    shown = grid[0].splitlines()[1:]
    assert [re.split(" {2,}", line)[:2] for line in printed] == [re.split(" {2,}", line)[:2] for line in shown]


def test_index_of_another_day(machine: Machine) -> None:
    """--spip-exclude-newer shows the real index as it was, also to builds: no setuptools of 2014 builds for Pythons of today."""
    day = "--spip-exclude-newer=2014-12-31"
    done = machine.run("--spip-matrix=colorama", day, "--spip-versions=latest", env=REAL)
    assert done.cells == {f"colorama[0.3.2-{LABEL}]": ("failed", "build", "build-failed")}
    assert "setuptools" in done.combinations[f"colorama[0.3.2-{LABEL}]"]["detail"]
    assert done.report["run"]["exclude_newer"] == "2015-01-01T00:00:00Z"  # that day included, as by uv


def test_unknown_package(machine: Machine) -> None:
    """The real index, too, says of a package that it does not know it."""
    done = machine.run("--spip-matrix=colorama-that-nobody-wrote", env=REAL)
    assert (done.status, done.stdout) == (4, "")
    assert done.stderr.startswith(
        "ERROR: --spip-matrix: no project named 'colorama-that-nobody-wrote' on https://pypi.org"
    )


def test_the_example_breaks_with_the_right_releases(machine: Machine) -> None:
    """Of the example's 30 tests one fails with click 7, two fail with an old tabulate, and all pass with what came later."""
    shutil.copytree(EXAMPLES / "tally", machine.project_path("tally"))
    clicks, tables = "--spip-matrix=click>=7,<8.2", "--spip-matrix=tabulate>=0.8.9,<0.8.10"
    done = machine.run(
        clicks, tables, "--spip-project=.", "--spip-versions=minor", "-n2", "--spip", project="tally", env=REAL
    )
    failed = {
        name: [test["id"].partition("::")[2] for test in one["tests"] if test["outcome"] == "failed"]
        for name, one in done.combinations.items()
    }
    old = ["test_completion"]
    assert failed == {
        **{f"click[{version}-{LABEL}]": old for version in ("7.0", "7.1.2")},
        **{f"click[{version}-{LABEL}]": [] for version in ("8.0.4", "8.1.8")},
        f"tabulate[0.8.9-{LABEL}]": ["test_narrow[10]", "test_narrow[12]"],
    }, done.stdout
    assert {len(one["tests"]) for one in done.combinations.values()} == {30}


@pytest.mark.parametrize("name", ["github.yml", "gitlab.yml"])
def test_the_jobs_commands_run(machine: Machine, name: str) -> None:
    """What the example jobs run ends well beside the newest release, and leaves the files that the jobs keep."""
    shutil.copytree(EXAMPLES / "tally", machine.project_path(name))
    text = (EXAMPLES / "ci" / name).read_text()
    (command,) = re.findall(r"^ +pytest (--spip-matrix.*?json:compat\.json)$", text, re.MULTILINE | re.DOTALL)
    words = [word for word in shlex.split(command) if not word.startswith("--spip-cache")]
    done = machine.run(*words, "--spip-versions=latest", project=name, env=REAL)
    assert done.status == 0, done.stdout + done.stderr
    assert 'tests="1"' in (done.project / "compat.xml").read_text()
    assert '"passed": 1' in (done.project / "compat.json").read_text()
