"""Failing combinations in the words of other tools: requirements, tox, a GitHub matrix. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from pytest_spip.model import Combo, Outcome, Result, Summary

__all__ = ["failing", "github_matrix", "requirements", "tox_ini"]


def failing(summary: Summary) -> list[Combo]:
    """Return the combinations that did not pass, but for errors and skips, in the plan's order."""
    found = ((combo, summary.results.get(combo.ordinal)) for combo in summary.combos)
    return [
        combo for combo, one in found if one and one.verdict.outcome.is_bad and one.verdict.outcome is not Outcome.ERROR
    ]


def requirements(result: Result) -> str:
    """Return what an environment held, as a requirements file."""
    return "".join(f"{name}=={version}\n" for name, version in sorted(result.locked.items()))


def tox_ini(combos: Sequence[Combo]) -> str:
    """Return a tox.ini with an environment for each combination: its releases, and the suite of the directory it lies in."""
    names = [_environment(combo) for combo in combos]
    return "\n".join(_tox_lines(combos, names)) + "\n"


def _tox_lines(combos: Sequence[Combo], names: Sequence[str]) -> Iterator[str]:
    yield from ("[tox]", "env_list =", *(f"    {name}" for name in names), "")
    yield from ("[testenv]", "deps =", "    pytest")
    for combo, name in zip(combos, names, strict=True):
        yield from (f"    {name}: {requirement}" for requirement in combo.requirements)
    yield from ("commands = pytest {posargs}",)


def _environment(combo: Combo) -> str:
    """Return a name that tox takes for the combination's Python, and that no other combination has."""
    label = combo.label.partition("_")[0]
    rest = "-".join([combo.resolution, *(f"{package}{version}" for package, version in combo.releases)])
    return f"{label}-{re.sub(r'[^A-Za-z0-9.]+', '_', rest.strip('-'))}"


def github_matrix(combos: Sequence[Combo]) -> str:
    """Return JSON for ``strategy.matrix``: a job for each combination, with Python and requirements."""
    include = [
        {"id": combo.id, "python": _python(combo.label), "requirements": list(combo.requirements)} for combo in combos
    ]
    return json.dumps({"include": include}, indent=1) + "\n"


def _python(label: str) -> str:
    """Return what actions/setup-python calls an interpreter: ``3.12``, ``3.13t``, ``pypy3.10``."""
    found = re.match(r"(pypy|py)(\d)(\d+)(t?)", label)
    if not found:
        return label
    kind, major, minor, threads = found.groups()
    return f"{'pypy' if kind == 'pypy' else ''}{major}.{minor}{threads}"
