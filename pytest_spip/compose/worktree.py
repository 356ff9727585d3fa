"""One worktree: composes an environment in it by copying wheels, and takes everything out again."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from pytest_spip.disk import remove_tree
from pytest_spip.errors import HarnessProblem
from pytest_spip.model import PYTHON_PLACEHOLDER, Composed, Environment, Interpreter, StoredWheel

__all__ = ["Worktree"]

HOUSE = ("home", "tmp", "work")
"""Directories of a combination beside its packages: HOME, TMPDIR and the working directory."""


class Worktree:
    """A bare environment that is used again and again: what a combination brings or leaves is taken out after it.

    ``restore`` brings the worktree back when a combination changed the base environment itself.
    """

    def __init__(self, path: Path, interpreter: Interpreter, restore: Callable[[Path], None]) -> None:
        self.path = path
        self._restore = restore
        self._python = path / "bin" / "python"
        self._library = self._find_library(interpreter)
        self._site = self._library / "site-packages"
        self._site.mkdir(parents=True, exist_ok=True)  # git keeps no empty directories
        library = f"lib/{self._library.name}"
        self._floors = (".", "bin", "include", "lib", library, f"{library}/site-packages")
        self._base = self._states()

    def _find_library(self, interpreter: Interpreter) -> Path:
        folder = "pypy" if interpreter.implementation == "pypy" else "python"
        threads = "t" if interpreter.label.rstrip("d").endswith("t") else ""
        return self.path / "lib" / f"{folder}{interpreter.python}{threads}"

    @contextlib.contextmanager
    def composed(self, environment: Environment) -> Iterator[Composed]:
        """Yield the environment, composed; afterwards nothing of it is left. Raises ``HarnessProblem``."""
        try:
            self._compose(environment)
            home, tmp, cwd = (str(self.path / name) for name in HOUSE)
            yield Composed(str(self.path), str(self._python), str(self._site), home, tmp, cwd)
        finally:
            self.clear()

    def _compose(self, environment: Environment) -> None:
        try:
            for name in HOUSE:
                (self.path / name).mkdir(mode=0o700)
            for wheel in environment.wheels:
                self._install(wheel)
        except OSError as error:
            raise HarnessProblem(f"cannot compose an environment in {self.path}: {error}") from error

    def _install(self, wheel: StoredWheel) -> None:
        """Copy a wheel into place. Never a link: who writes to a link writes to the store."""
        root = Path(wheel.root)
        _copy_tree(root / "purelib", self._site)
        _copy_tree(root / "platlib", self._site)
        _copy_tree(root / "data", self.path)
        _copy_tree(root / "headers", self.path / "include" / "site" / self._library.name / wheel.name)
        with os.scandir(root / "scripts") as scripts:
            for entry in scripts:
                self._install_script(Path(entry.path))

    def _install_script(self, script: Path) -> None:
        target = self.path / "bin" / script.name
        target.write_bytes(script.read_bytes().replace(PYTHON_PLACEHOLDER.encode(), os.fsencode(self._python), 1))
        target.chmod(0o755)

    def clear(self) -> None:
        """Take out all that is not the base environment; restore what a combination changed or removed of it."""
        found = self._states()
        for name in found.keys() - self._base.keys():
            _remove(self.path / name)
        if any(found.get(name) != state for name, state in self._base.items()):
            self._restore(self.path)
            self._site.mkdir(parents=True, exist_ok=True)
            self._base = self._states()

    def _states(self) -> dict[str, _State]:
        """Return the state of every entry of the base environment's directories, by path; deeper trees are one entry.

        A directory's state is its mode; a file's also inode, size and change time, which no unprivileged program can set.
        """
        states: dict[str, _State] = {}
        for floor in self._floors:
            with contextlib.suppress(OSError), os.scandir(self.path / floor) as entries:
                for entry in entries:
                    state = entry.stat(follow_symlinks=False)
                    own = () if stat.S_ISDIR(state.st_mode) else (state.st_ino, state.st_size, state.st_ctime_ns)
                    states[f"{floor}/{entry.name}"] = (state.st_mode, *own)
        return states


_State = tuple[int, ...]


def _copy_tree(source: Path, target: Path) -> None:
    """Copy a tree into one that may exist. Contents and the executable bit are copied, times and owners are not."""
    with os.scandir(source) as entries:
        found = list(entries)
    if found:
        target.mkdir(parents=True, exist_ok=True)
    for entry in found:
        aim = target / entry.name
        if entry.is_dir(follow_symlinks=False):
            _copy_tree(Path(entry.path), aim)
        else:
            shutil.copyfile(entry.path, aim)
            if entry.stat().st_mode & 0o100:
                aim.chmod(0o755)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
