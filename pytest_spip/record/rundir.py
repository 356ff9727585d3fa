"""A run's directory below the root directory: ``.spip/runs/<uuid>/``."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from pathlib import Path

from pytest_spip.common.owners import OwnerLock
from pytest_spip.common.trees import remove_tree
from pytest_spip.errors import UsageProblem

__all__ = ["HOME", "NEWEST", "RunDirectory", "check_room", "unwritable"]

HOME = ".spip"
"""Holds runs, below the root directory."""
NEWEST = "latest"
"""Stands for the run that was created last."""
ROOM, ROOM_OF_ONE = 2 << 20, 4 << 10
"""Bytes that a run takes on its disk, and what each combination adds: output is kept of those that fail."""


@dataclasses.dataclass(frozen=True, slots=True)
class RunDirectory:
    """Where one run keeps its files."""

    path: Path

    @property
    def database(self) -> Path:
        """Plan, ledger, merged telemetry."""
        return self.path / "run.sqlite"

    @property
    def workers(self) -> Path:
        """Telemetry files until they are merged."""
        return self.path / "workers"

    @property
    def locks(self) -> Path:
        """One ``pylock`` file per combination."""
        return self.path / "locks"

    @classmethod
    def create(cls, rootdir: Path, uuid: str) -> RunDirectory:
        """Create a run's directory and point ``latest`` at it. Raises ``UsageProblem`` for a name that is taken."""
        home = rootdir / HOME
        run = cls(home / "runs" / uuid)
        try:
            run.path.mkdir(parents=True)
        except FileExistsError as error:
            raise UsageProblem("--spip-run", f"run {uuid} exists already", "choose another name") from error
        except OSError as error:
            raise unwritable(home, error.strerror) from error
        try:
            run.workers.mkdir()
            run.locks.mkdir()
            (home / ".gitignore").write_text("*\n")
            staging = run.path / "latest"
            staging.symlink_to(Path("runs") / uuid)
            os.replace(staging, home / "latest")
        except OSError as error:
            run.discard()
            raise unwritable(home, error.strerror) from error
        return run

    @classmethod
    def find(cls, rootdir: Path, name: str, option: str = "--spip-resume") -> RunDirectory:
        """Return the directory of a run that exists; ``latest`` names the newest. Raises ``UsageProblem`` of the option."""
        home = rootdir / HOME
        path = (home / "latest").resolve() if name == NEWEST else home / "runs" / name
        if not (path / "run.sqlite").is_file():
            what = f"there is no run {name} below" if name != NEWEST else "there is no run yet below"
            raise UsageProblem(option, f"{what} {home}", f"see {home / 'runs'} for those there are")
        return cls(path)

    def hold(self) -> OwnerLock:
        """Keep the run for this process. Raises ``UsageProblem`` while another one works on it, and where it cannot be written."""
        try:
            return OwnerLock(self.path)
        except BlockingIOError as error:
            what = f"{error.strerror} is working on run {self.path.name}"
            raise UsageProblem("--spip-resume", what, "wait for it, or interrupt it") from error
        except OSError as error:
            raise unwritable(self.path, error.strerror) from error

    def discard(self) -> None:
        """Remove a run that came to nothing, and what leads to it; the last one takes ``.spip`` with it."""
        home = self.path.parent.parent
        remove_tree(self.path)
        if (home / "latest").is_symlink() and not (home / "latest").exists():
            (home / "latest").unlink()
        with contextlib.suppress(OSError):  # there are other runs
            self.path.parent.rmdir()
            if os.listdir(home) == [".gitignore"]:
                (home / ".gitignore").unlink()
                home.rmdir()


def check_room(rootdir: Path, combinations: int) -> None:
    """Raise ``UsageProblem`` where the ledger of so many combinations would not fit: what is begun is to be finished."""
    needed = ROOM + combinations * ROOM_OF_ONE
    with contextlib.suppress(OSError):  # whoever writes there learns why that cannot be
        free = shutil.disk_usage(rootdir).free
        if free < needed:
            what = f"{rootdir} has {free / (1 << 20):.1f} MiB free, and a run of {combinations} combinations needs"
            raise UsageProblem("rootdir", f"{what} about {needed / (1 << 20):.0f} MiB", "make room, or use --rootdir")


def unwritable(path: Path, why: object) -> UsageProblem:
    """Return what to tell of a place of runs that cannot be written."""
    return UsageProblem(
        "rootdir", f"cannot write {path} ({why})", "make room, run where you may write, or use --rootdir"
    )
