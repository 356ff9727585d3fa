"""The directive ``option-table``: every option of pytest-spip, out of the table that the plugin itself reads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

from pytest_spip.options import OPTIONS, Option

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx

TYPES = {"flag": "bool", "texts": "linelist", "text": "string", "word": "string"}
"""The ini type of each kind of option, as ``pytest_addoption`` registers it."""


def markdown(options: Iterable[Option] = OPTIONS) -> str:
    """Return the options as a table in Markdown, in the order of the table."""
    rows = (
        f"| `{_written(one)}` | `{one.dest}` ({TYPES[one.kind]}) | {one.help.replace('|', chr(92) + '|')} |"
        for one in options
    )
    return "\n".join(["| option | ini key (type) | meaning |", "|---|---|---|", *rows])


def _written(option: Option) -> str:
    if option.kind == "flag":
        return option.flag
    return f"{option.flag}[={option.metavar}]" if option.kind == "word" else f"{option.flag}={option.metavar}"


class OptionTable(Directive):
    """Stands for the table."""

    has_content = False

    def run(self) -> list[nodes.Node]:
        """Return the parsed table."""
        from docutils import nodes  # not where a test only wants the text

        holder = nodes.container()
        lines = StringList(markdown().splitlines(), "pytest_spip/options.py")
        self.state.nested_parse(lines, self.content_offset, holder)
        return holder.children


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("option-table", OptionTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
