"""Shared state on disk: look, lock, look again, build aside, ``os.replace``; and whose debris is whose."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO, TypeVar

import filelock
import psutil

from pytest_spip.common.waits import PATIENCE
from pytest_spip.errors import HarnessProblem, UsageProblem

__all__ = [
    "Cache",
    "Hold",
    "give_tree",
    "open_cache",
    "owner_alive",
    "owner_tag",
    "remove_tree",
    "replace_text",
    "replacing",
    "rewriting",
    "sweep_dead",
    "taking",
]

_T = TypeVar("_T")
POLL = 0.02
"""Seconds between two tries to take what others have; locks that can be given up have no queue."""


def owner_tag() -> str:
    """Name this process for good: a pid alone is reused, a pid with its start time is not."""
    return f"{os.getpid()}-{_start_time(os.getpid())}"


def owner_alive(tag: str) -> bool:
    """Tell whether the process that :func:`owner_tag` named still runs."""
    pid, _, started = tag.partition("-")
    return pid.isdigit() and started != "" and _start_time(int(pid)) == started


class Hold:
    """Keeps a directory for this process until it lets go or dies: the lock is the kernel's, the tag beside it says whose.

    Raises ``BlockingIOError``, with the owner's process id where it is known, while another process has it.
    """

    def __init__(self, directory: Path) -> None:
        tag = directory / "owner"
        self._lock = filelock.FileLock(directory / "lock", is_singleton=False, thread_local=False)
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout as error:
            owner = tag.read_text("utf-8").partition("-")[0] if tag.exists() else ""
            raise BlockingIOError(errno.EWOULDBLOCK, f"process {owner}" if owner else "another process") from error
        replace_text(tag, owner_tag())

    def release(self) -> None:
        """Let go."""
        self._lock.release()


@contextlib.contextmanager
def taking(directory: Path, total: int, count: int) -> Iterator[list[int]]:
    """Wait for ``count`` of ``total`` things that processes share, and yield the numbers, from 0, of those that were free.

    They are locks in the directory, so the kernel gives them back when the process dies. Who gathers is alone in that: two
    who have one each and need two would wait for each other.
    """
    directory.mkdir(parents=True, exist_ok=True)
    locks = [_lock(directory / f"{number}.lock") for number in range(total)]
    with contextlib.ExitStack() as stack:
        taken: list[int] = []
        until = time.monotonic() + PATIENCE
        with _acquired(_lock(directory / "gathering.lock"), f"its turn to take {count} of {total} in {directory}"):
            while len(taken) < count:
                if time.monotonic() > until:
                    raise HarnessProblem(
                        f"{count} of {total} in {directory} were not free within {PATIENCE / 3600:g} h"
                    )
                found = next((n for n in range(total) if n not in taken and _is_taken(locks[n])), None)
                if found is None:
                    time.sleep(POLL)
                else:
                    stack.callback(locks[found].release)
                    taken.append(found)
        yield sorted(taken)


@contextlib.contextmanager
def _acquired(lock: filelock.BaseFileLock, what: str) -> Iterator[None]:
    """Hold a lock of ours. Raises ``HarnessProblem`` when others do not give it back."""
    try:
        lock.acquire(timeout=PATIENCE, poll_interval=POLL)
    except filelock.Timeout as error:
        raise HarnessProblem(f"{what}: another process has held {lock.lock_file} for {PATIENCE / 3600:g} h") from error
    try:
        yield
    finally:
        lock.release()


def _lock(path: Path) -> filelock.BaseFileLock:
    return filelock.FileLock(path, is_singleton=False, thread_local=False)


def _is_taken(lock: filelock.BaseFileLock) -> bool:
    """Take a lock, if it is free, and tell whether it was."""
    with contextlib.suppress(filelock.Timeout):
        lock.acquire(blocking=False)
    return lock.is_locked


def _start_time(pid: int) -> str:
    # Clock ticks since boot do not move when somebody sets the wall clock; psutil's create_time does.
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    with contextlib.suppress(psutil.Error):
        return f"{psutil.Process(pid).create_time():.2f}".replace(".", "")
    return ""


def remove_tree(path: Path) -> None:
    """Remove a file or a tree, also one in which somebody took away our permissions. What cannot be removed stays.

    Only directories of the tree have their mode changed: neither what a link in it leads to nor what lies above is ours.
    """
    if os.path.islink(path) or not os.path.isdir(path):
        with contextlib.suppress(OSError):
            path.unlink()
        return
    _remove(path)
    if path.exists():
        _open_up(path)
        _remove(path)


def _remove(path: Path) -> None:
    try:
        shutil.rmtree(path, ignore_errors=True)
    except RecursionError:  # a tree a thousand levels deep, made to be in the way
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(["rm", "-rf", "--", str(path)], check=False, stderr=subprocess.DEVNULL, timeout=PATIENCE)


def _open_up(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.chmod(0o700)
    for directory, folders, _ in os.walk(path):
        for folder in (os.path.join(directory, name) for name in folders):
            if not os.path.islink(folder):
                with contextlib.suppress(OSError):
                    os.chmod(folder, 0o700)  # before the walk goes down into it


def give_tree(top: Path, owner: int) -> None:
    """Give a tree to another user, its top last: what has it was given already. Links are given, not what they lead to."""
    for folder, below, files in os.walk(top, topdown=False):
        for name in (*files, *below, "."):
            os.chown(os.path.join(folder, name), owner, owner, follow_symlinks=False)


def sweep_dead(directory: Path) -> list[Path]:
    """Remove the entries of a directory whose owners, named by the entries, are dead; return what was removed."""
    swept = []
    for entry in list(directory.iterdir()) if directory.is_dir() else []:
        if not owner_alive(entry.name):
            remove_tree(entry)
            swept.append(entry)
    return swept


def replace_text(path: Path, text: str) -> None:
    """Write a small file so that a reader sees the old text or the new one, never a part."""
    with replacing(path) as stream:
        stream.write(text)


def share_file(source: str, target: str) -> None:
    """Have a file that never changes under another name too, as a copy where file systems or rights allow no link.

    What bore the name before gives it up. Raises ``OSError`` when there is no such file, or no room.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(target)
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """Yield a stream for a file's new text, which takes the place of the old one when all of it is written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}-")
    try:
        with open(handle, "w", encoding="utf-8") as stream:
            yield stream
        os.chmod(aside, 0o644)  # mkstemp keeps it from everybody else; a report is for others too
        os.replace(aside, path)
    except BaseException:
        os.unlink(aside)
        raise


@contextlib.contextmanager
def rewriting(path: Path) -> Iterator[TextIO]:
    """Yield a stream for a report: /dev/stdout and other people's links stay what they are, files are replaced."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        with path.open("w", encoding="utf-8") as stream:
            yield stream
    else:
        with replacing(path) as stream:
            yield stream


@dataclasses.dataclass(frozen=True, slots=True)
class Cache:
    """The user's cache directory. Every room owns one folder of it; ``aside`` holds what is being built."""

    root: Path

    @property
    def index(self) -> Path:
        """Project listings."""
        return self.root / "index"

    @property
    def pycache(self) -> Path:
        """Bytecode of the programs that we run in interpreters; the import system's own form, and replaced atomically."""
        return self.root / "pycache"

    @property
    def interpreters(self) -> Path:
        """What probed interpreters said of themselves."""
        return self.root / "interpreters"

    @property
    def locks(self) -> Path:
        """Resolutions: ``pylock`` files and failures."""
        return self.root / "locks"

    @property
    def environments(self) -> Path:
        """What earlier runs provisioned, by package."""
        return self.root / "environments"

    @property
    def wheels(self) -> Path:
        """The wheel store."""
        return self.root / "wheels"

    @property
    def layers(self) -> Path:
        """Wheels laid out as an environment holds them, for overlays."""
        return self.root / "layers"

    @property
    def trees(self) -> Path:
        """Files of projects and sdists, for suites to see."""
        return self.root / "trees"

    @property
    def builds(self) -> Path:
        """Wheels built from sdists, and the logs of builds that failed."""
        return self.root / "builds"

    @property
    def base(self) -> Path:
        """The base repository."""
        return self.root / "base.git"

    @property
    def aside(self) -> Path:
        """This process's workshop: what is made here is moved to its place when it is complete."""
        path = self.root / "aside" / owner_tag()
        path.mkdir(parents=True, exist_ok=True)
        return path

    @contextlib.contextmanager
    def guard(self, key: str) -> Iterator[None]:
        """Hold the lock named ``key`` against all processes and threads that share the cache."""
        guards = self.root / "guards"
        guards.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(key.encode()).hexdigest()[:32]
        with _acquired(_lock(guards / f"{name}.lock"), f"waiting for {key}"):
            yield

    def file(
        self, target: Path, make: Callable[[Path], object], *, stale: Callable[[Path], bool] = lambda _: False
    ) -> bool:
        """See that ``target`` exists, making it with ``make(path aside)`` if need be; tell whether it was made here.

        A target that is ``stale`` is made anew; until that is done, and where it fails, the old one stays.
        """
        if target.exists() and not stale(target):
            return False
        with self.guard(str(target)):
            if target.exists() and not stale(target):
                return False
            with self.workshop() as aside:
                made = aside / target.name
                make(made)
                target.parent.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileNotFoundError):
                    target.rename(aside / "old")  # a directory cannot be replaced by one
                os.replace(made, target)
        return True

    def read(self, target: Path, load: Callable[[Path], _T]) -> _T:
        """Return ``load(target)``, if need be after the process that is just putting a newer target in its place."""
        try:
            return load(target)
        except FileNotFoundError:
            with self.guard(str(target)):
                return load(target)

    @contextlib.contextmanager
    def workshop(self) -> Iterator[Path]:
        """Yield an empty directory on the cache's file system, removed at the end."""
        path = Path(tempfile.mkdtemp(dir=self.aside))
        try:
            yield path
        finally:
            remove_tree(path)

    def sweep(self) -> None:
        """Remove what dead processes left half-made."""
        sweep_dead(self.root / "aside")

    def close(self) -> None:
        """Remove this process's own, by now empty, workshop."""
        remove_tree(self.root / "aside" / owner_tag())


def open_cache(root: Path) -> Cache:
    """Open the cache, creating it if need be; raises ``UsageProblem`` where it cannot be written."""
    if os.pathsep in str(root):
        what = f"{root} has a {os.pathsep!r} in its path, which no virtual environment may have"
        raise UsageProblem("--spip-cache", what, "name another directory with --spip-cache=DIR")
    cache = Cache(root)
    try:
        cache.sweep()
        probe = cache.aside / "probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageProblem(
            "--spip-cache", f"cannot write {root} ({error.strerror})", "name a writable directory with --spip-cache=DIR"
        ) from error
    return cache
