"""The system calls that no package needs and an attacker does: a seccomp filter. Standard library only, Python 3.7.

Loaded by path, see forkserver.py. A filter is a list of classic BPF instructions over ``struct seccomp_data`` (seccomp(2)):
number at 0, architecture at 4, arguments from 16 on, eight bytes each. What is refused fails as on a kernel or for a user
that does not have it, so that programs go on as they would there.
"""

import ctypes
import errno
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    End = tuple[bytes, ...]
    """The last instructions of a program, for some of the numbers."""

LOAD, EQUAL, ABOVE, MASKED, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32 = 0x40000000
NAMESPACES = 0x7E020080  # CLONE_NEWNS, -CGROUP, -UTS, -IPC, -USER, -PID, -NET, -TIME
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16

# name: numbers on x86_64 and aarch64; what both share since Linux 5.0 stands once.
_TWO = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264), "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142), "swapon": (167, 224),
    "swapoff": (168, 225), "acct": (163, 89), "quotactl": (179, 60), "syslog": (103, 116), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "sethostname": (170, 161), "setdomainname": (171, 162), "vhangup": (153, 58),
    "lookup_dcookie": (212, 18), "fanotify_init": (300, 262),
}  # fmt: skip
_SAME = {
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "pidfd_getfd": 438, "mount_setattr": 442, "quotactl_fd": 443, "memfd_secret": 447,
}  # fmt: skip
_ABSENT = {"clone3": 435, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427}
_UNCOUNTED = {"memfd_create": (319, 279), "shmget": (29, 194), "semget": (64, 190), "msgget": (68, 186)}
"""What these make counts against no limit and no size of a tmpfs, and is nobody's; without them programs take files."""
_CLONE, _IOCTL, _SOCKET, _PRLIMIT = (56, 220), (16, 29), (41, 198), (302, 261)
_FIRST = 1
"""The fork server in its pid namespace. Where it has the child's own user, the kernel would let the child limit it."""


def instruction(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    """Return one ``struct sock_filter``."""
    return struct.pack("HBBI", code, yes, no, value)


def refuse(number: int) -> bytes:
    """Return the instruction that fails a system call with an error number."""
    return instruction(RETURN, ERRNO | number)


def argument(place: int) -> bytes:
    """Return the instruction that loads the lower half of an argument; both architectures are little-endian."""
    return instruction(LOAD, 16 + 8 * place)


PASS: "End" = (instruction(RETURN, ALLOW),)
NOT_HERE: "End" = (refuse(errno.ENOSYS),)
NOT_YOU: "End" = (refuse(errno.EPERM),)


def program(machine: str, sockets: bool) -> "list[bytes]":
    """Return the filter's instructions; ``sockets`` says whether a network namespace keeps sockets harmless.

    Numbers are found by halves: for each process the kernel runs a filter once for every number, to know what it always allows.
    """
    column = sorted(ARCHITECTURES).index(machine) ^ 1
    ends: "dict[int, End]" = {numbers[column]: NOT_YOU for numbers in _TWO.values()}
    ends.update(dict.fromkeys(_SAME.values(), NOT_YOU))
    ends.update(dict.fromkeys((*_ABSENT.values(), *(numbers[column] for numbers in _UNCOUNTED.values())), NOT_HERE))
    ends[_CLONE[column]] = (argument(0), instruction(MASKED, NAMESPACES, 0, 1), *NOT_YOU, *PASS)
    terminal = (instruction(EQUAL, TIOCSTI, 1, 0), instruction(EQUAL, TIOCLINUX, 0, 1))
    ends[_IOCTL[column]] = (argument(1), *terminal, *NOT_YOU, *PASS)
    ends[_PRLIMIT[column]] = (argument(0), instruction(EQUAL, _FIRST, 0, 1), *NOT_YOU, *PASS)
    families = (AF_UNIX, AF_INET, AF_INET6, AF_NETLINK) if sockets else ()
    allowed = [instruction(EQUAL, family, len(families) - place, 0) for place, family in enumerate(families)]
    ends[_SOCKET[column]] = (argument(0), *allowed, refuse(errno.EAFNOSUPPORT if sockets else errno.EPERM), *PASS)
    code = [instruction(LOAD, 4), instruction(EQUAL, ARCHITECTURES[machine], 1, 0), *NOT_HERE]
    code += [instruction(LOAD, 0), instruction(ABOVE, X32, 0, 1), *NOT_HERE]
    return code + chosen(ranges(ends))


def ranges(ends: "dict[int, End]") -> "list[tuple[int, End]]":
    """Return pairs of a first number and what ends a program from there to the next pair's; what is not named passes."""
    found: "list[tuple[int, End]]" = [(0, PASS)]
    for number in sorted(ends):
        for first, end in ((number, ends[number]), (number + 1, PASS)):
            if found[-1][0] == first:
                found.pop()
            if not found or found[-1][1] != end:
                found.append((first, end))
    return found


def chosen(pairs: "list[tuple[int, End]]") -> "list[bytes]":
    """Return instructions that choose among pairs by the number in the accumulator. Jumps over 255 instructions cannot be."""
    if len(pairs) == 1:
        return list(pairs[0][1])
    half = len(pairs) // 2
    below = chosen(pairs[:half])
    return [instruction(ABOVE, pairs[half][0], len(below), 0), *below, *chosen(pairs[half:])]


class Filter(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]


def compiled(machine: str, sockets: bool) -> Filter:
    """Return the filter as prctl(2) takes it; keep it as long as it is used."""
    code = program(machine, sockets)
    return Filter(len(code), b"".join(code))
