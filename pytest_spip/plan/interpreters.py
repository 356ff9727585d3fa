"""Which Pythons this machine has: PATH, pyenv, uv and the usual places; probed once, cached by executable."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from packaging.tags import platform_tags
from packaging.version import Version

from pytest_spip.common.cache import Cache
from pytest_spip.common.processes import run_program
from pytest_spip.common.trees import replace_text
from pytest_spip.errors import UsageProblem
from pytest_spip.model import NTH, Interpreter, digest

__all__ = ["Wanted", "discover", "executables", "id_apart", "parse_wanted", "select"]

OLDEST = (3, 8)
"""Taken without being named; 3.7 runs when it is asked for, as far as it goes."""
OLDEST_NAMED = (3, 7)
PROBE = Path(__file__).with_name("probe.py")
PROBE_VERSION = 3
ANSWER = 10.0
"""Seconds that an interpreter has to say what it is."""
UNISOLATED = re.compile(rb".*\boption\b.*\bI\b")
"""How a program answers that has no isolated mode, such as Python 2: that does not change with the machine's load."""
_NAME = re.compile(r"(?:python|pypy)(?:3(?:\.\d+)?)?(?:t|d|td|-dbg)?$")
_SPEC = re.compile(
    r"(?P<kind>cpython|cp|python|py|pypy|pp)?-?(?P<version>\d+\.\d+(?:\.\d+)?)(?P<flags>t?d?)$", re.IGNORECASE
)


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """One interpreter as ``--spip-python`` names it: a path, or implementation, version prefix and flags."""

    text: str
    path: str = ""
    implementation: str = "cpython"
    version: str = ""
    flags: str = ""

    def matches(self, interpreter: Interpreter) -> bool:
        """Return True if an interpreter is the one asked for."""
        if self.path:
            return real_program(self.path) == interpreter.path
        same = f"{interpreter.version}.".startswith(f"{self.version}.")
        return same and interpreter.implementation == self.implementation and _flags(interpreter) == self.flags


def parse_wanted(text: str) -> tuple[Wanted, ...]:
    """Parse ``3.9,3.11-3.13,pypy3.10,3.14t,/path``; raises ``UsageProblem`` for a word it does not know."""
    return tuple(itertools.chain.from_iterable(_parse_word(word.strip()) for word in text.split(",") if word.strip()))


def _parse_word(word: str) -> Iterator[Wanted]:
    if "/" in word or word.startswith("~"):
        yield Wanted(word, path=os.path.expanduser(word))
        return
    first, dash, last = word.partition("-")
    if dash and _SPEC.match(first) and _SPEC.match(last):
        yield from _parse_range(word, first, last)
        return
    found = _SPEC.match(word)
    if found is None:
        fix = "write 3.12, 3.9-3.13, pypy3.10, 3.14t or the path of an interpreter"
        raise UsageProblem("--spip-python", f"{word!r} names no interpreter", fix)
    pypy = (found["kind"] or "").lower() in {"pypy", "pp"}
    wanted = Wanted(word, "", "pypy" if pypy else "cpython", found["version"], found["flags"].lower())
    if _numbers(wanted) < OLDEST_NAMED:
        oldest = "{}.{}".format(*OLDEST_NAMED)
        raise UsageProblem("--spip-python", f"{word!r} is too old", f"name {oldest} or a later one")
    yield wanted


def _numbers(wanted: Wanted) -> tuple[int, ...]:
    return tuple(int(part) for part in wanted.version.split("."))


def _parse_range(word: str, first: str, last: str) -> Iterator[Wanted]:
    (low,), (high,) = _parse_word(first), _parse_word(last)
    start, stop = _numbers(low), _numbers(high)
    alike = low.flags == high.flags and high.implementation in {"cpython", low.implementation}
    if not alike or start[0] != stop[0] or start[1] > stop[1] or len(start) + len(stop) != 4:
        raise UsageProblem("--spip-python", f"{word!r} is no range", "write it like 3.9-3.13")
    for minor in range(start[1], stop[1] + 1):
        version = f"{start[0]}.{minor}"
        yield dataclasses.replace(low, text=low.text.replace(low.version, version), version=version)


def select(found: Sequence[Interpreter], wanted: Sequence[Wanted]) -> tuple[Interpreter, ...]:
    """Return the interpreters of a run, oldest first; without wishes, one per supported CPython minor version.

    Of several that fit, the newest patch release is taken. What is missing is returned as an interpreter with a problem.
    Two of one version, which only paths can name, are two interpreters of the run.
    """
    if not wanted:
        plain = [one for one in found if one.implementation == "cpython" and not _flags(one) and one.minor >= OLDEST]
        chosen = [
            _newest(group)
            for _, group in itertools.groupby(sorted(plain, key=lambda one: one.minor), key=lambda one: one.minor)
        ]
        return tuple(chosen)
    picked: dict[str, Interpreter] = {}
    # Versions first: a plain label is the one that a version alone finds again.
    for wanted_one in sorted(wanted, key=lambda wanted_one: bool(wanted_one.path)):
        fit = [one for one in found if wanted_one.matches(one)]
        interpreter = _newest(fit) if fit else _missing(wanted_one)
        picked.setdefault(interpreter.path or interpreter.id, interpreter)
    return _unambiguous(sorted(picked.values(), key=_order))


def _newest(group: Iterable[Interpreter]) -> Interpreter:
    return max(group, key=lambda one: Version(one.version))


def _order(interpreter: Interpreter) -> tuple[object, ...]:
    return (interpreter.implementation, interpreter.minor, _flags(interpreter), Version(interpreter.version))


def _unambiguous(interpreters: Sequence[Interpreter]) -> tuple[Interpreter, ...]:
    """Give two patch releases of one minor version labels that tell them apart, ``py3.11.2``, and number those of one version."""
    versions: dict[str, set[str]] = {}
    for one in interpreters:
        versions.setdefault(one.label, set()).add(one.version)
    named = [
        dataclasses.replace(one, label=f"{_kind(one.implementation)}{one.version}{_flags(one)}")
        if len(versions[one.label]) > 1
        else one
        for one in interpreters
    ]
    met: dict[str, int] = {}
    return tuple(_numbered(one, met) for one in named)


def _numbered(one: Interpreter, met: dict[str, int]) -> Interpreter:
    """Return an interpreter apart from those of its label that were ``met`` before: ``py312_2``."""
    number = met[one.label] = met.get(one.label, 0) + 1
    if number == 1:
        return one
    return dataclasses.replace(one, id=id_apart(one) if one.path else one.id, label=f"{one.label}{NTH}{number}")


def id_apart(interpreter: Interpreter) -> str:
    """Return the id of a further interpreter of one version: its path is part of it."""
    return f"{interpreter.id}-{digest(interpreter.path)[:8]}"


def _missing(wanted_one: Wanted) -> Interpreter:
    version = wanted_one.version or "0.0"
    label = _label(wanted_one.implementation, version, wanted_one.flags)
    problem = _explain(wanted_one.path) if wanted_one.path else f"no interpreter {wanted_one.text} on this machine"
    return Interpreter(f"missing-{wanted_one.text}", label, version, wanted_one.implementation, "", problem=problem)


def _explain(path: str) -> str:
    """Return what stands at a path that a person named, where that is no interpreter that can be taken."""
    if not os.path.exists(path):
        return f"{path} does not exist"
    if os.path.isdir(path):
        inner = os.path.join(path, "bin", "python")
        return f"{path} is a directory" + (f"; name the program in it: {inner}" if os.path.exists(inner) else "")
    if not os.access(path, os.X_OK):
        return f"{path} is a file that cannot be executed"
    if not (real := real_program(path)):
        return f"{path} is a script, such as a shim, and no interpreter; name the program that it starts"
    facts = _ask(real)
    if "version" in facts:
        oldest = "{}.{}".format(*OLDEST_NAMED)
        return f"{path} is {facts.get('implementation')} {facts['version']}; the oldest that can be tried is {oldest}"
    return f"{path} is a program, but does not answer as a Python of 3.7 or later: {_last_line(real)}"


def _last_line(path: str) -> str:
    """Return what a program says when it is asked for its version."""
    try:
        done = run_program([path, "--version"], timeout=5, environment={})
    except subprocess.TimeoutExpired:
        return "it does not end"
    except OSError as error:
        return str(error.strerror)
    said = (done.stdout + done.stderr).decode("utf-8", "replace").strip().splitlines()
    return (said or [f"it ends with status {done.returncode}"])[-1]


def _label(implementation: str, version: str, flags: str) -> str:
    major, minor = version.split(".")[:2]
    return f"{_kind(implementation)}{major}{minor}{flags}"


def _kind(implementation: str) -> str:
    return "pypy" if implementation == "pypy" else "py"


def _flags(interpreter: Interpreter) -> str:
    return interpreter.label.lstrip("py").lstrip("0123456789.")


# -- looking ------------------------------------------------------------------------------------------------------------


def executables(environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield real executables that may be interpreters, each once. Scripts such as pyenv's shims are passed over."""
    found = (real_program(path) for directory in _directories(environ) for path in _interpreters_in(directory))
    yield from map(Path, dict.fromkeys(filter(None, found)))


def real_program(path: str | Path) -> str:
    """Follow links, and the virtual environment that holds a copy, to an interpreter; nothing where there is none.

    A virtual environment names the directory it was made from (PEP 405, ``home``); not every Python says which that is.
    """
    real = os.path.realpath(path)
    if home := _home(real):
        candidates = [
            os.path.realpath(os.path.join(home, name)) for name in (os.path.basename(real), "python3", "python")
        ]
        return next((found for found in candidates if _is_program(found)), "")
    return real if _is_program(real) else ""


def _home(real: str) -> str:
    try:
        lines = Path(real).parents[1].joinpath("pyvenv.cfg").read_text("utf-8").splitlines()
    except (OSError, ValueError, IndexError):
        return ""
    settings = {key.strip().lower(): value.strip() for key, _, value in (line.partition("=") for line in lines)}
    home = settings.get("home", "")
    return "" if home == os.path.dirname(real) else home


def _entries(tree: Path) -> Sequence[Path]:
    """Return what lies in a directory; one that cannot be read, such as another user's, holds nothing for us."""
    try:
        return sorted(tree.iterdir())
    except OSError:
        return ()


def _directories(environ: Mapping[str, str]) -> Iterator[Path]:
    home = Path(environ.get("HOME") or Path.home())
    data_home = Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    trees = [
        Path(environ.get("PYENV_ROOT") or home / ".pyenv") / "versions",
        Path(environ.get("UV_PYTHON_INSTALL_DIR") or data_home / "uv" / "python"),
        home / ".asdf" / "installs" / "python",
        data_home / "mise" / "installs" / "python",
        Path("/opt/python"),
        Path("/Library/Frameworks/Python.framework/Versions"),
    ]
    yield from (Path(part) for part in environ.get("PATH", "").split(os.pathsep) if part)
    yield from (entry / "bin" for tree in trees for entry in _entries(tree))
    yield from (Path(place) for place in ("/usr/local/bin", "/usr/bin", "/opt/homebrew/bin"))
    yield Path(sys.executable).parent


def _interpreters_in(directory: Path) -> list[Path]:
    try:
        names = [entry.name for entry in os.scandir(directory) if _NAME.match(entry.name)]
    except OSError:
        return []
    return [directory / name for name in sorted(names)]


def _is_program(path: str) -> bool:
    """A shim is a shell script that chooses an interpreter by rules of its own: it is not that interpreter."""
    if not os.path.isfile(path):  # a pipe would be waited for
        return False
    try:
        with open(path, "rb") as stream:
            return os.access(path, os.X_OK) and stream.read(2) != b"#!"
    except OSError:
        return False


def discover(environ: Mapping[str, str], cache: Cache, extra: Iterable[str] = ()) -> tuple[Interpreter, ...]:
    """Probe every executable found, and ``extra`` paths, in parallel; deduplicate by real executable."""
    named = (Path(real) for path in extra if (real := real_program(path)))
    paths = dict.fromkeys((*executables(environ), *named))
    with concurrent.futures.ThreadPoolExecutor(max_workers=8) as pool:
        probed = pool.map(lambda path: probe(path, cache), paths)
        return tuple(one for one in probed if one is not None and one.minor >= OLDEST_NAMED)


def probe(path: Path, cache: Cache) -> Interpreter | None:
    """Ask the executable behind a path what it is; None when it cannot say. Cached until the executable changes."""
    real = real_program(path)
    if not real:
        return None
    state = os.stat(real)
    kept = cache.interpreters / f"{digest(real, state.st_mtime_ns, state.st_size, PROBE_VERSION)[:32]}.json"
    try:
        facts = json.loads(kept.read_text("utf-8"))
    except (OSError, ValueError):
        facts = _ask(real)
        if facts:  # what failed to answer may only have been slow, or have missed a library
            replace_text(kept, json.dumps(facts))
    return _interpreter(facts, real) if "version" in facts else None


def _ask(path: str) -> dict[str, object]:
    try:
        done = run_program([path, "-I", str(PROBE)], timeout=ANSWER, environment={}, cwd="/")
        if done.returncode == 2 and UNISOLATED.match(done.stderr):
            return {"problem": "no isolated mode"}
        facts = json.loads(done.stdout) if done.returncode == 0 else {}
    except (OSError, ValueError, subprocess.SubprocessError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _interpreter(facts: Mapping[str, object], real: str) -> Interpreter:
    implementation, version = str(facts["implementation"]), str(facts["version"])
    flags = ("t" if facts["free_threaded"] else "") + ("d" if facts["debug"] else "")
    markers = facts["markers"]
    assert isinstance(markers, dict), "probe.py prints an object"
    assert isinstance(facts["abis"], list), "probe.py prints a list"
    return Interpreter(
        id=f"{implementation}-{version}{flags}-{facts['platform']}",
        label=_label(implementation, version, flags),
        version=version,
        implementation=implementation,
        path=real,
        abis=tuple(facts["abis"]),
        platforms=_platforms(str(facts["platform"]), facts["libc"]),
        markers=tuple(sorted(markers.items())),
    )


def _platforms(platform: str, libc: object) -> tuple[str, ...]:
    """Platform tags of the target. It shares our kernel and, but for a musl build, our C library."""
    plain = re.sub(r"[^\w]", "_", platform)
    if isinstance(libc, list) and libc[0] == "musl":
        arch = plain.removeprefix("linux_")
        return (*(f"musllinux_1_{minor}_{arch}" for minor in range(2, -1, -1)), plain)
    return tuple(platform_tags())
