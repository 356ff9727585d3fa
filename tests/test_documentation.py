"""The documentation: every block of code in README.md and docs/ is run, parsed, rendered again, or says why it is not."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from pytest_spip.model import Outcome, Phase, Reason
from pytest_spip.options import OPTIONS
from pytest_spip.report.terminal import _MEANINGS
from tests.support.schema import SCHEMA

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def extension(name: str) -> ModuleType:
    """Import an extension of Sphinx from docs/_ext."""
    spec = importlib.util.spec_from_file_location(name, DOCS / "_ext" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- reference ------------------------------------------------------------------------------------------------------------


def test_reference_lists_every_option(pytestconfig: pytest.Config) -> None:
    """The table has a row for each option with its ini key, and the type that pytest knows it by."""
    rows = extension("option_table").markdown().splitlines()[2:]
    assert [re.findall(r"--spip-[\w-]+", row)[0] for row in rows] == [option.flag for option in OPTIONS]
    for option, row in zip(OPTIONS, rows, strict=True):
        *_, kind = next(value for key, value in pytestconfig._parser._inidict.items() if key == option.dest)[:2]
        assert f"`{option.dest}` ({kind})" in row
        assert option.help.replace("|", r"\|") in row
    assert "```{option-table}" in (DOCS / "reference" / "options.md").read_text()


def test_reference_explains_every_outcome_and_reason() -> None:
    """The page names each outcome, each reason that is no signal, and each word of the grid with its meaning."""
    text = (DOCS / "reference" / "outcomes.md").read_text()
    reasons = {reason.value for reason in Reason if not reason.value.startswith("SIG")} - {"yanked"}  # never used
    assert {word for word in [*Outcome, *reasons] if f"`{word}`" not in text} == set()
    words = dict(re.findall(r"\| `(\S+)` \| ([^|]+?) (?=\|)", text.partition("## The words of the grid")[2]))
    assert words == _MEANINGS


def test_schema_knows_every_outcome_and_phase() -> None:
    """The published schema has the closed enums of the code."""
    schema = json.loads(SCHEMA.read_text("utf-8"))
    found = schema["$defs"]["combination"]["properties"]
    assert (found["outcome"]["enum"], found["phase"]["enum"]) == ([*Outcome], [*Phase])
