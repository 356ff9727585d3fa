"""What the options' values mean -> one frozen ``Settings``: checked, converted, with defaults."""

from __future__ import annotations

import dataclasses
import functools
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_spip.common.instants import parse_instant
from pytest_spip.errors import UsageProblem
from pytest_spip.names import OWN_RUNS

__all__ = ["AUTO", "CONSTRAINT", "GPU", "SLOT_NAME", "Settings", "field_of", "make_settings"]

SLOT_NAME = re.compile(r"[a-z][a-z0-9_]*")
"""What a slot may be called: its name becomes that of a variable, in capitals."""
GPU, AUTO = "gpu", "auto"
"""The slot whose devices CUDA knows by the same names, and what stands for those that the machine has."""


CONSTRAINT = "-c "
"""Begins a further requirement that only limits what others require, as in a file of constraints."""
SHORT, LONG = 60.0, 600.0
"""Seconds that an import may take, and any other check, unless the user says otherwise."""


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """What the user asked for, checked. ``timeout`` in seconds, ``memory`` in bytes; ``exclude_newer`` is ISO 8601 or empty.

    No ``resolution`` leaves it to the user's settings of uv, or to ``highest``.
    ``command`` are the words of a command, or further arguments for a suite's pytest; ``with_`` are further requirements of
    every environment. ``extras`` and ``groups`` are None where the user named none.
    ``slots`` are pairs of a name and the names of its devices, or ``AUTO``. ``stats`` are the seconds between two lines, 0 for
    none, and the path of a file for them, or nothing.
    """

    matrix: tuple[str, ...]
    python: str = ""
    versions: str = "all"
    pre: bool = False
    yanked: bool = False
    exclude_newer: str = ""
    resolution: tuple[str, ...] = ()
    cross: bool = False
    check: str = "import"
    command: tuple[str, ...] = ()
    project: str = ""
    with_: tuple[str, ...] = ()
    extras: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    timeout: float = 60.0
    memory: int = 2 << 30
    inactivity: float = 0.0
    build: str = "auto"
    build_timeout: float = 1800.0
    build_memory: int = 8 << 30
    runner: str = "auto"
    sandbox: str = "auto"
    network: bool = False
    env: tuple[str, ...] = ()
    ram: str = "auto"
    profile: str = ""
    autoscale: bool = False
    pin: bool = False
    slots: tuple[tuple[str, tuple[str, ...]], ...] = ()
    stats: tuple[float, str] = (0.0, "")
    report: tuple[tuple[str, str], ...] = ()
    compare: str = ""
    baseline: str = ""
    update_baseline: bool = False
    fail_on: str = "any"
    bisect: bool = False
    reuse: str = ""
    run: str = ""
    resume: str = ""
    cache: str = ""
    cache_size: int = 20 << 30

    @staticmethod
    def usual_timeout(check: str) -> float:
        """Return the seconds that a check may take unless the user says otherwise."""
        return SHORT if check == "import" else LONG

    @property
    def adapts(self) -> bool:
        """Whether the number of working workers follows the machine. ``max`` means all of it, unless it is to adapt."""
        return self.autoscale or self.profile in {"conservative", "balanced"}


def field_of(name: str) -> str:
    """Return the field of ``Settings`` for an option's name; ``with`` is a word of Python's."""
    return "with_" if name == "with" else name.replace("-", "_")


def make_settings(values: Mapping[str, Any], base: Path) -> Settings:
    """Check the options' values, by name; missing or empty ones take their defaults. Paths are relative to ``base``.

    Raises ``UsageProblem``.
    """
    given = {field_of(name): value for name, value in values.items() if value not in (None, "", [], ())}
    given["matrix"] = tuple(line for text in given.get("matrix", ()) for line in _requirements(text, base))
    given |= _from_files(given.get("with_", ()), base)
    for name, convert in _CONVERSIONS.items():
        if name in given:
            given[name] = convert(given[name])
    if given.get("reuse", OWN_RUNS) != OWN_RUNS:
        given["reuse"] = str((base / Path(given["reuse"]).expanduser()).absolute())
    given |= {"project": str(_project(base / given["project"]))} if "project" in given else {}
    given.setdefault("check", _implied_check(given))
    _fit(given["check"], given.get("command", ()))
    _fit_needs(given)
    _fit_gate(given)
    given.setdefault("timeout", Settings.usual_timeout(given["check"]))
    return Settings(**given)


def _implied_check(given: Mapping[str, object]) -> str:
    return "suite" if "project" in given else "command" if "command" in given else "import"


def _fit(check: str, command: Sequence[str]) -> None:
    """Raise ``UsageProblem`` for a check without what it needs, or with what it has no use for."""
    if check == "command" and not command:
        raise UsageProblem("--spip-check", "'command' runs nothing", "add --spip-command='python -m pkg --version'")
    if check in ("import", "none") and command:
        raise UsageProblem("--spip-command", f"the check {check!r} takes none", "add --spip-check=command")


def _fit_needs(given: Mapping[str, object]) -> None:
    """Raise ``UsageProblem`` for what a suite needs where none is run."""
    for name in ("extras", "groups"):
        if name in given and given["check"] != "suite" and "project" not in given:
            what = f"the check {given['check']!r} runs no tests"
            raise UsageProblem(f"--spip-{name}", what, "add --spip-check=suite or --spip-project=DIR")


def _fit_gate(given: Mapping[str, object]) -> None:
    """Raise ``UsageProblem`` for a comparison with nothing, or with two things."""
    if "compare" in given and "baseline" in given:
        raise UsageProblem("--spip-compare", "a run is compared with one thing", "leave out it, or --spip-baseline")
    if given.get("update_baseline") and "baseline" not in given:
        raise UsageProblem("--spip-update-baseline", "no file is named", "add --spip-baseline=FILE")
    if given.get("fail_on") == "regressed" and not {"compare", "baseline"} & given.keys():
        what = "nothing is named that combinations could have regressed against"
        raise UsageProblem("--spip-fail-on", what, "add --spip-compare=RUN or --spip-baseline=FILE")


def _split(text: str) -> tuple[str, ...]:
    """Return the words of a command, split as a shell does it; nothing else of a shell is there."""
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise UsageProblem("--spip-command", f"{text!r} cannot be split ({error})", "close the quotes") from error


def _project(path: Path) -> Path:
    if not any((path / name).is_file() for name in ("pyproject.toml", "setup.py", "requirements.txt")):
        what = "holds neither pyproject.toml nor setup.py" if path.is_dir() else "is no directory"
        raise UsageProblem("--spip-project", f"{path} {what}", "name the directory of a Python project")
    return path.resolve()


def _from_files(texts: Sequence[str], base: Path) -> dict[str, Any]:
    """Return further requirements, with those of files in place of ``@FILE``; nothing where no file is named."""
    if not any(text.startswith("@") for text in texts):
        return {}
    from pytest_spip.common.requirement_files import BadRequirements, read_requirements  # few need it

    found: list[str] = []
    constraints: list[str] = []
    for text in texts:
        if not text.startswith("@"):
            found.append(text)
            continue
        try:
            read = read_requirements(base / text[1:])
        except BadRequirements as error:
            raise UsageProblem("--spip-with", str(error), "name a requirements file that can be read") from error
        if read.places:
            fix = "leave the line out, and set UV_INDEX or UV_FIND_LINKS"
            raise UsageProblem(
                "--spip-with", f"{text[1:]} says where packages come from ({_bare(read.places[0])})", fix
            )
        if read.other:
            fix = "write requirements by name, as an index lists them"
            raise UsageProblem("--spip-with", f"{text[1:]}: {_bare(read.other[0])!r} names no project of an index", fix)
        found += read.requirements
        constraints += read.constraints
    return {"with_": [*found, *(f"{CONSTRAINT}{text}" for text in constraints)]}


def _bare(text: str) -> str:
    """Return a line without credentials."""
    return re.sub(r"//[^/@\s]*@", "//", text)


def _extra_requirements(texts: Sequence[str]) -> tuple[str, ...]:
    from packaging.requirements import InvalidRequirement, Requirement  # not where nobody asks for a matrix

    for text in texts:
        try:
            url = Requirement(text.removeprefix(CONSTRAINT)).url
        except InvalidRequirement as error:
            reason = str(error).splitlines()[0]
            raise UsageProblem(
                "--spip-with", f"{text!r} is no requirement ({reason})", "write it like 'pytest-timeout>=2'"
            ) from error
        if url:
            raise UsageProblem("--spip-with", f"{text!r} is a URL", "name a project that an index lists")
    return tuple(texts)


def _words(texts: Sequence[str]) -> tuple[str, ...]:
    """Return names, of which one text may hold several."""
    return tuple(name for text in texts for name in text.replace(",", " ").split())


def _ways(texts: Sequence[str]) -> tuple[str, ...]:
    check = _one_of("--spip-resolution", "highest", "lowest-direct", "lowest")
    return tuple(dict.fromkeys(check(word) for word in _words(texts)))


def _requirements(text: str, base: Path) -> Sequence[str]:
    if not text.startswith("@"):
        return [text]
    try:
        lines = (base / text[1:]).read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        what = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UsageProblem(
            "--spip-matrix", f"cannot read {text[1:]} ({what})", "name a file with one requirement a line"
        ) from error
    return [line for raw in lines if (line := re.sub(r"(^|\s)#.*", "", raw).strip())]


def _seconds(option: str, text: object) -> float:
    try:
        seconds = float(str(text))
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise UsageProblem(option, f"{text!r} is no time limit", "give a positive number of seconds")
    return seconds


def _one_of(option: str, *words: str) -> Callable[[Any], str]:
    def checked(text: object) -> str:
        if text not in words:
            raise UsageProblem(option, f"invalid choice {text!r} (choose from {', '.join(words)})")
        return str(text)

    return checked


def _names(texts: Sequence[str]) -> tuple[str, ...]:
    for text in texts:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
            raise UsageProblem(
                "--spip-env", f"{text!r} is no name of a variable", "give the name alone; its value is passed on"
            )
    return tuple(texts)


def _size(option: str, text: object) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?B)?", str(text).strip(), re.IGNORECASE | re.ASCII)
    size = float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " ") if found else 0
    if not 16 << 20 <= size < 1 << 60:  # what setrlimit(2) takes, with room to spare
        raise UsageProblem(option, f"{text!r} is no usable size", "write it like 512MiB or 2GiB, at least 16MiB")
    return int(size)


def _bound(option: str, text: object) -> int:
    """Return a size in bytes; 0 is none."""
    return 0 if str(text).strip().lower() in ("0", "unlimited") else _size(option, text)


def _instant(text: object) -> str:
    """Return an instant in UTC; a date alone includes that day."""
    try:
        return parse_instant(str(text))
    except (ValueError, OverflowError):
        fix = "write it like 2026-11-01 or 2026-11-01T00:00:00Z"
        raise UsageProblem("--spip-exclude-newer", f"{text!r} is no date", fix) from None


def _reports(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple((kind, path) for kind, _, path in (text.partition(":") for text in texts))


def _slots(texts: Sequence[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    slots = dict(map(_slot, texts))
    if len(slots) < len(texts):
        raise UsageProblem("--spip-slots", "a slot is given twice", "name all its devices at once, like gpu:0,3")
    return tuple(slots.items())


def _slot(text: str) -> tuple[str, tuple[str, ...]]:
    name, _, listed = text.partition(":")
    devices = _devices(listed)
    if not SLOT_NAME.fullmatch(name) or not devices:
        fix = "write it like gpu:2 for two, gpu:0,3 for those named so, gpu:3, for one"
        raise UsageProblem("--spip-slots", f"{text!r} names no devices", fix)
    if devices == (AUTO,) and name != GPU:
        raise UsageProblem(
            "--spip-slots", f"{text!r}: only the devices of {GPU} are found", f"name them, like {name}:0,1"
        )
    return name, devices


def _devices(listed: str) -> tuple[str, ...]:
    """Return devices by name: a number alone counts them. None where it is neither."""
    if listed.isdecimal():
        return tuple(map(str, range(int(listed)))) if len(listed) <= 3 else ()
    names = tuple(listed.removesuffix(",").split(","))
    good = len({*names}) == len(names) and all(re.fullmatch(r"[!-~]+", name) for name in names)
    return names if good else ()


def _stats(text: object) -> tuple[float, str]:
    seconds, colon, path = str(text).partition(":")
    try:
        every = float(seconds)
    except ValueError:
        every = 0.0
    if not 0.1 <= every < 1e6 or bool(colon) != bool(path):
        fix = "write it like 10 or 10:stats.jsonl, at least 0.1"
        raise UsageProblem("--spip-stats", f"{text!r} is no number of seconds", fix)
    return every, path


def _name(option: str, text: object) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", str(text)):
        raise UsageProblem(option, f"{text!r} is no name for a run", "use letters, digits, '.', '_' and '-'")
    return str(text)


_CONVERSIONS: Mapping[str, Callable[[Any], object]] = {
    "timeout": functools.partial(_seconds, "--spip-timeout"),
    "inactivity": functools.partial(_seconds, "--spip-inactivity"),
    "runner": _one_of("--spip-runner", "auto", "warm", "cold"),
    "sandbox": _one_of("--spip-sandbox", "auto", "strict", "off"),
    "env": _names,
    "resolution": _ways,
    "check": _one_of("--spip-check", "import", "suite", "command", "none"),
    "command": _split,
    "with_": _extra_requirements,
    "extras": _words,
    "groups": _words,
    "memory": functools.partial(_size, "--spip-memory"),
    "cache_size": functools.partial(_bound, "--spip-cache-size"),
    "build": _one_of("--spip-build", "auto", "never"),
    "build_timeout": functools.partial(_seconds, "--spip-build-timeout"),
    "build_memory": functools.partial(_size, "--spip-build-memory"),
    "exclude_newer": _instant,
    "profile": _one_of("--spip-profile", "conservative", "balanced", "max"),
    "slots": _slots,
    "stats": _stats,
    "report": _reports,
    "fail_on": _one_of("--spip-fail-on", "any", "regressed", "never"),
    "run": functools.partial(_name, "--spip-run"),
    "resume": functools.partial(_name, "--spip-resume"),
}
