"""One worktree: composes an environment in it by copying wheels, and takes everything out again."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import string
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pytest_spip.common.trees import remove_tree
from pytest_spip.compose.copying import Copy, copy_bytes
from pytest_spip.errors import HarnessProblem
from pytest_spip.model import PYTHON_PLACEHOLDER, Composed, Environment, Interpreter, StoredWheel

__all__ = ["PLACE", "Worktree", "composed_at", "headers", "library", "own_record", "shebang"]

PLACE = "work"
"""Name of the working directory of what is no project's."""
OWN = ("home", "tmp", "src")
"""Directories that a combination has to itself: HOME, TMPDIR, and where its working directory is."""
SHEBANG_LIMIT = 127
"""Bytes of a script's first line that every kernel reads; Linux reads 255 since 5.1 (execve(2))."""


class Worktree:
    """A bare environment that is used again and again: what a combination brings or leaves is taken out after it.

    ``restore`` checks the base environment out anew at a path where nothing is; ``copy`` copies one file. ``own`` is the directory
    for what a combination has to itself, which others may use at other times: it keeps its inode, which sandboxes know it by.
    """

    def __init__(
        self,
        path: Path,
        interpreter: Interpreter,
        restore: Callable[[Path], None],
        copy: Copy = copy_bytes,
        own: Path | None = None,
    ) -> None:
        self.path = path
        self.own = own or path.with_name(f"own-{path.name}")
        self.own.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._restore = restore
        self._copy = copy
        self._python = path / "bin" / "python"
        self._library = path / "lib" / library(interpreter)
        self._site = self._library / "site-packages"
        self._site.mkdir(parents=True, exist_ok=True)  # git keeps no empty directories
        self._floors = [os.path.relpath(floor, path) for floor, _, _ in os.walk(path)]  # parents before children
        self._base = self._states()

    @contextlib.contextmanager
    def composed(self, environment: Environment) -> Iterator[Composed]:
        """Yield the environment, composed; afterwards nothing of it is left. Raises ``HarnessProblem``."""
        try:
            self._compose(environment)
            yield self._described(environment)
        finally:
            self.clear()

    def extended(self, environment: Environment, more: Sequence[StoredWheel]) -> Composed:
        """Add wheels to what is composed, which makes it another environment. Raises ``HarnessProblem``."""
        try:
            for wheel in more:
                self._install(wheel)
        except OSError as error:
            raise HarnessProblem(f"cannot add to the environment in {self.path}: {error}") from error
        return self._described(environment)

    def _described(self, environment: Environment) -> Composed:
        home, tmp, sources = (str(self.own / name) for name in OWN)
        return composed_at(self.path, self._library, home, tmp, sources, environment.place)

    def _compose(self, environment: Environment) -> None:
        try:
            for name in OWN:
                (self.own / name).mkdir(mode=0o700)
            for wheel in environment.wheels:
                self._install(wheel)
            place = environment.place or PLACE
            if environment.tree:
                self._copy_tree(Path(environment.tree), self.own / OWN[-1] / place.partition("/")[0])
            (self.own / OWN[-1] / place).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HarnessProblem(f"cannot compose an environment in {self.path}: {error}") from error

    def _install(self, wheel: StoredWheel) -> None:
        """Copy a wheel into place. Never a link: who writes to a link writes to the store."""
        root = Path(wheel.root)
        self._copy_tree(root / "purelib", self._site)
        self._copy_tree(root / "platlib", self._site)
        self._copy_tree(root / "data", self.path)
        self._copy_tree(root / "headers", self.path / headers(self._library.name) / wheel.name)
        if own := own_record(wheel, self._library.name):
            (self._site / own[0]).write_text(own[1], "utf-8")
        for script in sorted((root / "scripts").iterdir()):
            self._install_script(script)

    def _install_script(self, script: Path) -> None:
        target = self.path / "bin" / script.name
        self._copy_file(script, target)
        target.chmod(0o755)
        placeholder = f"#!{PYTHON_PLACEHOLDER}".encode()
        with script.open("rb") as stream:
            if stream.read(len(placeholder)) == placeholder:  # else a program, which may be large
                target.write_bytes(shebang(self._python) + stream.read())

    def _copy_tree(self, source: Path, target: Path) -> None:
        """Copy a tree into one that may exist. Contents and the executable bit are copied, times and owners are not."""
        with os.scandir(source) as entries:
            found = list(entries)
        if found:
            target.mkdir(parents=True, exist_ok=True)
        for entry in found:
            aim = target / entry.name
            if entry.is_symlink():  # in a tree; wheels have none
                aim.symlink_to(os.readlink(entry.path))
            elif entry.is_dir():
                self._copy_tree(Path(entry.path), aim)
            else:
                self._copy_file(Path(entry.path), aim)
                if entry.stat().st_mode & 0o100:
                    aim.chmod(0o755)

    def _copy_file(self, source: Path, target: Path) -> None:
        """Copy a file, in place of one that is there, never through a link: ``bin/python`` leads to the user's interpreter."""
        replaced = False
        with contextlib.suppress(FileNotFoundError):
            target.unlink()
            replaced = True
        self._copy(source, target)
        if replaced:  # bytecode of what it replaces must not be taken for its own, for which the times tell
            state = source.stat()
            os.utime(target, ns=(state.st_atime_ns, state.st_mtime_ns))

    def clear(self) -> None:
        """Take out all that is not the base environment, or make it anew where a combination changed that itself.

        Raises ``HarnessProblem`` when something cannot be removed.
        """
        self._clear_own()
        found = self._states()
        if any(found.get(name) != state for name, state in self._base.items()):
            self._make_anew()
        else:
            for name in found.keys() - self._base.keys():
                _remove(self.path / name)

    def _clear_own(self) -> None:
        if self.own.is_symlink() or not self.own.is_dir():
            _remove(self.own)
            self.own.mkdir(mode=0o700)
        self.own.chmod(0o700)
        for name in os.listdir(self.own):
            _remove(self.own / name)

    def _make_anew(self) -> None:
        """Replace the whole tree: neither what is left of it nor its ``.git`` can be trusted to lead to our repository."""
        _remove(self.path)
        self._restore(self.path)
        self._site.mkdir(parents=True, exist_ok=True)
        self._base = self._states()

    def _states(self) -> dict[str, _State]:
        """Return the state of every entry of the base environment's directories, by path; other trees are one entry.

        A directory's state is its mode; a file's also inode, size and change time, which no unprivileged program can set.
        Where a link took a directory's place, what it leads to is not ours: its entries are neither listed nor removed.
        """
        states: dict[str, _State] = {os.curdir: _state(self.path)}
        for floor in self._floors:
            if stat.S_ISDIR(states.get(floor, (0,))[0]):
                with contextlib.suppress(OSError):  # who shut it changed its mode, and that is seen above it
                    names = os.listdir(self.path / floor)
                    states |= {os.path.normpath(f"{floor}/{name}"): _state(self.path / floor / name) for name in names}
        return states


_State = tuple[int, ...]


def _state(path: Path) -> _State:
    """Return an entry's state; nothing's is a mode of 0."""
    try:
        state = path.lstat()
    except OSError:
        return (0,)
    return (state.st_mode,) + (() if stat.S_ISDIR(state.st_mode) else (state.st_ino, state.st_size, state.st_ctime_ns))


def library(interpreter: Interpreter) -> str:
    """Return the name of an interpreter's library directory below ``lib``."""
    return interpreter.library


def headers(lib: str) -> str:
    """Return where pip puts headers for a library directory's name, below the prefix: ``include/site/python3.12``."""
    return f"include/site/python{lib.strip(string.ascii_letters)}"


def own_record(wheel: StoredWheel, lib: str) -> tuple[Path, str] | None:
    """Return path, below site-packages, and text of a wheel's RECORD where that depends on the Python; None where it does not."""
    root = Path(wheel.root)
    if not (any((root / "headers").iterdir()) or (root / "data" / "lib" / lib / "site-packages").is_dir()):
        return None
    for scheme in ("purelib", "platlib"):
        for path in (root / scheme).glob("*.dist-info/RECORD"):
            text = re.sub(
                r'(?m)^("?\.\./\.\./\.\./)include/site/any/', rf"\g<1>{headers(lib)}/", path.read_text("utf-8")
            )
            text = re.sub(rf'(?m)^("?)\.\./\.\./\.\./lib/{re.escape(lib)}/site-packages/', r"\g<1>", text)
            return path.relative_to(root / scheme), text
    return None


def shebang(python: Path) -> bytes:
    """Return the line that starts a script; where the kernel would not read it, two that are shell and Python (pip's)."""
    path = os.fsencode(python)
    if len(path) + 2 <= SHEBANG_LIMIT and b" " not in path:
        return b"#!" + path
    return b"#!/bin/sh\n'''exec' \"" + path + b'" "$0" "$@"\n' + b"' '''"


def composed_at(prefix: Path, lib: Path, home: str, tmp: str, sources: str, place: str = "") -> Composed:
    """Return the description of an environment at a path, with its other directories; ``place`` is as in ``Environment``."""
    python, site = str(prefix / "bin" / "python"), str(lib / "site-packages")
    return Composed(str(prefix), python, site, home, tmp, f"{sources}/{place or PLACE}", sources)


def _remove(path: Path) -> None:
    remove_tree(path)
    if os.path.lexists(path):
        raise HarnessProblem(f"cannot remove {path}")
