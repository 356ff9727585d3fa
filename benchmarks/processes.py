"""The processes of a running session as /proc shows them: its workers, what they started, and what all of them hold."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

__all__ = ["Tree", "ended", "entries", "interpreters", "look", "mentioning", "mounts"]

WORKER, FORKED = "sys.stdin.readline", "spip-gw"
"""Part of the command line with which execnet starts a worker, and what the name of one begins with that was forked."""

ENVIRONMENT = "pyvenv.cfg"
"""The file that makes a directory a virtual environment (PEP 405)."""


@dataclasses.dataclass(frozen=True)
class Tree:
    """A session at one moment: ``servers`` are what workers started themselves, ``others`` what stems from those."""

    controller: psutil.Process
    workers: tuple[psutil.Process, ...]
    servers: tuple[psutil.Process, ...]
    others: tuple[psutil.Process, ...]
    zombies: int

    def lasting(self, seconds: float) -> tuple[psutil.Process, ...]:
        """Return the servers that live for so long already."""
        return tuple(each for each in self.servers if _age(each) > seconds)


def look(pid: int) -> Tree | None:
    """Return the session whose controller this is, ``None`` when it ended."""
    try:
        controller = psutil.Process(pid)
        everyone = controller.children(recursive=True)
        workers = [each for each in everyone if _is_worker(each)]
    except psutil.NoSuchProcess:
        return None
    below = {each.pid: each for worker in workers for each in _children(worker, recursive=True)}
    servers = [each for worker in workers for each in _children(worker) if not _is_zombie(each)]
    direct = {each.pid for each in servers}
    others = [each for number, each in below.items() if number not in direct and not _is_zombie(each)]
    return Tree(controller, tuple(workers), tuple(servers), tuple(others), sum(map(_is_zombie, everyone)))


def interpreters(processes: Iterable[psutil.Process]) -> Iterator[psutil.Process]:
    """Yield those of the processes that are Pythons: git at work for a session is not ours to disturb."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if process.name().startswith("python"):
                yield process


def mentioning(directory: Path) -> dict[int, str]:
    """Return the command lines of the processes that name the directory there, or in their environment, or work below it.

    Neither this process nor those that started it count.
    """
    ours = {os.getpid(), *(each.pid for each in psutil.Process().parents())}
    return {pid: command for pid, command, all_of_it in _told() if pid not in ours and str(directory) in all_of_it}


def _told() -> Iterator[tuple[int, str, str]]:
    """Yield for each process its command line, and that with its environment and directory, where they may be read."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            told = command = " ".join(process.cmdline())
            with contextlib.suppress(psutil.AccessDenied):
                told = f"{command} {' '.join(process.environ().values())} {process.cwd()}"
            yield process.pid, command, told


def ended(session: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for so long, and return whether the session has ended."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        session.wait(seconds)
    return session.returncode is not None


def mounts(pid: int) -> int:
    """Return how many mounts the process sees."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/mounts").read_bytes().count(b"\n")
    return 0


def entries(directory: Path) -> tuple[int, int]:
    """Return how many files and directories lie below the directory, and how many environments are among them."""
    found = [(len(folders) + len(files), ENVIRONMENT in files) for _, folders, files in os.walk(directory)]
    return sum(count for count, _ in found), sum(marked for _, marked in found)


def _children(process: psutil.Process, *, recursive: bool = False) -> Iterator[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        yield from process.children(recursive=recursive)


def _is_worker(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.name().startswith(FORKED) or any(WORKER in word for word in process.cmdline())
    return False


def _is_zombie(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_ZOMBIE
    return False


def _age(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.NoSuchProcess):
        return time.time() - process.create_time()
    return 0.0
