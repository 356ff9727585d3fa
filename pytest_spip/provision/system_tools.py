"""The system's compilers, headers and libraries: what builds find, and packages load."""

from __future__ import annotations

import os

from pytest_spip.model import digest

__all__ = ["system_tools"]

TOOLS = tuple(f"{root}/{name}" for root in ("/usr", "/usr/local") for name in ("bin", "include", "lib", "lib64"))
STATES = ("/var/lib/dpkg/status", "/var/lib/rpm", "/lib/apk/db")
"""Paths that change when the system gets another compiler, header or library, which a build that failed may have lacked."""


def system_tools() -> str:
    """Return a digest that changes with the system's compilers, headers and libraries."""
    return digest([os.stat(path).st_mtime_ns if os.path.exists(path) else 0 for path in (*TOOLS, *STATES)])[:16]
