"""Files and sockets that package code may reach without namespaces of its own: rules for Landlock (landlock(7)).

Loaded by path, see forkserver.py; standard library only, syntax of Python 3.7.
"""

import ctypes
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_spip.run.child import kernel as KERNEL
    from pytest_spip.run.child import view as VIEW
    from pytest_spip.run.protocol import SetupMessage

READ = 1 << 0 | 1 << 2 | 1 << 3  # execute, read file, read directory
FILE_ONLY = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15  # what a rule on a file may allow
RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""All rights to files that a version of Landlock knows."""
SCOPES = 3  # abstract sockets and signals, from version 6


def newest_version() -> int:
    """Return the version that the kernel has; raises ``OSError`` where there is none."""
    return KERNEL.syscall(KERNEL.LANDLOCK_CREATE_RULESET, ctypes.c_void_p(None), 0, 1)


def ruleset(setup: "SetupMessage") -> int:
    """Return the descriptor of a ruleset that allows reading the system and writing the environment, and nothing else."""
    version = newest_version()
    rights = RIGHTS[max(known for known in RIGHTS if known <= version)]
    attributes = (ctypes.c_uint64 * 3)(rights, 0, SCOPES if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    descriptor = KERNEL.syscall(KERNEL.LANDLOCK_CREATE_RULESET, KERNEL.address(attributes), size, 0)
    names = [*VIEW.CONFIGURATION, "passwd", "group", "hosts", "hostname", *(VIEW.NETWORK if setup["network"] else ())]
    for path in [*VIEW.SYSTEM, "/proc", *("/etc/" + name for name in names), *setup["read"]]:
        allow(descriptor, path, READ)
    writable = ["/dev/" + name for name in VIEW.DEVICES] + setup["devices"] + setup["write"]
    writable += [path for path in (setup["prefix"], setup["own"]) if path]
    for path in writable:
        allow(descriptor, path, rights)
    return descriptor


def allow(ruleset: int, path: str, rights: int) -> None:
    """Add a rule for a path and all below it; what is not there needs none."""
    try:
        descriptor = os.open(path, KERNEL.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    if not os.path.isdir(path):
        rights &= FILE_ONLY
    rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, descriptor))
    KERNEL.syscall(KERNEL.LANDLOCK_ADD_RULE, ruleset, 1, KERNEL.address(rule), 0)
    os.close(descriptor)
