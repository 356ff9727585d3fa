"""The user's settings of uv and pip that decide what a resolution takes, indexes aside."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from pytest_spip.common.instants import parse_instant
from pytest_spip.common.requirement_files import BadRequirements, read_requirements
from pytest_spip.errors import UsageProblem
from pytest_spip.model import ResolutionSettings

__all__ = ["PIP_KEYS", "is_true", "pip_settings", "uv_settings"]

Tables = Sequence[tuple[Mapping[str, Any], Path]]

CHOICES = {
    "prerelease": ("disallow", "allow", "if-necessary", "explicit", "if-necessary-or-explicit"),
    "index-strategy": ("first-index", "unsafe-first-match", "unsafe-best-match"),
    "resolution": ("highest", "lowest", "lowest-direct"),
}
FILES = {
    "constraints": ("UV_CONSTRAINT", "constraint-dependencies"),
    "overrides": ("UV_OVERRIDE", "override-dependencies"),
    "excludes": ("UV_EXCLUDE", "exclude-dependencies"),
    "build_constraints": ("UV_BUILD_CONSTRAINT", "build-constraint-dependencies"),
}
"""By field: the variable that names files, and the key of lists."""
UV_IGNORED = (
    *("no-binary", "no-binary-package", "no-build", "no-build-package", "only-binary", "no-deps", "require-hashes"),
    *("no-build-isolation", "no-build-isolation-package", "extra-build-dependencies", "dependency-metadata"),
    *("config-settings", "config-settings-package", "torch-backend", "prerelease-package"),
)
"""Keys of uv's that could change what is taken, and do not here."""
UV_IGNORED_VARIABLES = (
    *("UV_NO_BINARY", "UV_NO_BINARY_PACKAGE", "UV_NO_BUILD", "UV_NO_BUILD_PACKAGE", "UV_ONLY_BINARY", "UV_NO_DEPS"),
    *("UV_REQUIRE_HASHES", "UV_NO_BUILD_ISOLATION", "UV_TORCH_BACKEND"),
)
PIP_IGNORED = (
    *("no-binary", "only-binary", "prefer-binary", "no-deps", "require-hashes", "no-build-isolation"),
    *("uploaded-prior-to", "requirement"),
)
PIP_KEYS = ("constraint", "build-constraint", "pre", *PIP_IGNORED)


def is_true(text: object) -> bool:
    """Return True if a setting is switched on."""
    return str(text).strip().lower() in {"1", "true", "yes", "on", "y", "t"}


def uv_settings(environ: Mapping[str, str], start: Path, tables: Tables) -> ResolutionSettings:
    """Return uv's settings: the environment's before those of the tables, the nearest first, of which lists are joined.

    Raises ``UsageProblem`` for what cannot be read.
    """
    lists: dict[str, Any] = {
        name: _texts(environ, start, tables, variable, key) for name, (variable, key) in FILES.items()
    }
    words: dict[str, Any] = {key.replace("-", "_"): _choice(environ, tables, key) for key in CHOICES}
    dates: dict[str, str] = {}
    for table, path in tables:
        for name, date in _table(table, "exclude-newer-package", path).items():
            dates.setdefault(canonicalize_name(name), _date(date, f"exclude-newer-package in {path}"))
    ignored = [name for name in UV_IGNORED_VARIABLES if environ.get(name) and environ[name].lower() not in OFF]
    ignored += [f"{key} ({path})" for table, path in tables for key in UV_IGNORED if table.get(key)]
    ignored += [name for name in ("UV_PRERELEASE_PACKAGE", "UV_EXCLUDE_NEWER_PACKAGE") if environ.get(name)]
    ignored += [f"{text} ({variable})" for variable, _ in FILES.values() for text in _far(environ, variable)]
    return ResolutionSettings(
        **lists,
        **words,
        exclude_newer=_uv_date(environ, tables),
        exclude_newer_package=tuple(dates.items()),
        ignored=tuple(dict.fromkeys(ignored)),
    )


OFF = frozenset({"0", "false", "no", "off", "n", "f"})


def _uv_date(environ: Mapping[str, str], tables: Tables) -> str:
    if text := environ.get("UV_EXCLUDE_NEWER"):
        return _date(text, "UV_EXCLUDE_NEWER")
    found = ((table["exclude-newer"], path) for table, path in tables if table.get("exclude-newer"))
    return next((_date(text, f"exclude-newer in {path}") for text, path in found), "")


def _date(text: object, where: str) -> str:
    if text is False:
        return ""
    try:
        return parse_instant(str(text))
    except (ValueError, OverflowError):
        fix = "write it like 2026-11-01, 2026-11-01T00:00:00Z or '1 week'"
        raise UsageProblem("resolution settings", f"{where}: {text!r} is no date", fix) from None


def _choice(environ: Mapping[str, str], tables: Tables, key: str) -> str:
    variable = f"UV_{key.upper().replace('-', '_')}"
    found = [(table[key], str(path)) for table, path in tables if table.get(key)]
    settings = [(environ[variable], variable)] if environ.get(variable) else found
    for text, where in settings[:1]:
        if text not in CHOICES[key]:
            choices = f"there are {', '.join(CHOICES[key])}"
            raise UsageProblem("resolution settings", f"{where}: {text!r} is no {key}", choices)
        return str(text)
    return ""


def _texts(environ: Mapping[str, str], start: Path, tables: Tables, variable: str, key: str) -> tuple[str, ...]:
    named = [text for text in environ.get(variable, "").split() if "://" not in text]
    found = [text for name in named for text in _lines(start / name, variable)]
    for table, path in tables:
        value = table.get(key, [])
        if not isinstance(value, list):
            raise UsageProblem("resolution settings", f"{key} in {path} is no list", "fix the file")
        # A requirement may be a table in newer versions of uv; its text is what counts.
        found += [str(one.get("requirement", one)) if isinstance(one, dict) else str(one) for one in value]
    return tuple(dict.fromkeys(_checked(text, key) for text in found))


def _checked(text: str, key: str) -> str:
    try:
        Requirement(text)
    except InvalidRequirement:
        raise UsageProblem("resolution settings", f"{key}: {text!r} is no requirement", "fix the setting") from None
    return text


def _far(environ: Mapping[str, str], variable: str) -> list[str]:
    return [text for text in environ.get(variable, "").split() if "://" in text]


def _lines(path: Path, setting: str) -> Iterator[str]:
    """Yield the requirements of a file of constraints, overrides or the like."""
    try:
        found = read_requirements(path)
    except BadRequirements as error:
        raise UsageProblem("resolution settings", f"{setting}: {error}", "fix the setting, or the file") from error
    yield from found.requirements
    yield from found.constraints
    for line in found.other:
        if " @ " in line:
            yield line  # for uv to judge
        elif not line.startswith("-"):
            raise UsageProblem("resolution settings", f"{path}: {line!r} is no requirement", "fix the file")


def _table(table: Mapping[str, Any], key: str, path: Path) -> Mapping[str, Any]:
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise UsageProblem("resolution settings", f"{key} in {path} is no table", "fix the file")
    return value


def pip_settings(start: Path, values: Mapping[str, str], uv: ResolutionSettings, *, counts: bool) -> ResolutionSettings:
    """Return uv's settings; or pip's, where uv has none and no indexes either, as ``counts`` says.

    uv knows nothing of pip's: where its own hold, pip's are named as ignored.
    """
    given = [key for key in PIP_KEYS if values.get(key) and values[key].lower() not in OFF]
    if not given:
        return uv
    if not counts or dataclasses.replace(uv, ignored=()) != ResolutionSettings():
        dropped = (f"pip's {key} (uv is configured, and does not read it)" for key in given)
        return dataclasses.replace(uv, ignored=(*uv.ignored, *dropped))
    ignored = [f"pip's {key}" for key in given if key in PIP_IGNORED]
    ignored += [f"pip's {text}" for key in PIP_KEYS[:2] for text in values.get(key, "").split() if "://" in text]
    return ResolutionSettings(
        constraints=tuple(_of_files(values.get("constraint", ""), start, "pip's constraint")),
        build_constraints=tuple(_of_files(values.get("build-constraint", ""), start, "pip's build-constraint")),
        prerelease="allow" if is_true(values.get("pre", "")) else "",
        ignored=(*uv.ignored, *ignored),
    )


def _of_files(text: str, start: Path, setting: str) -> Iterable[str]:
    named = (name for name in text.split() if "://" not in name)
    return dict.fromkeys(line for name in named for line in _lines(start / Path(name).expanduser(), setting))
