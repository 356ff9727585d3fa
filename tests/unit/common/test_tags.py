"""Which files of a release an interpreter accepts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from packaging.tags import sys_tags

from pytest_spip.common.cache import Cache
from pytest_spip.common.tags import accepts_python, best_wheel, is_new_enough, pick_file, supported_tags, usable_files
from pytest_spip.model import Interpreter
from pytest_spip.plan.interpreters import probe
from tests.support.supply import file, python

PURE = "demo-1.0-py3-none-any.whl"
OWN = "demo-1.0-cp312-cp312-manylinux_2_17_x86_64.whl"
STABLE = "demo-1.0-cp39-abi3-manylinux_2_17_x86_64.whl"
THREADS = "demo-1.0-cp313-cp313t-manylinux_2_17_x86_64.whl"
PYPY = "demo-1.0-pp310-pypy310_pp73-manylinux_2_17_x86_64.whl"
WINDOWS = "demo-1.0-cp312-cp312-win_amd64.whl"
OLD = "demo-1.0-py2-none-any.whl"
BUILDS = [f"demo-1.0-{build}-py3-none-any.whl" for build in ("1", "10", "2", "9z")]
SDIST = "demo-1.0.tar.gz"


@pytest.mark.parametrize(
    ("interpreter", "offered", "taken"),
    [
        pytest.param(python(), [PURE, OWN, STABLE], OWN, id="own-abi-first"),
        pytest.param(python(), [PURE, STABLE], STABLE, id="stable-abi-before-pure"),
        pytest.param(python(), [WINDOWS, OLD, PURE], PURE, id="other-platform-and-python-2-refused"),
        pytest.param(python("3.8.2"), [STABLE], None, id="stable-abi-of-a-later-python"),
        pytest.param(python("3.13.0"), [THREADS], None, id="free-threaded-abi-on-a-usual-build"),
        pytest.param(python("3.13.0", flags="t"), [THREADS, PURE], THREADS, id="free-threaded"),
        pytest.param(python("3.13.0", flags="t"), [STABLE], None, id="no-stable-abi-without-the-lock"),
        pytest.param(python("3.10.14", "pypy"), [OWN, PYPY, PURE], PYPY, id="pypy"),
        pytest.param(python("3.10.14", "pypy"), [STABLE, PURE], PURE, id="no-stable-abi-on-pypy"),
        pytest.param(python(), [*BUILDS, PURE], BUILDS[1], id="highest-build"),
        pytest.param(python(), [PURE, *BUILDS[::-1]], BUILDS[1], id="highest-build-in-any-order"),
        pytest.param(python(), [*BUILDS, OWN], OWN, id="tag-before-build"),
        pytest.param(python(), ["demo-1.0-broken.whl"], None, id="broken-filename"),
        pytest.param(python(), [], None, id="nothing"),
    ],
)
def test_best_wheel(interpreter: Interpreter, offered: list[str], taken: str | None) -> None:
    """Of the wheels that an interpreter accepts, the one with its favourite tag is taken."""
    best = best_wheel([file(name) for name in offered], interpreter)
    assert taken == (best and best.filename)


@pytest.mark.parametrize(
    ("offered", "taken"),
    [([SDIST, PURE], PURE), ([SDIST, WINDOWS], SDIST), ([WINDOWS], None), ([SDIST, "demo-1.0.zip"], SDIST)],
)
def test_pick_file(offered: list[str], taken: str | None) -> None:
    """A wheel is taken before an sdist, and an sdist before nothing."""
    picked = pick_file([file(name) for name in offered], python())
    assert taken == (picked and picked.filename)


@pytest.mark.parametrize(
    ("requires_python", "version", "accepted"),
    [
        ("", "3.12.1", True),
        (">=3.8", "3.12.1", True),
        (">=3.8", "3.7.16", False),
        (">=3.8,<3.12", "3.12.1", False),
        (">=3.8,<3.12", "3.11.9", True),
        ("<4", "3.12.1", True),
        ("!=3.12.*", "3.12.1", False),
        ("~=3.8", "3.12.1", True),
        (">3.12", "3.12.1", True),
        (">=3.12.2", "3.12.1", False),
        (">=3.15", "3.15.0a1", True),
        ("<3.15", "3.15.0rc1", False),
        ("3.8 or later", "3.7.1", True),
    ],
)
def test_requires_python(requires_python: str, version: str, accepted: bool) -> None:
    """Both bounds of Requires-Python count, for a pre-release as for the release it leads to; invalid ones do not."""
    assert accepted == accepts_python(requires_python, version)


def test_usable_files() -> None:
    """Each file is admitted by its own Requires-Python."""
    files = [file(PURE, requires_python=">=3.13"), file(SDIST, requires_python=">=3.8")]
    assert (files[1],) == usable_files(files, python())


def test_tags_of_the_running_interpreter(tmp_path: Path) -> None:
    """For the interpreter that packaging knows best, our tags are packaging's, in its order."""
    here = probe(Path(sys.executable), Cache(tmp_path))
    assert here is not None
    assert tuple(sys_tags()) == supported_tags(here)


@pytest.mark.parametrize(
    ("bounds", "enough"),
    [
        ("", True),
        (">=3.8,<3.10", True),
        ("!=3.12.*", True),
        (">=3.12", True),
        ("==3.6.*", True),
        (">3.12.1", False),
        (">=3.13", False),
        ("~=3.13", False),
        ("==3.13.*", False),
        ("nonsense", True),
    ],
)
def test_lower_bounds(bounds: str, enough: bool) -> None:
    """Of a dependency's Requires-Python only lower bounds count; what makes no sense is no bound."""
    assert is_new_enough(bounds, "3.12.1") == enough
