"""What left Python's standard library, and when: from the "What's New" pages of CPython. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["ATTRIBUTES", "MODULES", "Removal", "removal"]

Minor = tuple[int, int]

MODULES: Mapping[str, Minor] = {
    **dict.fromkeys(("macpath",), (3, 8)),
    **dict.fromkeys(("dummy_threading", "_dummy_threading"), (3, 9)),
    **dict.fromkeys(("formatter", "parser", "symbol"), (3, 10)),
    **dict.fromkeys(("binhex",), (3, 11)),
    **dict.fromkeys(("asynchat", "asyncore", "distutils", "imp", "smtpd"), (3, 12)),
    **dict.fromkeys(
        (
            *("aifc", "audioop", "cgi", "cgitb", "chunk", "crypt", "imghdr", "lib2to3", "mailcap", "nis", "nntplib"),
            *("ossaudiodev", "pipes", "sndhdr", "spwd", "sunau", "telnetlib", "uu", "xdrlib"),
        ),
        (3, 13),
    ),
}
"""Modules, and the first Python that has none of that name."""

_ABSTRACT = (
    *("AsyncGenerator", "AsyncIterable", "AsyncIterator", "Awaitable", "Callable", "Collection"),
    *("Container", "Coroutine", "Generator", "Hashable", "ItemsView", "Iterable", "Iterator", "KeysView", "Mapping"),
    *("MappingView", "MutableMapping", "MutableSequence", "MutableSet", "Reversible", "Sequence", "Set", "Sized"),
    "ValuesView",
)
ATTRIBUTES: Mapping[tuple[str, str], Minor] = {
    **{("collections", name): (3, 10) for name in _ABSTRACT},
    ("time", "clock"): (3, 8),
    ("platform", "dist"): (3, 8),
    ("platform", "linux_distribution"): (3, 8),
    ("cgi", "escape"): (3, 8),
    ("fractions", "gcd"): (3, 9),
    ("base64", "encodestring"): (3, 9),
    ("base64", "decodestring"): (3, 9),
    ("asyncio", "coroutine"): (3, 11),
    ("inspect", "getargspec"): (3, 11),
    ("inspect", "formatargspec"): (3, 11),
    ("configparser", "SafeConfigParser"): (3, 12),
    ("pkgutil", "ImpImporter"): (3, 12),
    ("ssl", "wrap_socket"): (3, 12),
    ("ssl", "match_hostname"): (3, 12),
    ("unittest", "makeSuite"): (3, 13),
    ("locale", "format"): (3, 12),
    ("gettext", "lgettext"): (3, 11),
    ("typing", "io"): (3, 13),
    ("typing", "re"): (3, 13),
}
"""Names in modules, and the first Python whose module has none of that name."""
MOVED = {**{("collections", name): f"collections.abc.{name}" for name in _ABSTRACT}}
"""Where what was removed is found instead, on all Pythons that we know."""

_MODULE = re.compile(r"No module named '?([\w.]+)'?")
_NAME = re.compile(r"cannot import name '?(\w+)'? from '?([\w.]+)'?")
_PYTHON_2 = re.compile(
    r"Missing parentheses in call to '(?:print|exec)'|multiple exception types must be parenthesized"
)
_ATTRIBUTE = re.compile(r"module '?([\w.]+)'? has no attribute '?(\w+)'?")


class Removal(NamedTuple):
    """A sentence on what was removed; ``since`` is the first Python without it."""

    text: str
    since: Minor


def removal(detail: str) -> Removal | None:
    """Return what a failure's words miss of the standard library, if that was removed from any Python."""
    if (found := _MODULE.search(detail)) and (
        since := MODULES.get(found[1]) or MODULES.get(found[1].partition(".")[0])
    ):
        return Removal(f"{found[1]} is not in the standard library from Python {_text(since)} on", since)
    if _PYTHON_2.search(detail):
        return Removal("its source is for Python 2", (3, 0))
    pair = (found[2], found[1]) if (found := _NAME.search(detail)) else None
    pair = (found[1], found[2]) if (found := _ATTRIBUTE.search(detail)) else pair
    if pair and (since := ATTRIBUTES.get(pair)):
        moved = f"; it is {MOVED[pair]}" if pair in MOVED else ""
        return Removal(f"{'.'.join(pair)} was removed in Python {_text(since)}{moved}", since)
    return None


def _text(minor: Minor) -> str:
    return "{}.{}".format(*minor)
