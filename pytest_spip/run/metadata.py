"""Reads what an environment's installed metadata say of a project."""

from __future__ import annotations

import email.parser
import os
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from pytest_spip.run.text import harmless

__all__ = ["metadata_problem"]


def metadata_problem(wheel: str, package: str, version: str) -> str:
    """Say why the metadata that a filed wheel installs do not name the project and version; nothing when they do."""
    wanted = canonicalize_name(package)
    found = [
        Path(wheel, scheme, name)
        for scheme in ("purelib", "platlib")
        for name in os.listdir(Path(wheel, scheme))
        if name.endswith(".dist-info")
        and canonicalize_name(name.removesuffix(".dist-info").partition("-")[0]) == wanted
    ]
    if len(found) != 1:
        return f"{len(found)} installed projects are named {package}"
    name, stated = _identity(found[0] / "METADATA")
    try:
        same = canonicalize_name(name) == wanted and Version(stated) == Version(version)
    except InvalidVersion:
        same = False
    return "" if same else harmless(f"installed metadata name {name} {stated}, not {package} {version}")


def _identity(path: Path) -> tuple[str, str]:
    headers = email.parser.HeaderParser().parsestr(path.read_text("utf-8", "replace"))
    return str(headers["Name"] or ""), str(headers["Version"] or "")
