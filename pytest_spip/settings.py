"""What the user gave -> one frozen ``Settings``: checked, converted, with defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_spip.errors import UsageProblem
from pytest_spip.names import OWN_RUNS
from pytest_spip.option_values import CONSTRAINT
from pytest_spip.options import OPTIONS, Settings

__all__ = ["make_settings"]

_FIELDS = {option.name: option.field for option in OPTIONS}


def make_settings(values: Mapping[str, Any], base: Path) -> Settings:
    """Check the options' values, by name; missing or empty ones take their defaults. Paths are relative to ``base``.

    Raises ``UsageProblem``.
    """
    given = {_FIELDS[name]: value for name, value in values.items() if value not in (None, "", [], ())}
    given["matrix"] = tuple(line for text in given.get("matrix", ()) for line in _requirements(text, base))
    given |= _from_files(given.get("with_", ()), base)
    for option in OPTIONS:
        if option.convert and option.field in given:
            given[option.field] = option.convert(option.flag, given[option.field])
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


def _bare(text: str) -> str:
    """Return a line without credentials."""
    return re.sub(r"//[^/@\s]*@", "//", text)
