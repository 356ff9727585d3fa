"""Runs inside a foreign interpreter, by path: prints one line of JSON that says which interpreter it is.

Keys: implementation, version, abis, libc, free_threaded, debug, platform, markers.
Standard library only, syntax of Python 3.7; nothing imports this file.
"""

import json
import os
import platform
import sys
import sysconfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def abis() -> "list[str]":
    """ABI tags from best to least, as PEP 425 and packaging spell them."""
    number = "%d%d" % sys.version_info[:2]
    soabi = sysconfig.get_config_var("SOABI") or ""
    if sys.implementation.name == "pypy":
        return ["_".join(soabi.split("-")[:2])] if soabi else []
    threads = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    debug = "d" if sysconfig.get_config_var("Py_DEBUG") else ""
    malloc = "m" if sys.version_info < (3, 8) else ""
    found = ["cp" + number + threads + debug + malloc]
    if debug:
        # A debug build of 3.8 and later loads release extensions too.
        found.append("cp" + number + threads)
    return found


def full_version(info: "Any") -> str:
    """Version text of sys.version_info or sys.implementation.version, PEP 440 spelling."""
    text = "%d.%d.%d" % (info.major, info.minor, info.micro)
    letters = {"alpha": "a", "beta": "b", "candidate": "rc"}
    return text + letters[info.releaselevel] + str(info.serial) if info.releaselevel in letters else text


def libc() -> "list[str]":
    """Name and version of the C library: glibc, musl, or nothing."""
    name, version = platform.libc_ver()
    if name == "glibc":
        return ["glibc", version]
    with open(sys.executable, "rb") as stream:
        return ["musl", ""] if b"ld-musl-" in stream.read(4096) else ["", ""]


def describe() -> "dict[str, object]":
    """Everything the plan wants to know."""
    implementation = sys.implementation
    markers = {
        "implementation_name": implementation.name,
        "implementation_version": full_version(implementation.version),
        "os_name": os.name,
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "platform_release": platform.release(),
        "platform_system": platform.system(),
        "platform_version": platform.version(),
        "python_full_version": platform.python_version(),
        "python_version": "%d.%d" % sys.version_info[:2],
        "sys_platform": sys.platform,
    }
    return {
        "implementation": implementation.name,
        "version": full_version(sys.version_info),
        "abis": abis(),
        "libc": libc() if sys.platform.startswith("linux") else ["", ""],
        "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        "debug": bool(sysconfig.get_config_var("Py_DEBUG")),
        "platform": sysconfig.get_platform(),
        "markers": markers,
    }


print(json.dumps(describe()))
