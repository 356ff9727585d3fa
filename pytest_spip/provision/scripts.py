"""A wheel's own texts about itself: scripts among its entry points, and its WHEEL file. Pure."""

from __future__ import annotations

import configparser
import email.parser
import re
from collections.abc import Iterator

from pytest_spip.errors import BadWheel

__all__ = ["check_script", "script_entries", "wheel_file_warnings"]

GROUPS = ("console_scripts", "gui_scripts")
_REFERENCE = re.compile(r"[\w.]+:[\w.]+(?:\s+\[.*\])?")
"""What pip and uv both make a script of."""
NEWEST = "1.0"


def script_entries(text: str) -> dict[str, str]:
    """Return the entry points that scripts are made for, by name; raises ``BadWheel`` for a text that cannot be read."""
    parser = configparser.ConfigParser(delimiters="=", interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # names keep their case
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise BadWheel(f"entry_points.txt: {str(error).splitlines()[0]}") from error
    return {name: value for group in GROUPS if parser.has_section(group) for name, value in parser.items(group)}


def check_script(name: str, reference: str) -> None:
    """Raise ``BadWheel`` for an entry point that pip or uv makes no script of."""
    if "/" in name or name in ("", ".", ".."):
        raise BadWheel(f"the entry point {name!r} is no name for a script")
    if not _REFERENCE.fullmatch(reference):
        raise BadWheel(f"the entry point {name!r} names no function: {reference!r}")


def wheel_file_warnings(text: str) -> Iterator[str]:
    """Yield what a WHEEL file lacks that installers do without."""
    fields = email.parser.HeaderParser().parsestr(text)
    if (version := fields["Wheel-Version"]) and str(version) != NEWEST:
        yield f"WHEEL has version {version}, which is not {NEWEST}"
    for name in ("Root-Is-Purelib", "Tag"):
        if fields[name] is None:
            yield f"WHEEL has no field {name}"
