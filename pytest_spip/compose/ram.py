"""Where worktrees live: a tmpfs with room where there is one, else the disk; one directory per user and run."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from pytest_spip.common.owners import owner_alive, owner_tag, sweep_dead
from pytest_spip.common.processes import start_in_background
from pytest_spip.common.trees import remove_tree
from pytest_spip.common.waits import ENDING
from pytest_spip.errors import UsageProblem

__all__ = ["Root", "choose_root", "discard", "is_tmpfs", "removed_at_end", "short_directory", "sweep"]

SHORT = re.compile(r"spip-([0-9a-v]+)\.([0-9a-v]+)(?:-\d+)?")
"""Names, beside the directories of users, of those with short paths: an owner's tag, each number in base 32.

Those that are discarded have one more number.
"""
DIGITS = "0123456789abcdefghijklmnopqrstuv"
ROOM = 256 << 20
"""Bytes that must be free on a tmpfs for us to take it: a container's /dev/shm of 64 MiB holds no scientific stack."""


@dataclasses.dataclass(frozen=True, slots=True)
class Root:
    """A run's own directory, mode 0700. ``kind`` is ``tmpfs`` or ``disk``; ``why`` says why none was chosen."""

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
        place = Path(wish).expanduser().absolute()  # children and the remover work in other directories
        return _made(place, "", "name another, or use --spip-ram=auto")
    whys = ["--spip-ram=off"] if wish == "off" else []
    for place in _tmpfs_places(environ) if wish == "auto" else ():
        whys.append(_lack(place) or _objection(place) or _claim(place))
        if not whys[-1]:
            return Root(_own(place), "tmpfs")
    return _made(Path(tempfile.gettempdir()), whys[0], "name a directory with --spip-ram=DIR")


def _made(place: Path, why: str, fix: str) -> Root:
    problem = _objection(place) or _claim(place)
    if problem:
        raise UsageProblem("--spip-ram", problem, fix)
    return Root(_own(place), "tmpfs" if is_tmpfs(place) else "disk", why)


def _tmpfs_places(environ: Mapping[str, str]) -> Iterator[Path]:
    yield Path("/dev/shm")  # noqa: S108  # shared by all users: what we make there is private, see _claim
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime)
    yield Path(tempfile.gettempdir())


def _lack(place: Path) -> str:
    """Say why a place is not the RAM we look for; nothing where it is."""
    try:
        room = shutil.disk_usage(place).free
    except OSError as error:
        return f"there is no {place}" if isinstance(error, FileNotFoundError) else f"{place}: {error.strerror}"
    if not is_tmpfs(place):
        return f"{place} is no tmpfs"
    return f"{place} has only {room >> 20} MiB free" if room < ROOM else ""


def _objection(place: Path) -> str:
    """Say why environments cannot live in a place; nothing where they can."""
    if os.pathsep in str(place):
        return f"{place} has a {os.pathsep!r} in its path, which no virtual environment may have"
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        return f"{place} is not a writable directory"
    if os.statvfs(place).f_flag & getattr(os, "ST_NOEXEC", 0):
        return f"{place} is mounted noexec"
    if place.stat().st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH:
        return f"{place} lets everybody rename what others made in it"
    return ""


def _own(place: Path) -> Path:
    """Return where this run's directory is in a place that others write to as well."""
    return place / f"pytest-spip-{os.getuid()}" / owner_tag()


def _claim(place: Path) -> str:
    """Make this run's directory; say why that cannot be, or be trusted, and nothing when it is made."""
    own = _own(place)
    try:
        own.parent.mkdir(mode=0o700, exist_ok=True)
        state = own.parent.lstat()
        if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid() or state.st_mode & 0o077:
            return f"{own.parent} is not a directory of yours alone"
        own.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        return f"cannot make {own} ({error.strerror})"
    return ""


def short_directory(root: Root) -> Path:
    """Make a directory of the run's with a short path: paths of sockets have 108 bytes (unix(7)), and packages have some in TMPDIR.

    ``discard`` and ``sweep`` remove it with the run's own. Where its name is taken it is within that one.
    """
    path = _short(root.path)
    try:
        path.mkdir(mode=0o700)
    except OSError:
        path = root.path / "own"
        path.mkdir(mode=0o700, exist_ok=True)
    return path


def _short(path: Path) -> Path:
    """Return where the directory with a short path is that belongs to a run's."""
    pid, _, started = path.name.partition("-")
    name = f"spip-{_base32(pid)}.{_base32(started)}" if started.isdigit() else f"spip-{path.name}"
    return path.parent.parent / name


def _base32(text: str) -> str:
    number, digits = int(text), ""
    while number or not digits:
        number, digit = divmod(number, 32)
        digits = DIGITS[digit] + digits
    return digits


def is_tmpfs(place: Path) -> bool:
    """Return True if a directory lies on a tmpfs, by the mount table: the innermost mount decides, the last of several there."""
    with contextlib.suppress(OSError):
        path = os.path.realpath(place)
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
        over = [(len(mount[1]), mount[2]) for mount in reversed(mounts) if _is_below(path, mount[1])]
        return bool(over) and max(over, key=lambda pair: pair[0])[1] in ("tmpfs", "ramfs")
    return False


def _is_below(path: str, mount: str) -> bool:
    point = re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), mount)  # spaces and the like, see getmntent(3)
    return path == point or path.startswith(point.rstrip("/") + "/")


def sweep(root: Root) -> list[Path]:
    """Remove the directories of runs that died before they could."""
    return [*sweep_dead(root.path.parent), *_sweep_short(root.path.parent.parent)]


def _sweep_short(place: Path) -> Iterator[Path]:
    for path in place.glob("spip-*"):
        found = SHORT.fullmatch(path.name)
        with contextlib.suppress(OSError):
            tag = "-".join(str(int(part, 32)) for part in found.groups()) if found else ""
            if tag and not owner_alive(tag) and path.lstat().st_uid == os.getuid():
                remove_tree(path)
                yield path


def discard(path: Path) -> None:
    """Remove a run's directory in the background, at low priority: nobody waits for it.

    The rename takes the name away at once, so that the next run sweeps it should the remover be killed.
    """
    if (short := _short(path)).is_dir() and short.lstat().st_uid == os.getuid():
        short = short.rename(f"{short}-{time.monotonic_ns()}")
        _remove_later(short)
    doomed = path.with_name(f"0-doomed-{path.name}-{time.monotonic_ns()}")
    with contextlib.suppress(OSError):
        path.rename(doomed)
        _remove_later(doomed)


@contextlib.contextmanager
def removed_at_end(root: Root) -> Iterator[None]:
    """Remove a root at the end, also where this process is killed: by a process that waits for its death."""
    paths = [str(root.path), str(_short(root.path))]
    guard = subprocess.Popen(
        ["sh", "-c", 'read -r _; exec rm -rf -- "$@"', "sh", *paths],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )
    try:
        yield
    finally:
        discard(root.path)
        with contextlib.suppress(subprocess.TimeoutExpired):
            guard.communicate(timeout=ENDING)


def _remove_later(path: Path) -> None:
    try:
        start_in_background(["rm", "-rf", "--", str(path)])  # which takes trees of any depth, as shutil does not
    except (OSError, subprocess.SubprocessError):
        remove_tree(path)
