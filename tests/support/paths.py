"""Where things of this repository are."""

from __future__ import annotations

from pathlib import Path

__all__ = ["DOCS", "EXAMPLES", "ROOT"]

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXAMPLES = ROOT / "examples"
