"""Where worktrees live: a tmpfs with room where there is one, else the disk; one directory per user and run."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from pytest_spip.disk import owner_tag, remove_tree, sweep_dead
from pytest_spip.errors import UsageProblem

__all__ = ["Root", "choose_root", "discard", "is_tmpfs", "sweep"]

ROOM = 256 << 20
"""Bytes that must be free on a tmpfs for us to take it: a container's /dev/shm of 64 MiB holds no scientific stack."""


@dataclasses.dataclass(frozen=True, slots=True)
class Root:
    """A run's own directory, mode 0700. ``kind`` is ``tmpfs`` or ``disk``; ``why`` says why it is not tmpfs."""

    path: Path
    kind: str
    why: str = ""

    @property
    def summary(self) -> str:
        """One line for the header."""
        free = shutil.disk_usage(self.path).free / (1 << 30)
        return f"{self.kind} at {self.path} ({free:.1f} GiB free{'; ' + self.why if self.why else ''})"


def choose_root(wish: str, environ: Mapping[str, str]) -> Root:
    """Create this run's directory as ``--spip-ram`` wishes: ``auto``, ``off``, or a directory.

    Raises ``UsageProblem`` for a directory that cannot be used.
    """
    if wish not in ("auto", "off"):
        return _in_named(Path(wish).expanduser())
    why = "--spip-ram=off"
    if wish == "auto":
        for place in _tmpfs_places(environ):
            why = _objection(place)
            if not why and (parent := _private(place)):
                return _made(parent, "tmpfs", "")
        why = why or "no tmpfs here"
    parent = _private(Path(tempfile.gettempdir()))
    if parent is None:
        raise UsageProblem(
            "--spip-ram", f"cannot write below {tempfile.gettempdir()}", "name a directory with --spip-ram=DIR"
        )
    return _made(parent, "disk", why)


def _in_named(place: Path) -> Root:
    parent = _private(place) if place.is_dir() else None
    if parent is None:
        raise UsageProblem("--spip-ram", f"{place} is not a writable directory", "name one, or use --spip-ram=auto")
    return _made(parent, "tmpfs" if is_tmpfs(place) else "disk", "")


def _made(parent: Path, kind: str, why: str) -> Root:
    path = parent / owner_tag()
    path.mkdir(mode=0o700, exist_ok=True)
    return Root(path, kind, why)


def _tmpfs_places(environ: Mapping[str, str]) -> Iterator[Path]:
    yield Path("/dev/shm")  # noqa: S108  # shared by all users: what we make there is private, see _private
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime)
    yield Path(tempfile.gettempdir())


def _objection(place: Path) -> str:
    """Say why a place does not serve as RAM; nothing where it does."""
    if not place.is_dir() or not is_tmpfs(place):
        return ""
    room = shutil.disk_usage(place).free
    if room < ROOM:
        return f"{place} has only {room >> 20} MiB free"
    if os.statvfs(place).f_flag & os.ST_NOEXEC:
        return f"{place} is mounted noexec"
    return ""


def is_tmpfs(place: Path) -> bool:
    """Tell whether a directory lies on a tmpfs, by the mount table: the innermost mount decides."""
    with contextlib.suppress(OSError):
        path = os.path.realpath(place)
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
        over = [(len(mount[1]), mount[2]) for mount in mounts if _is_below(path, mount[1])]
        return bool(over) and max(over, key=lambda pair: pair[0])[1] in ("tmpfs", "ramfs")
    return False


def _is_below(path: str, mount: str) -> bool:
    return path == mount or path.startswith(mount.rstrip("/") + "/")


def _private(place: Path) -> Path | None:
    """Return our directory in a place that others write to as well, or None where somebody else holds its name."""
    path = place / f"pytest-spip-{os.getuid()}"
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        state = path.lstat()
    except OSError:
        return None
    ours = stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid() and not state.st_mode & 0o077
    return path if ours and os.access(path, os.W_OK) else None


def sweep(root: Root) -> list[Path]:
    """Remove the directories of runs that died before they could."""
    return sweep_dead(root.path.parent)


def discard(path: Path) -> None:
    """Remove a run's directory in the background, at low priority: nobody waits for it.

    The rename takes the name away at once, so that the next run sweeps it should the remover be killed.
    """
    doomed = path.with_name(f"0-doomed-{path.name}")
    with contextlib.suppress(OSError):
        path.rename(doomed)
        _remove_later(doomed)


def _remove_later(path: Path) -> None:
    code = "import os, shutil, sys; os.nice(19); shutil.rmtree(sys.argv[1], ignore_errors=True)"
    try:
        subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", code, str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
    except OSError:
        remove_tree(path)
