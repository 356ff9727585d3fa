"""What a lock selects, and why it may be of no use."""

from __future__ import annotations

import pytest

from pytest_spip.errors import HarnessProblem, IndexProblem
from pytest_spip.provision.locks import selected
from tests.support.supply import python

HASH = 'hashes = { sha256 = "' + "0" * 64 + '" }'
URL = "https://files.example/"


def text(*packages: str, more: str = "") -> str:
    """Return a lock's text."""
    return "\n".join(
        ['lock-version = "1.0"', 'created-by = "tests"', more, *(f"[[packages]]\n{each}" for each in packages)]
    )


def offered(*names: str, more: str = "", hashes: str = HASH) -> str:
    """Return a package of a lock that offers some files."""
    wheels = [f'{{ url = "{URL}{name}", {hashes} }}' for name in names if name.endswith(".whl")]
    sdists = [f'sdist = {{ url = "{URL}{name}", {hashes} }}' for name in names if not name.endswith(".whl")]
    return "\n".join(
        ['name = "demo"', 'version = "1.0"', more, *sdists, f"wheels = [{', '.join(wheels)}]" if wheels else ""]
    )


PURE, OWN, OLD = (
    "demo-1.0-py3-none-any.whl",
    "demo-1.0-cp312-cp312-manylinux2014_x86_64.whl",
    "demo-1.0-cp27-cp27m-win32.whl",
)
BUILDS = [f"demo-1.0-{build}-py3-none-any.whl" for build in ("1", "10", "2", "9z")]


@pytest.mark.parametrize(
    ("lock", "taken"),
    [
        pytest.param(text(offered(PURE, OWN)), [("wheel", OWN)], id="best-wheel"),
        pytest.param(text(offered(*BUILDS, PURE)), [("wheel", BUILDS[1])], id="highest-build"),
        pytest.param(text(offered(PURE, *BUILDS[::-1])), [("wheel", BUILDS[1])], id="highest-build-in-any-order"),
        pytest.param(text(offered(*BUILDS, OWN)), [("wheel", OWN)], id="tag-before-build"),
        pytest.param(text(offered(OLD, "demo-1.0.tar.gz")), [("sdist", "demo-1.0.tar.gz")], id="sdist"),
        pytest.param(text(offered(PURE, more="marker = \"sys_platform == 'win32'\"")), [], id="marker"),
        pytest.param(
            text(offered(PURE, more="marker = \"python_version >= '3.12'\"")), [("wheel", PURE)], id="marker-holds"
        ),
        pytest.param(text(offered(PURE), more='requires-python = ">=3.12.1"'), [("wheel", PURE)], id="requires-python"),
        pytest.param(text(more="packages = []"), [], id="nothing"),
        pytest.param(
            text(f'name = "demo"\nversion = "1.0"\nwheels = [{{ name = "{PURE}", url = "{URL}get?id=7", {HASH} }}]'),
            [("wheel", PURE)],
            id="name-beside-address",
        ),
    ],
)
def test_selected(lock: str, taken: list[tuple[str, str]]) -> None:
    """Of each package that applies, the best wheel is selected, else the sdist."""
    assert taken == [(item.file.kind, item.file.filename) for item in selected(lock, python())]


@pytest.mark.parametrize(
    ("lock", "error", "told"),
    [
        pytest.param(
            text(offered(PURE, hashes="size = 1")), IndexProblem, "of the lock: what it lists cannot", id="no-hash"
        ),
        pytest.param(text(offered(OLD)), HarnessProblem, "does not fit py312: No wheel found", id="no-file-that-fits"),
        pytest.param(
            text(offered(PURE), more='requires-python = ">=3.13"'), HarnessProblem, "does not fit", id="python"
        ),
        pytest.param(
            text('name = "demo"\ndirectory = { path = "." }'),
            HarnessProblem,
            "neither a wheel nor an sdist",
            id="directory",
        ),
        pytest.param(text(offered(PURE), offered(PURE)), HarnessProblem, "Multiple packages", id="ambiguous"),
    ],
)
def test_lock_that_cannot_be_used(lock: str, error: type[Exception], told: str) -> None:
    """What cannot be checked is the index's fault, what does not fit is ours."""
    with pytest.raises(error, match=told):
        selected(lock, python())
