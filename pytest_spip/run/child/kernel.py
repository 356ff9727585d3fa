"""The Linux system calls that Python does not offer, by ctypes. Standard library only, syntax of Python 3.7.

Loaded by path, see forkserver.py. Every function raises ``OSError`` as the kernel refuses.

A call may be prepared, for somebody else to make it: function, arguments, and what to name when it returns -1. A server prepares
those of a child, which would else write to many pages of the server's that are its own from then on.
"""

import ctypes
import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Call = tuple[Callable[..., Any], tuple[object, ...], str]

LIBC = ctypes.CDLL(None, use_errno=True)
if hasattr(LIBC, "mallopt"):
    LIBC.mallopt(-8, 1)  # M_ARENA_MAX: a child that is forked of a thread has memory as one has that was started
MACHINE = os.uname().machine

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 1 << 18
MNT_DETACH = 2
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV = 1, 2, 4

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

O_PATH = getattr(os, "O_PATH", 0o10000000)
"""PyPy does not name it (open(2))."""
AT_FDCWD = -100
AT_RECURSIVE = 0x8000

# Numbers that all architectures share since Linux 5.0 (asm-generic/unistd.h).
PIDFD_OPEN = 434
MOUNT_SETATTR = 442
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
CAPSET = {"x86_64": 126, "aarch64": 91}
CAPABILITIES, NONE_OF_THEM = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
"""Header and data of capset(2), version 3, for this process."""


def call(function: "Callable[..., int]", *arguments: object) -> int:
    """Call a function of libc that returns -1 for an error."""
    done = function(*arguments)
    if done == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return done


def address(thing: "ctypes.Array[Any] | ctypes.Structure") -> ctypes.c_void_p:
    """Return a pointer to something of ctypes' as any implementation takes it; who calls keeps the thing."""
    return ctypes.c_void_p(ctypes.addressof(thing))


def make(calls: "Iterable[Call]") -> None:
    """Make calls that were prepared. Raises ``OSError`` for the first that is refused, and makes no further one."""
    for function, arguments, what in calls:
        if function(*arguments) == -1:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), what)


def syscall(number: int, *arguments: object) -> int:
    """Make a system call by its number; integers are passed in full width."""
    function, wide, _ = calling(number, *arguments)
    return call(function, *wide)


def calling(number: int, *arguments: object) -> "Call":
    """Prepare a system call, see ``syscall``."""
    wide = [ctypes.c_long(one) if isinstance(one, int) else one for one in (number, *arguments)]
    return LIBC.syscall, tuple(wide), "system call %d" % number


def unshare(flags: int) -> None:
    """Leave namespaces for new ones (unshare(2))."""
    make((unsharing(flags),))


def unsharing(flags: int) -> "Call":
    """Prepare to leave namespaces, see ``unshare``."""
    return LIBC.unshare, (flags,), "namespaces"


def setns(descriptor: int, kind: int) -> None:
    """Enter the namespace that a descriptor stands for (setns(2))."""
    call(LIBC.setns, descriptor, kind)


def mount(
    source: "str | None", target: str, kind: "str | None" = None, flags: int = 0, data: "str | None" = None
) -> None:
    """Mount (mount(2)); a refusal names the target."""
    make((mounting(source, target, kind, flags, data),))


def mounting(
    source: "str | None", target: str, kind: "str | None" = None, flags: int = 0, data: "str | None" = None
) -> "Call":
    """Prepare a mount, see ``mount``."""
    words = [word if word is None else os.fsencode(word) for word in (source, target, kind, data)]
    arguments = words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]
    return LIBC.mount, arguments, "mount of %s on %s" % (kind or source, target)


def umount(target: str) -> None:
    """Take a mount out of sight (umount2(2))."""
    call(LIBC.umount2, os.fsencode(target), MNT_DETACH)


class MountAttributes(ctypes.Structure):
    """``struct mount_attr`` of mount_setattr(2)."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd")]


def seal(path: str) -> None:
    """Make a mount and all below it read-only, without devices and set-user-id programs (mount_setattr(2), Linux 5.12)."""
    wanted = MountAttributes(MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, 0, 0, 0)
    size = ctypes.sizeof(wanted)
    syscall(MOUNT_SETATTR, AT_FDCWD, ctypes.c_char_p(os.fsencode(path)), AT_RECURSIVE, address(wanted), size)


def pivot_root() -> None:
    """Make the working directory the root and drop the old one (pivot_root(2), the idiom with two dots)."""
    syscall(PIVOT_ROOT[MACHINE], ctypes.c_char_p(b"."), ctypes.c_char_p(b"."))
    umount(".")
    os.chdir("/")


def prctl(option: int, argument: object, more: object = 0) -> None:
    """Change an attribute of this process (prctl(2))."""
    make((changing(option, argument, more),))


def changing(option: int, argument: object, more: object = 0) -> "Call":
    """Prepare the change of an attribute, see ``prctl``."""
    wide = [ctypes.c_ulong(one) if isinstance(one, int) else one for one in (argument, more, 0, 0)]
    return LIBC.prctl, (option, *wide), "attribute %d" % option


def drop_bounds() -> None:
    """See that no program we start can have a capability; we keep our own (capabilities(7))."""
    for capability in range(64):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:  # past the last one, or we have none to begin with
            break


def dropping_capabilities() -> "Call":
    """Prepare to give up every capability, for good."""
    return calling(CAPSET[MACHINE], address(CAPABILITIES), address(NONE_OF_THEM))


def pidfd_open(pid: int) -> int:
    """Return a descriptor that is readable once a process has ended."""
    return syscall(PIDFD_OPEN, pid, 0)


def wait_for_end(pid: int, seconds: float, what: str) -> int:
    """Return the status of a child as waitpid(2) gives it; a child that takes longer is killed, and ``OSError`` says at what."""
    end = pidfd_open(pid)
    poller = select.poll()
    poller.register(end, select.POLLIN)
    late = not poller.poll(seconds * 1000)
    if late:
        os.kill(pid, 9)
        poller.poll(seconds * 1000)
    os.close(end)
    _, status = os.waitpid(pid, os.WNOHANG)
    if late:
        raise OSError("%s took more than %d s" % (what, seconds))
    return status
