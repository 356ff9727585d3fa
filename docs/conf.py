"""Builds the documentation: ``sphinx-build -W -b html docs docs/_build``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "pytest-spip"
author = "The pytest-spip developers"
copyright = author  # noqa: A001  # Sphinx reads this name
extensions = ["myst_parser", "option_table"]
exclude_patterns = ["_build", "_ext"]
html_theme = "furo"
html_title = "pytest-spip"
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
nitpicky = True

DECISIONS = """
```{toctree}
:caption: Decisions
:glob:

/decisions/*
```
"""


def list_decisions(app: Sphinx, docname: str, source: list[str]) -> None:
    """List records of decisions where there are any: Sphinx warns of a pattern that matches nothing."""
    if docname == "explanation/index" and list(Path(app.srcdir).glob("decisions/*.md")):
        source[0] += DECISIONS


def setup(app: Sphinx) -> None:
    """Register the above."""
    app.connect("source-read", list_decisions)
    app.connect("env-get-outdated", lambda *_: ["explanation/index"])  # files may have come that it lists
