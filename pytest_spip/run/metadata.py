"""Reads what an environment's installed metadata say of a project."""

from __future__ import annotations

import email.parser
import os
import re

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from pytest_spip.run.text import harmless

__all__ = ["identity", "metadata_problem"]

_PLAIN_HEADERS = re.compile(r"[!-9;-~]+:[^\r\n]*\n(?:(?:[!-9;-~]+:|[ \t])[^\r\n]*\n)*")
_NAME, _VERSION = (
    re.compile(rf"^{name}:[ \t]*([^\n]*)\n(?![ \t])", re.IGNORECASE | re.MULTILINE) for name in ("name", "version")
)


def metadata_problem(wheel: str, package: str, version: str) -> str:
    """Say why the metadata that a filed wheel installs do not name the project and version; nothing when they do."""
    wanted = canonicalize_name(package)
    found = [
        f"{wheel}/{scheme}/{name}"
        for scheme in ("purelib", "platlib")
        for name in os.listdir(f"{wheel}/{scheme}")
        if name.endswith(".dist-info")
        and canonicalize_name(name.removesuffix(".dist-info").partition("-")[0]) == wanted
    ]
    if len(found) != 1:
        return f"{len(found)} installed projects are named {package}"
    with open(f"{found[0]}/METADATA", encoding="utf-8", errors="replace") as stream:
        name, stated = identity(stream.read())
    try:
        same = canonicalize_name(name) == wanted and (stated == version or Version(stated) == Version(version))
    except InvalidVersion:
        same = False
    return "" if same else harmless(f"installed metadata name {name} {stated}, not {package} {version}")


def identity(text: str) -> tuple[str, str]:
    """Return what a text's headers Name and Version say, as the email package reads them, which takes ten times as long."""
    head = _PLAIN_HEADERS.match(text)
    if head and head.end() < len(text) and text[head.end()] != "\n":
        head = None
    values = [pattern.findall(head[0]) if head else [] for pattern in (_NAME, _VERSION)]
    if [len(found) for found in values] == [1, 1]:
        return values[0][0], values[1][0]
    headers = email.parser.HeaderParser().parsestr(text)
    return str(headers["Name"] or ""), str(headers["Version"] or "")
