"""The runs that the documentation shows, made again from records."""

from __future__ import annotations

import dataclasses

from pytest_spip.model import (
    Combo,
    Comparison,
    Judged,
    Outcome,
    PackageMetadata,
    Phase,
    Reason,
    ReleaseFacts,
    Result,
    Summary,
    Verdict,
)
from pytest_spip.report.change_lines import comparison_lines
from pytest_spip.report.comparison import compare
from pytest_spip.report.ranges import Cells
from pytest_spip.report.support import support
from pytest_spip.report.support_lines import support_lines
from pytest_spip.report.terminal import group_lines
from tests.support.rooms import combo, result, summary

__all__ = ["documented_lines"]

PYTHONS = ("py38", "py39", "py310", "py311", "py312", "py313")
RELEASES = (
    *(
        "0.1",
        "0.1.1",
        "0.1.2",
        "0.1.3",
        "0.1.4",
        "0.1.5",
        "0.1.6",
        "0.1.7",
        "0.1.8",
        "0.1.9",
        "0.1.10",
        "0.1.11",
        "0.1.12",
    ),
    *("0.1.13", "0.1.14", "0.1.15", "0.1.16", "0.2.7", "0.3.9", "0.4.6"),
)
WINDLL = "ImportError: cannot import name 'windll' from 'ctypes' (/usr/lib/python3/ctypes/__init__.py)"
PRINT = "SyntaxError: Missing parentheses in call to 'print'. Did you mean print(...)?"
UV = "uv run --isolated --no-project --python /usr/bin/python3.8 --with colorama==0.1 python -c 'import colorama'"
URL_QUOTE = "ImportError: cannot import name 'url_quote' from 'werkzeug.urls'"
FLASK = (
    "2.0.0",
    "2.0.1",
    "2.0.2",
    "2.0.3",
    "2.1.0",
    "2.1.1",
    "2.1.2",
    "2.1.3",
    "2.2.0",
    "2.2.1",
    "2.2.2",
    "2.2.3",
    "2.3.0",
)


def documented_lines() -> list[str]:
    """Return what is printed of these runs: failures, support, and changes."""
    run = _colorama()
    cells = Cells(run.combos, run.interpreters, run.results)
    declared = {"colorama": PackageMetadata(("3.7", "3.8", "3.9", "3.10"), version="0.4.6")}
    supports = support(cells, [ReleaseFacts("colorama", "0.4.6", ">=2.7")], declared)
    lines = [*group_lines(run.groups), *support_lines(supports), *comparison_lines(_flask())]
    return ["".join(text for text, _ in line) for line in lines]


def _colorama() -> Summary:
    combos = [
        combo(number, "colorama", version, label)
        for number, (version, label) in enumerate((version, label) for version in RELEASES for label in PYTHONS)
    ]
    return summary(combos, [_result(one) for one in combos])


def _result(one: Combo) -> Result:
    place = RELEASES.index(one.version)
    if place <= RELEASES.index("0.1.4"):
        return result(one.ordinal, Outcome.FAILED, Reason.IMPORT_ERROR, WINDLL, reproduce=UV)
    if not RELEASES.index("0.1.8") <= place <= RELEASES.index("0.1.15"):
        return result(one.ordinal)
    empty = one.version in ("0.1.12", "0.1.15")
    syntax = "SyntaxError: invalid syntax" if place <= RELEASES.index("0.1.10") and one.label in PYTHONS[:2] else PRINT
    detail = "neither pyproject.toml nor setup.py are in the top directory" if empty else syntax
    again = f"pytest 'spip::{one.id}' -v"
    return result(one.ordinal, Outcome.FAILED, Reason.BUILD_FAILED, detail, Phase.BUILD, reproduce=again)


def _flask() -> Comparison:
    ids = [f"flask[{version}-{label}]" for version in FLASK for label in ("py39", "py311")]
    passed = Verdict(Outcome.PASSED, Phase.IMPORT)
    failed = Verdict(Outcome.FAILED, Phase.IMPORT, Reason.IMPORT_ERROR, URL_QUOTE)
    after = Judged(passed, locked={"werkzeug": "3.0.4"})
    return compare(
        "0c9c1f5e",
        dict.fromkeys(ids, Judged(passed, locked={"werkzeug": "2.3.7"})),
        {name: after if "2.3.0" in name else dataclasses.replace(after, verdict=failed) for name in ids},
    )
