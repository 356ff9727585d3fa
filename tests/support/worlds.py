"""Worlds that people run in: each is the beginning of a command, the rest of which runs there. Root makes most of them."""

from __future__ import annotations

import os
import shutil
import sys

import pytest

from pytest_spip.run.child import seccomp

__all__ = ["ORDINARY", "REFUSED", "SMALL", "SYSCTL", "UMASK", "USER", "needs"]

SYSCTL = (
    *("unshare", "--user", "--map-root-user", "sh", "-c"),
    *('echo 0 >/proc/sys/user/max_user_namespaces; exec "$@"', "world"),
)
"""No user namespaces, by a sysctl."""
REFUSED = (sys.executable, "-P", __file__, "container")
"""A container's system call filter: no namespaces, no mounts, EPERM."""
UMASK = ("sh", "-c", 'umask 077; exec "$@"', "world")
"""A person who shares nothing."""
USER = 61234
ORDINARY = (
    *("unshare", "--mount", "sh", "-euc"),
    """
    top=$1; hidden=$(mktemp -d); shift
    mount --rbind "$top" "$hidden"; mount -t tmpfs -o mode=755 none "$top"
    for path in $(ls -A "$hidden"); do
        [ -d "$hidden/$path" ] && mkdir "$top/$path" && mount --rbind "$hidden/$path" "$top/$path"
    done
    umount -l "$hidden"; rmdir "$hidden"
    exec setpriv --reuid 61234 --regid 61234 --clear-groups "$@"
    """,
    *("world", "/" + sys.base_prefix.split("/")[1]),
)
"""An ordinary user, made by root; the interpreter that runs the tests is in reach, also where it lives in root's home."""

SMALL = (
    *("unshare", "--mount", "sh", "-uc"),
    """
    kept=$1; size=$2; shift 2; here=$PWD; cp -r . "$kept"
    mount -t tmpfs -o size=$size none "$here"; cd "$here"; cp -r "$kept/." .
    "$@"; status=$?
    rm -f filling; cp -r . "$kept"; exit $status
    """,
    "world",
)
"""A working directory on a small disk; the next words are a directory that gets what is there at the end, and the disk's size."""


def needs(*programs: str, root: bool = False) -> pytest.MarkDecorator:
    """Skip where a world cannot be made."""
    missing = [program for program in programs if not shutil.which(program)]
    return pytest.mark.skipif(
        bool(missing) or (root and os.getuid() != 0),
        reason="needs " + ", ".join([*programs, *(["root"] if root else [])]),
    )


def refuse() -> None:
    """Refuse for good what containers refuse, to this process and all below."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    given = seccomp.compiled(os.uname().machine, sockets=True)
    libc.prctl(38, ctypes.c_ulong(1), *[ctypes.c_ulong(0)] * 3)  # PR_SET_NO_NEW_PRIVS
    if libc.prctl(22, ctypes.c_ulong(2), ctypes.byref(given), ctypes.c_ulong(0), ctypes.c_ulong(0)):  # PR_SET_SECCOMP
        raise OSError(ctypes.get_errno(), "no filter")


NAMED = {"no-namespaces": SYSCTL, "container": (), "umask": UMASK, "ordinary-user": ORDINARY}
"""By the names that ``python tests/support/worlds.py NAME COMMAND...`` takes; in a container the program refuses by itself."""


def main(name: str, *command: str) -> None:
    """Run a command in a world."""
    if name == "container":
        refuse()
    words = (*NAMED[name], *command)
    os.execvp(words[0], words)


if __name__ == "__main__":
    main(*sys.argv[1:])
