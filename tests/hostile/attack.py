"""Attacks as data: a package whose import attacks, and the verdict that must come of it."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.distributions import Content, wheel
from tests.support.machine import Cell

__all__ = ["CRASHED", "IMPORT_ERROR", "KILLED", "PASSED", "PRELUDE", "Attack", "Off", "build", "everything_of"]

PASSED: Cell = ("passed", "import", None)
IMPORT_ERROR: Cell = ("failed", "import", "import-error")


def KILLED(reason: str) -> Cell:  # noqa: N802  # reads as the constants beside it
    """Return the cell of what had to be killed."""
    return "killed", "import", reason


def CRASHED(reason: str) -> Cell:  # noqa: N802  # as above
    """Return the cell of what died by itself."""
    return "crashed", "import", reason


MARK = "#!prelude\n"
"""The line of a file that the prelude, and the facts, come in place of."""

PRELUDE = '''\
import errno, os, socket, sys, time
NUMBERS = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "mount": (165, 40), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "keyctl": (250, 219), "add_key": (248, 217), "bpf": (321, 280), "perf_event_open": (298, 241),
    "userfaultfd": (323, 282), "name_to_handle_at": (303, 264), "sethostname": (170, 161), "memfd_create": (319, 279),
    "shmget": (29, 194), "shmat": (30, 196), "shmdt": (67, 197), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "io_uring_setup": (425, 425), "open_tree": (428, 428), "fsopen": (430, 430), "clone": (56, 220),
    "pidfd_send_signal": (424, 424),
}

def escaped(got=None):
    """Say that it worked, with what was got; the canary in it shows in every report."""
    raise ImportError("escaped: %s got %.300r" % (NAME, got))

def refused(attempt, *arguments):
    """See an attempt fail as the system refuses things."""
    try:
        got = attempt(*arguments)
    except OSError:
        return
    escaped(got)

def confined():
    """Go on only where nothing can be harmed."""
    if os.path.exists(OUTSIDE):
        escaped("a place to do harm")

def called(function, *arguments):
    """Call a function of C, which may fail."""
    import ctypes
    ctypes.set_errno(0)
    done = function(*(ctypes.c_long(one) if isinstance(one, int) else one for one in arguments))
    if done == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return done

def syscall(name, *arguments):
    import ctypes
    return called(ctypes.CDLL(None, use_errno=True).syscall, NUMBERS[name][os.uname().machine == "aarch64"], *arguments)

def read(path):
    with open(path, "rb") as stream:
        return stream.read()

def write(path):
    with open(path, "w") as stream:
        return stream.write("written by " + NAME)

def exchange(family, kind, address):
    """Send our name and wait for an answer: a datagram alone is never refused."""
    with socket.socket(family, kind) as one:
        one.settimeout(20)
        if family == socket.AF_UNIX and kind == socket.SOCK_DGRAM:
            one.bind("")  # a name for the answer
        one.connect(address)
        one.sendall(NAME.encode())
        return one.recv(64)

def others():
    """Yield the processes that can be seen and are not this one."""
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            yield int(name)

def each_refused(attempt, pids):
    for pid in pids:
        refused(attempt, pid)

'''


class Off:
    """What an attack does where there is no sandbox."""

    ESCAPES = "escapes"
    """It gets through."""
    MAY = "may"
    """It gets through where the machine, and the rights of who runs the tests, allow it."""
    NOT_RUN = "not run"
    """It would harm the machine, or proves nothing."""


@dataclasses.dataclass(frozen=True, eq=False)
class Attack:
    """A package that attacks when it is imported.

    ``code`` comes after the prelude. ``cell`` and ``detail`` are what the report must say of it; ``warm`` and ``cold`` are
    other cells for those runners. ``versions`` are released, each of which is a combination. ``files`` and ``how`` go to
    :func:`wheel`; with ``files`` the code is theirs alone.
    """

    name: str
    code: str = ""
    cell: Cell = PASSED
    detail: str = ""
    off: str = Off.NOT_RUN
    versions: int = 1
    files: Mapping[str, Content] = dataclasses.field(default_factory=dict)
    make: Callable[[Path, str, str], object] | None = None
    how: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    only: str = ""
    """The one mode that it is run in, for what costs seconds."""
    lacking: str = ""
    """What is still missing for the verdict, nothing where it holds."""

    @property
    def ids(self) -> list[str]:
        """The beginnings of its combinations' ids."""
        return [f"{self.name.replace('_', '-')}[{version}.0-" for version in range(1, self.versions + 1)]


def build(attack: Attack, files: Path, facts: Mapping[str, object]) -> None:
    """Make an attack's distributions, which know the facts."""
    known = {"NAME": attack.name, **facts}
    prelude = "".join(f"{key} = {value!r}\n" for key, value in known.items()) + PRELUDE
    if attack.make is not None:
        attack.make(files, attack.name, prelude)
        return
    contents = attack.files or {f"{attack.name}.py": MARK + textwrap.dedent(attack.code)}
    how: dict[str, Any] = {
        key: _filled(value, prelude) if isinstance(value, Mapping) else value for key, value in attack.how.items()
    }
    for version in range(1, attack.versions + 1):
        wheel(files, attack.name, f"{version}.0", _filled(contents, prelude), **how)


def _filled(contents: Mapping[str, Content], prelude: str) -> dict[str, Content]:
    """Put the prelude into texts where they ask for it."""
    return {
        path: text if isinstance(text, bytes) else text.replace(MARK, prelude, 1) for path, text in contents.items()
    }


def everything_of(*groups: Sequence[Attack]) -> tuple[Attack, ...]:
    """Return all attacks of some groups; no two have one name."""
    attacks = tuple(attack for group in groups for attack in group)
    names = [attack.name for attack in attacks]
    assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)
    return attacks
