"""Which Pythons there are, what they say of themselves, and which of them the user wants."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_spip.common.cache import Cache
from pytest_spip.errors import UsageProblem
from pytest_spip.model import Interpreter
from pytest_spip.plan.interpreters import discover, executables, parse_wanted, probe, real_program, select
from tests.support.interpreters import pythons
from tests.support.supply import python

HERE = os.path.realpath(sys.executable)
OTHERS = [path for path in pythons().values() if os.path.realpath(path) != HERE]

# -- what is wanted -----------------------------------------------------------------------------------------------------

FOUND = (
    python("3.7.16"),
    python("3.8.18"),
    python("3.11.2"),
    python("3.11.7"),
    python("3.12.1"),
    python("3.13.0"),
    python("3.13.0", flags="t"),
    python("3.14.0a1"),
    python("3.10.13", "pypy"),
)


def picked(text: str, found: Sequence[Interpreter] = FOUND) -> list[str]:
    """Return the labels of the interpreters selected."""
    return [one.label for one in select(found, parse_wanted(text))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", ["py38", "py311", "py312", "py313", "py314"], id="every-usual-cpython"),
        pytest.param("3.12", ["py312"], id="minor"),
        pytest.param("3.12.1", ["py312"], id="patch"),
        pytest.param("3.12.2", ["py312"], id="patch-that-is-missing"),
        pytest.param("3.14", ["py314"], id="pre-release"),
        pytest.param("cp3.12, python3.12,CPython-3.12,py3.12", ["py312"], id="spellings"),
        pytest.param("3.7", ["py37"], id="older-than-what-is-taken-unasked"),
        pytest.param("3.11-3.13", ["py311", "py312", "py313"], id="range"),
        pytest.param("3.12-3.12", ["py312"], id="range-of-one"),
        pytest.param("3.13t", ["py313t"], id="free-threaded"),
        pytest.param("3.13t-3.14t", ["py313t", "py314t"], id="free-threaded-range"),
        pytest.param("pypy3.10", ["pypy310"], id="pypy"),
        pytest.param("pypy3.9-3.10", ["pypy39", "pypy310"], id="pypy-range"),
        pytest.param("3.13,3.8,pypy3.10,3.13t", ["py38", "py313", "py313t", "pypy310"], id="order"),
        pytest.param("3.12,3.12.1", ["py312"], id="twice"),
        pytest.param("3.11.2,3.11", ["py3.11.2", "py3.11.7"], id="two-patch-releases"),
        pytest.param("3.13.0,3.13", ["py313"], id="the-same-patch-release"),
    ],
)
def test_wanted(text: str, expected: list[str]) -> None:
    """Interpreters are named by version, range, implementation and flags, and come oldest first."""
    assert expected == picked(text)


def test_newest_patch_release_is_taken() -> None:
    """Of several interpreters that fit, the newest patch release is taken, also when none is named."""
    for text in ("3.11", ""):
        chosen = {one.label: one.version for one in select(FOUND, parse_wanted(text))}
        assert chosen["py311"] == "3.11.7"


def test_two_of_pypy() -> None:
    """Two patch releases of one minor version of PyPy are told apart, and from CPython."""
    found = [python("3.10.13", "pypy"), python("3.10.14", "pypy"), python("3.10.13"), python("3.10.14")]
    labels = picked("pypy3.10.13,pypy3.10.14,3.10.13,3.10.14", found)
    assert labels == ["py3.10.13", "py3.10.14", "pypy3.10.13", "pypy3.10.14"]


def test_two_of_one_version(tmp_path: Path) -> None:
    """Two interpreters of one version are told apart where paths name them; what a version finds has the plain label."""
    paths = [tmp_path / name for name in ("first", "second", "third", "old")]
    for path in paths:
        path.write_bytes(b"\x7fELF")
        path.chmod(0o755)
    first, second, third, old = map(str, paths)
    found = [*FOUND, *(python("3.13.0", flags="t", path=path) for path in (first, second, third))]
    found += [python("3.13.1", flags="t", path=old)]
    chosen = select(found, parse_wanted(f"{third},{second},3.13,{second}"))
    assert [(one.label, one.path) for one in chosen[1:]] == [("py313t", third), ("py313t_2", second)]
    assert len({one.id for one in chosen}) == 3
    assert {one.library for one in chosen[1:]} == {"python3.13t"}
    assert picked(f"{first},{second},{old}", found) == ["py3.13.0t", "py3.13.0t_2", "py3.13.1t"]
    by_version = {one.label: one.path for one in select(found[:-1], parse_wanted(f"{second},3.13t"))}
    assert by_version == {"py313t": FOUND[6].path, "py313t_2": second}


def test_two_that_are_missing() -> None:
    """Interpreters that are not there are told apart too."""
    assert picked("/no/python,/no/other,3.12") == ["py00", "py00_2", "py312"]


@pytest.mark.parametrize(
    ("text", "label", "python"),
    [
        ("3.9", "py39", "3.9"),
        ("3.12t", "py312t", "3.12"),
        ("pypy3.11", "pypy311", "3.11"),
        ("/no/python", "py00", "0.0"),
    ],
)
def test_missing(text: str, label: str, python: str) -> None:
    """An interpreter that is wanted and not there is part of the run, with a problem that names it as the user did."""
    (missing,) = select(FOUND, parse_wanted(text))
    assert (missing.label, missing.path, missing.python) == (label, "", python)
    assert missing.problem == (f"{text} does not exist" if "/" in text else f"no interpreter {text} on this machine")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("three", "'three' names no interpreter; write 3.12, 3.9-3.13, pypy3.10, 3.14t or the path of an interpreter"),
        ("3", "'3' names no interpreter"),
        ("3.12x", "'3.12x' names no interpreter"),
        ("3.9,,jython2.7", "'jython2.7' names no interpreter"),
        ("3.13-3.9", "'3.13-3.9' is no range; write it like 3.9-3.13"),
        ("3.9-4.1", "'3.9-4.1' is no range"),
        ("3.9.1-3.11", "'3.9.1-3.11' is no range"),
        ("3.13-3.14t", "'3.13-3.14t' is no range"),
        ("3.13t-3.14", "'3.13t-3.14' is no range"),
        ("3.9-pypy3.10", "'3.9-pypy3.10' is no range"),
        ("3.6", "'3.6' is too old; name 3.7 or a later one"),
        ("2.7-3.8", "'2.7' is too old"),
    ],
)
def test_bad_wish(text: str, told: str) -> None:
    """A word that names no interpreter is refused in words that name the option and the fix."""
    with pytest.raises(UsageProblem) as problem:
        parse_wanted(text)
    assert str(problem.value).startswith(f"--spip-python: {told}")


# -- what is there ------------------------------------------------------------------------------------------------------


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """Make a directory for executables."""
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin"


def environ(path: Path, **more: str) -> dict[str, str]:
    """Return the environment of a person who has only what is on PATH, and what the machine has for all."""
    return {"HOME": str(path.parent), "PATH": str(path), **more}


def test_probe(cache: Cache) -> None:
    """An interpreter says what it is, as packaging and the markers call it."""
    one = probe(Path(sys.executable), cache)
    assert one is not None
    number = "{}{}".format(*sys.version_info[:2])
    assert (one.path, one.label, one.implementation, one.problem) == (HERE, f"py{number}", "cpython", "")
    assert one.version == "{}.{}.{}".format(*sys.version_info[:3])
    assert one.id.startswith(f"cpython-{one.version}-linux-")
    assert one.abis[0] == f"cp{number}"
    assert dict(one.markers)["python_version"] == one.python


@pytest.mark.parametrize("python", OTHERS, ids=str)
def test_probe_others(cache: Cache, python: Path) -> None:
    """Every other interpreter of the machine says what it is too."""
    one = probe(python, cache)
    assert one is not None
    assert one.path == os.path.realpath(python)
    assert f"{one.version}." in f"{python}/.".replace("/", ".")


def test_every_executable_once(room: Path) -> None:
    """However many names lead to an executable, it is one."""
    for name in ("python", "python3", "python3.12", "pypy3"):
        (room / name).symlink_to(HERE)
    (room / "python4").symlink_to(HERE)
    found = list(executables(environ(room, PATH=f"{room}:{room}")))
    assert found.count(Path(HERE)) == 1
    assert len(found) == len(set(found))


def test_shims_are_passed_over(cache: Cache, room: Path) -> None:
    """A script that chooses an interpreter is not that interpreter, found or named."""
    shim = room / "python3.12"
    shim.write_text(f'#!/bin/sh\nexec {HERE} "$@"\n')
    shim.chmod(0o755)
    assert probe(shim, cache) is None
    assert str(shim) not in [one.path for one in discover(environ(room), cache, [str(shim)])]
    assert picked(str(shim), discover(environ(room), cache, [str(shim)])) == ["py00"]


@pytest.mark.parametrize("kind", ["directory", "data", "dangling", "not-executable"])
def test_what_is_no_program(cache: Cache, room: Path, kind: str) -> None:
    """What only has an interpreter's name is passed over."""
    path = room / "python3"
    if kind == "directory":
        path.mkdir()
    elif kind == "dangling":
        path.symlink_to(room / "nowhere")
    else:
        path.write_bytes(b"\x7fELF")
        path.chmod(0o755 if kind == "data" else 0o644)
    assert str(path) not in [one.path for one in discover(environ(room), cache)]


def test_places(cache: Cache, tmp_path: Path) -> None:
    """Interpreters of pyenv, uv and mise are found without being on PATH, and so is the running one."""
    places = {
        "PYENV_ROOT": "pyenv/versions/3.12.1/bin",
        "UV_PYTHON_INSTALL_DIR": "uv/cpython-3.12.1-linux-x86_64-gnu/bin",
        "XDG_DATA_HOME": "data/mise/installs/python/3.12.1/bin",
    }
    for place in places.values():
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "python3.12").write_bytes(b"\x7fELF")
        (tmp_path / place / "python3.12").chmod(0o755)
    roots = {name: str(tmp_path / place.partition("/")[0]) for name, place in places.items()}
    found = list(executables({"HOME": str(tmp_path), **roots}))
    assert {tmp_path / place / "python3.12" for place in places.values()} | {Path(HERE)} <= set(found)


def venv(python: Path, target: Path, *options: str) -> Path:
    """Make a virtual environment and return its Python."""
    subprocess.run([python, "-m", "venv", "--without-pip", *options, target], check=True)
    return target / "bin" / "python"


@pytest.mark.parametrize("base", [Path(HERE), *OTHERS[:1]], ids=str)
@pytest.mark.parametrize("option", ["--symlinks", "--copies"])
def test_virtual_environments(cache: Cache, tmp_path: Path, base: Path, option: str) -> None:
    """A virtual environment leads to the interpreter it was made from, linked or copied, found or named."""
    made = venv(base, tmp_path / "venv", option)
    real = os.path.realpath(base)
    assert real_program(made) == real
    found = discover(environ(made.parent), cache, [str(made)])
    assert not any(one.path.startswith(str(tmp_path)) for one in found)
    (chosen,) = select(found, parse_wanted(str(made)))
    assert (chosen.path, chosen.problem) == (real, "")


def test_virtual_environment_whose_base_is_gone(cache: Cache, tmp_path: Path) -> None:
    """A virtual environment whose interpreter was removed is none."""
    copied = venv(Path(HERE), tmp_path / "venv", "--copies")
    (tmp_path / "venv" / "pyvenv.cfg").write_text("home = /gone/bin\n")
    assert real_program(copied) == ""
    assert probe(copied, cache) is None


@pytest.fixture
def own(room: Path) -> Path:
    """Return a copy of an interpreter, which works and is nobody else's."""
    shutil.copy(HERE, room / "my-own")
    return room / "my-own"


def test_interpreters_offered(cache: Cache, room: Path, own: Path) -> None:
    """A path that is offered is probed whatever its name, and one that is no interpreter does no harm."""
    found = {one.path for one in discover(environ(room), cache, [str(room / "missing"), str(own), "/bin/sh"])}
    assert str(own) in found
    assert not found & {str(room / "missing"), os.path.realpath("/bin/sh")}


def test_answers_are_cached(cache: Cache) -> None:
    """An executable is asked once; from then on what it said is known."""
    asked = probe(Path(HERE), cache)
    (kept,) = cache.interpreters.iterdir()
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"version": "3.99.0"}))
    known = probe(Path(HERE), cache)
    assert asked is not None
    assert known is not None
    assert (asked.path, "3.99.0") == (known.path, known.version)


def test_changed_executable_is_asked_again(cache: Cache, own: Path) -> None:
    """An executable that was replaced is asked again."""
    probe(own, cache)
    os.utime(own, (0, 0))
    probe(own, cache)
    assert len(list(cache.interpreters.iterdir())) == 2


def test_failures_are_not_cached(cache: Cache, room: Path) -> None:
    """An executable that does not answer is no interpreter today; that may be the machine's fault, and is not kept."""
    (room / "python3").write_bytes(b"\x7fELF")
    (room / "python3").chmod(0o755)
    assert probe(room / "python3", cache) is None
    assert not cache.interpreters.exists()


def test_ancient_pythons_are_asked_once(cache: Cache, room: Path) -> None:
    """A program that knows no isolated mode is no Python that we use, and that is kept until it changes."""
    shutil.copy("/usr/bin/sort", room / "python2")  # which takes no -I either
    assert probe(room / "python2", cache) is None
    (kept,) = cache.interpreters.iterdir()
    written = kept.stat().st_ino
    assert probe(room / "python2", cache) is None
    assert kept.stat().st_ino == written


def test_damaged_answer_is_asked_again(cache: Cache) -> None:
    """A kept answer that cannot be read is asked for again."""
    before = probe(Path(HERE), cache)
    (kept,) = cache.interpreters.iterdir()
    kept.write_text("{")
    assert probe(Path(HERE), cache) == before
