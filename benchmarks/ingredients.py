"""What the kernel's own means of confinement cost, measured on a bare fork: namespaces, a tmpfs, a system call filter."""

from __future__ import annotations

import ctypes
import os
import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path

__all__ = ["measured"]

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = (
    0x20000,
    0x8000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
ALLOW = struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000)  # BPF_RET, SECCOMP_RET_ALLOW: what a filter costs at the least

Step = Callable[[], None]


def measured(forks: int) -> dict[str, list[float]]:
    """Return milliseconds from fork to the child's end, by what the child did; what is refused here is left out."""
    specs = {name: spec for name, spec in _specs().items() if _forked(spec) is not None}
    told: dict[str, list[float]] = {name: [] for name in specs}
    for _ in range(forks):
        for name, spec in specs.items():
            told[name].append(_forked(spec) or 0.0)
    return told


def _specs() -> Mapping[str, list[Step]]:
    """Return recipes by their last step; each has the steps of those above it."""
    steps: list[tuple[str, Step]] = [
        ("user and mount namespaces", lambda: _namespaces(CLONE_NEWUSER | CLONE_NEWNS)),
        ("sized tmpfs", lambda: _succeed(LIBC.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, b"size=64m"))),
        ("ipc namespace", lambda: _succeed(LIBC.unshare(CLONE_NEWIPC))),
        ("network namespace", lambda: _succeed(LIBC.unshare(CLONE_NEWNET))),
        ("seccomp filter", _filter),
        ("pid namespace, one more fork", _second_fork),
    ]
    fork: Mapping[str, list[Step]] = {"fork": []}
    return {**fork, **{name: [step for _, step in steps[: number + 1]] for number, (name, _) in enumerate(steps)}}


def _forked(spec: list[Step]) -> float | None:
    """Return the milliseconds of one fork, ``None`` when the kernel refuses a step."""
    began = time.perf_counter()
    child = os.fork()
    if not child:
        _follow(spec)
    status = os.waitpid(child, 0)[1]
    return None if status else 1000 * (time.perf_counter() - began)


def _follow(spec: list[Step]) -> None:
    """Take the steps and leave; never returns."""
    try:
        for step in spec:
            step()
    except OSError:
        os._exit(1)
    os._exit(0)


def _namespaces(flags: int) -> None:
    """Enter namespaces and be in them who we are outside."""
    uid, gid = os.getuid(), os.getgid()
    _succeed(LIBC.unshare(flags))
    for file, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        Path("/proc/self", file).write_text(text, encoding="ascii")


def _filter() -> None:
    """Install a filter that lets everything pass."""
    program = ctypes.create_string_buffer(ALLOW, len(ALLOW))
    header = ctypes.create_string_buffer(struct.pack("HL", 1, ctypes.addressof(program)))
    _succeed(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _succeed(LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0))


def _second_fork() -> None:
    """Be the parent of the first process of a process namespace, for who asks for one stays outside."""
    _succeed(LIBC.unshare(CLONE_NEWPID))
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


def _succeed(status: int) -> None:
    if status != 0:
        raise OSError(ctypes.get_errno(), "refused")
