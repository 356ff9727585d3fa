"""Processes that are held at a certain point, and what is left when they have died."""

from __future__ import annotations

import contextlib
import json
import os
import select
import sqlite3
import time
from pathlib import Path

from tests.support import backend
from tests.support.distributions import (
    PYPROJECT,
    Content,
    filename_stem,
    metadata_text,
    sdist,
    wheel,
)
from tests.support.machine import LABEL, Machine, eventually

__all__ = ["BLOCK", "Gate", "assert_nothing_left", "ledger", "module", "passed", "requiring", "waiting_sdist"]

BLOCK = """\
import os, signal
def block():
    if os.path.exists({fifo!r}):
        with open({fifo!r}, "w") as told:
            told.write("%d %d\\n" % (os.getpid(), os.getppid()))
        signal.pause()
"""


class Gate:
    """A named pipe that tells when code has come to a certain point, and which processes are there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)

    @property
    def blocking(self) -> str:
        """Source that tells where it is and stays there, as long as the gate is closed."""
        return BLOCK.format(fifo=str(self.path)) + "block()\n"

    def reached(self, seconds: float = 30.0) -> tuple[int, int]:
        """Wait until somebody stands at the gate, and return its process id and its parent's."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            until, told = time.monotonic() + seconds, b""
            while not told.endswith(b"\n"):
                assert time.monotonic() < until, "nobody came to the gate"
                if select.select([descriptor], [], [], 0.1)[0]:
                    with contextlib.suppress(BlockingIOError):
                        told += os.read(descriptor, 64)
        finally:
            os.close(descriptor)
        process, parent = told.split()
        return int(process), int(parent)

    def open(self) -> None:
        """Let everybody pass from now on."""
        self.path.unlink()


def module(machine: Machine, name: str, text: str = "") -> Path:
    """Serve a wheel of one module."""
    return wheel(machine.files, name, "1.0", {f"{name}.py": text})


def waiting_sdist(machine: Machine, name: str, waiting: str) -> None:
    """Serve an sdist whose build begins with the source ``waiting``."""
    stem, metadata = filename_stem(name, "1.0"), metadata_text(name, "1.0", (), "")
    options = {"stem": stem, "tag": "py3-none-any", "metadata": metadata, "fails": "", "counter": ""}
    files: dict[str, Content] = {
        f"{name}.py": "",
        "real_backend.py": Path(backend.__file__).read_bytes(),
        "backend.py": f"{waiting}\nfrom real_backend import *\n",
        "backend.json": json.dumps({**options, "files": [f"{name}.py"]}),
    }
    sdist(machine.files, name, "1.0", files, pyproject=PYPROJECT)


def requiring(*names: str) -> list[str]:
    """Return the options that name packages; without a sandbox they can be seen, and held at a gate."""
    return ["--spip-sandbox=off", *(f"--spip-matrix={name}" for name in names)]


def passed(*names: str) -> dict[str, str]:
    """Return the outcomes of packages that passed."""
    return {f"{name}[1.0-{LABEL}]": "passed" for name in names}


def ledger(machine: Machine, project: str = "project") -> dict[str, str]:
    """Return the outcomes in the ledger of a project's newest run."""
    database = machine.project_path(project) / ".spip" / "latest" / "run.sqlite"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return dict(connection.execute("SELECT id, outcome FROM ledger JOIN plan USING (ordinal)"))


def assert_nothing_left(machine: Machine, seconds: float = 5.0) -> None:
    """See that no process and no worktree is left, and nothing half-made in the cache."""
    assert eventually(lambda: not machine.processes(), seconds), machine.processes()
    assert eventually(lambda: not machine.worktrees(), seconds), machine.worktrees()
    assert list((machine.cache / "staging").iterdir()) == []
