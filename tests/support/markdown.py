"""Blocks of code in README.md and docs/."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from tests.support.paths import DOCS, ROOT

__all__ = ["FENCE", "OTHERS", "Block", "blocks", "blocks_of"]

FENCE = re.compile(
    r"^(?:<!-- not checked: (?P<reason>.+?) -->\n)?```(?P<kind>[a-z]+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
OTHERS = ("decisions", "_build")
"""Folders whose pages are records, which describe no behaviour, or made by Sphinx."""


@dataclasses.dataclass(frozen=True)
class Block:
    """A block of code, where it begins, and why it is not checked, if so."""

    place: str
    kind: str
    text: str
    reason: str

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command, without a shell's comments, variables and what joins commands."""
        lines = self.text.splitlines() if self.kind == "bash" else re.findall(r"^\$ (.+)", self.text, re.MULTILINE)
        parts = [part for line in lines for part in line.split(" && ")]
        words = [shlex.split(part, comments=True) for part in parts]
        return [[word for word in each if not re.match(r"[A-Z_]+=", word)] for each in words]


def blocks(*kinds: str) -> list[Block]:
    """Return the blocks of these kinds that are to be checked; all of them without any."""
    pages = [page for page in sorted(DOCS.rglob("*.md")) if page.relative_to(DOCS).parts[0] not in OTHERS]
    found = [block for page in [ROOT / "README.md", *pages] for block in blocks_of(page)]
    return [block for block in found if not kinds or (block.kind in kinds and not block.reason)]


def blocks_of(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page."""
    text = page.read_text("utf-8")
    for match in FENCE.finditer(text):
        place = f"{page.relative_to(ROOT)}:{text[: match.start()].count(chr(10)) + 1}"
        yield Block(place, match["kind"], match["text"], match["reason"] or "")
