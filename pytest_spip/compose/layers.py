"""Layers: wheels laid out once as an environment holds them, for overlays that show them without copying."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pytest_spip.common.cache import Cache
from pytest_spip.common.trees import give_tree
from pytest_spip.compose.worktree import headers, library, own_record, shebang
from pytest_spip.model import PYTHON_PLACEHOLDER, Interpreter, StoredWheel, digest

__all__ = ["Layers"]

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
COMPILED, REWRITTEN = "c", "r"
"""End the names of layers with bytecode: beside its sources, and of a tree's tests alone."""
LAYOUT = 2
"""Raise it when what a layer holds changes."""
TREE_LAYOUT = 2
"""The same for what the layer of a tree holds."""
LENGTH = 20
"""Letters of a plain layer's name."""
REMEMBERED = 256
"""Layers and wheels that a worker knows by heart; others it looks up in the cache."""
_PLACEHOLDER = f"#!{PYTHON_PLACEHOLDER}".encode()


class Layers:
    """The cache's layers. Their names are short, for a mount's options fit a page; their files are the store's, linked.

    ``owner`` is the uid that package code runs as where that is not ours, or 0: an environment's files belong to its user, so
    they are given away. Nobody else has that uid, and it cannot enter the cache. ``has_time`` says whether nothing else is to be
    done for now, so that bytecode costs nobody anything.
    """

    def __init__(self, cache: Cache, owner: int, has_time: Callable[[], bool] = bool) -> None:
        self._cache = cache
        self._owner = owner
        self._has_time = has_time
        self._names: dict[tuple[str, ...], str] = {}
        self._seen_again: set[str] = set()
        self._rewritten: dict[str, bool] = {}
        self._scripts: dict[str, tuple[tuple[str, bytes], ...]] = {}
        self.root = cache.layers
        self._root = str(self.root)
        self.root.mkdir(parents=True, exist_ok=True)

    def name(self, wheels: tuple[StoredWheel, ...], interpreter: Interpreter) -> str:
        """Return the name, below :attr:`root`, of the layer that holds wheels for an interpreter; make it if need be."""
        key = (*(wheel.sha256 for wheel in wheels), interpreter.path, library(interpreter))
        known = self._names.get(key, "")
        if not known:
            known = _remember(self._names, key, self._found_or_laid(wheels, key))
        elif len(known) == LENGTH:  # not compiled yet; any letter may end a plain name
            self._seen_again.add(known)
        return known

    def _found_or_laid(self, wheels: tuple[StoredWheel, ...], key: tuple[str, ...]) -> str:
        name = digest(LAYOUT, *key, self._owner)[:20]
        if self._cache.use(f"{self._root}/{name}{COMPILED}"):
            return f"{name}{COMPILED}"
        if not self._cache.file(self.root / name, lambda staging: self._lay(wheels, key[-1], staging)):
            self._seen_again.add(name)
        return name

    def tree(self, path: Path, top: str) -> str:
        """Return the name of the layer that shows a copy of a tree as the directory ``top``."""
        name = digest(TREE_LAYOUT, str(path), top, self._owner)[:20]
        self._cache.file(self.root / name, lambda staging: self._lay_tree(path, top, staging))
        return name

    def rewritten(self, tree: str, pytest: StoredWheel, interpreter: Interpreter) -> tuple[tuple[str, ...], str]:
        """Return the layer with the bytecode of a tree's tests, if there is one, and its name if it would pay to make it.

        That is when it is missed for the second time.
        """
        name = f"{digest(LAYOUT, tree, pytest.sha256, interpreter.path, library(interpreter), self._owner)[:20]}{REWRITTEN}"
        missed = name in self._rewritten
        if not self._rewritten.get(name, False):
            _remember(self._rewritten, name, self._cache.use(self.root / name))
        return ((name,), "") if self._rewritten[name] else ((), name if missed else "")

    def rewrite(self, name: str, tree: str, bytecode: Mapping[str, bytes]) -> None:
        """File the bytecode of a tree's tests, by path; what does not belong to one of its sources is left out."""
        own = {path: data for path, data in bytecode.items() if _has_source(self.root / tree, path)}
        self._cache.file(self.root / name, lambda staging: self._lay_bytecode(own, staging))

    def uncompiled(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return those layers that bytecode would pay for: they are met again, or there is time to think of the next run."""
        if self._has_time():
            return tuple(name for name in names if len(name) == LENGTH)
        return tuple(filter(self.is_met_again, names))

    def is_met_again(self, name: str) -> bool:
        """Return True if a layer without bytecode was met before, by whomever, and is met again."""
        return name in self._seen_again

    def sources(self, names: Sequence[str], paths: Iterable[str]) -> tuple[str, ...]:
        """Return those of an environment's source files that lie in one of the layers; all paths are below the prefix."""
        tops = [f"{self._root}/{name}" for name in names]
        return tuple(path for path in paths if any(os.path.isfile(f"{top}/{path}") for top in tops))

    def compile(self, name: str, bytecode: Mapping[str, bytes], above: Sequence[str] = ()) -> None:
        """File a layer with bytecode beside it, by path; what does not belong into the layer is left out.

        Layers ``above`` it hid its files when the bytecode was made: what they have too is theirs, and no other package's.
        The layer itself stays as it is, for somebody may just be looking through it.
        """
        plain, hiding = self.root / name, [self.root / other for other in above]
        own = {path: data for path, data in bytecode.items() if _has_source(plain, path)}
        known = {path: data for path, data in own.items() if not any(_has_source(other, path) for other in hiding)}
        self._cache.file(self.root / f"{name}{COMPILED}", lambda staging: self._lay_compiled(plain, known, staging))
        self._seen_again.discard(name)
        self._names = {key: f"{name}{COMPILED}" if known == name else known for key, known in self._names.items()}

    def scripts(self, wheel: StoredWheel, python: Path) -> tuple[tuple[str, str], ...]:
        """Return the wheel's Python scripts as pairs of path and text: they name their environment's interpreter.

        The text may hold surrogates for bytes that are not UTF-8.
        """
        if wheel.sha256 not in self._scripts:
            _remember(self._scripts, wheel.sha256, tuple(_python_scripts(f"{wheel.root}/scripts")))
        if not self._scripts[wheel.sha256]:
            return ()
        first = shebang(python)
        return tuple(
            (f"bin/{name}", (first + rest).decode("utf-8", "surrogateescape"))
            for name, rest in self._scripts[wheel.sha256]
        )

    def _lay(self, wheels: tuple[StoredWheel, ...], lib: str, target: Path) -> None:
        target.mkdir()
        for wheel in wheels:
            _lay_wheel(wheel, lib, target)
        if self._owner:
            give_tree(target, self._owner)

    def _lay_tree(self, path: Path, top: str, target: Path) -> None:
        target.mkdir()
        shutil.copytree(path, target / top, symlinks=True)
        if self._owner:
            give_tree(target, self._owner)

    def _lay_compiled(self, plain: Path, bytecode: Mapping[str, bytes], target: Path) -> None:
        _link_tree(plain, target)
        self._lay_bytecode(bytecode, target)

    def _lay_bytecode(self, bytecode: Mapping[str, bytes], target: Path) -> None:
        target.mkdir(exist_ok=True)
        for path, data in bytecode.items():
            place = target / path
            place.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                place.unlink()  # the wheel's own, and a link into the store
            place.write_bytes(data)
        if self._owner:
            give_tree(target, self._owner)


def _remember(memory: dict[_Key, _Value], key: _Key, value: _Value) -> _Value:
    """Enter a value and forget the oldest for it; return it."""
    if len(memory) >= REMEMBERED:
        del memory[next(iter(memory))]
    memory[key] = value
    return value


def _has_source(layer: Path, path: str) -> bool:
    """Return True if a layer has the source of what is to lie at a path: ``pkg/__pycache__/name.tag.pyc``."""
    folder, _, name = path.rpartition("/__pycache__/")
    source = layer / folder / f"{name.partition('.')[0]}.py"
    inside = not folder.startswith("/") and ".." not in folder.split("/")
    return bool(folder) and "/" not in name and inside and source.is_file()


def _lay_wheel(wheel: StoredWheel, lib: str, target: Path) -> None:
    root, site = Path(wheel.root), target / "lib" / lib / "site-packages"
    for scheme in ("purelib", "platlib"):
        _link_tree(root / scheme, site)
    _link_tree(root / "data", target)
    _link_tree(root / "headers", target / headers(lib) / wheel.name)
    if own := own_record(wheel, lib):
        (site / own[0]).unlink()  # a link into the store
        (site / own[0]).write_text(own[1], "utf-8")
    texts = {name for name, _ in _python_scripts(f"{root}/scripts")}
    for script in (root / "scripts").iterdir():
        if script.name not in texts:
            (target / "bin").mkdir(exist_ok=True)
            _link(script, target / "bin" / script.name)
            (target / "bin" / script.name).chmod(0o755)


def _python_scripts(folder: str) -> Iterator[tuple[str, bytes]]:
    """Yield the scripts that an interpreter's path is to be written into: name, and all that follows the placeholder."""
    for name in sorted(os.listdir(folder)):
        with open(f"{folder}/{name}", "rb") as stream:
            if stream.read(len(_PLACEHOLDER)) == _PLACEHOLDER:
                yield name, stream.read()


def _link_tree(source: Path, target: Path) -> None:
    """Link a tree into one that may exist; of two files with one name the later counts."""
    with os.scandir(source) as entries:
        found = list(entries)
    if found:
        target.mkdir(parents=True, exist_ok=True)
    for entry in found:
        aim = target / entry.name
        if entry.is_dir(follow_symlinks=False):
            _link_tree(Path(entry.path), aim)
        else:
            _link(Path(entry.path), aim)


def _link(source: Path, target: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        target.unlink()
    try:
        os.link(source, target)
    except OSError:  # a file system without links, or one with all the links a file may have
        shutil.copy2(source, target)
