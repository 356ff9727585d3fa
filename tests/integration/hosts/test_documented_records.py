"""The code of the page about records, on each engine."""

from __future__ import annotations

from pytest_spip.hosts import coordination
from tests.support.markdown import blocks_of
from tests.support.paths import DOCS

PAGE = DOCS / "reference" / "records.md"


def test_code_of_the_page_runs(database_url: str) -> None:
    """What the page shows holds, in an empty database."""
    [code] = [block.text for block in blocks_of(PAGE) if block.kind == "python"]
    exec(compile(code.replace("postgresql://spip@db.example/spip", database_url), str(PAGE), "exec"), {})


def test_page_names_what_there_is() -> None:
    """Each kind and each function that programs may use stands on the page."""
    text = PAGE.read_text("utf-8")
    assert [kind for kind in coordination.Kind if f"| `{kind}` |" not in text] == []
    functions = [name for name in coordination.__all__ if name.islower()]
    assert [name for name in functions if f"`{name}(" not in text] == []
