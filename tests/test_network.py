"""The main job on the real index; the rest of the tests need no network."""

from __future__ import annotations

import os
import urllib.error
import urllib.request

import pytest

from tests.support.machine import LABEL, Machine
from tests.support.oracle import PYPI

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


def test_index_of_another_day(machine: Machine) -> None:
    """--spip-exclude-newer shows the real index as it was, also to builds: no setuptools of 2014 builds for Pythons of today."""
    day = "--spip-exclude-newer=2014-12-31"
    done = machine.run("--spip-matrix=colorama", day, "--spip-versions=latest", env=REAL)
    assert done.cells == {f"colorama[0.3.2-{LABEL}]": ("failed", "build", "build-failed")}
    assert "setuptools" in done.combinations[f"colorama[0.3.2-{LABEL}]"]["detail"]
    assert done.report["run"]["exclude_newer"] == "2014-12-31T00:00:00Z"


def test_unknown_package(machine: Machine) -> None:
    """The real index, too, says of a package that it does not know it."""
    done = machine.run("--spip-matrix=colorama-that-nobody-wrote", env=REAL)
    assert (done.status, done.stdout) == (4, "")
    assert done.stderr.startswith(
        "ERROR: --spip-matrix: no project named 'colorama-that-nobody-wrote' on https://pypi.org"
    )
