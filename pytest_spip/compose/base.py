"""The base repository: a bare environment per interpreter on a branch; replicas and worktrees of it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pytest_spip.common.cache import Cache
from pytest_spip.common.processes import run_program
from pytest_spip.compose.git import Git, copy_repository
from pytest_spip.errors import HarnessProblem
from pytest_spip.model import Interpreter, digest

__all__ = ["BaseRepository", "Replica"]

LAYOUT = 1
"""Raise it when what a base environment holds changes: branches of another layout are left alone."""


def branch(interpreter: Interpreter) -> str:
    """Return the branch of an interpreter's base environment; another path is another environment."""
    return f"base-{LAYOUT}/{interpreter.label}-{digest(interpreter.id, interpreter.path)[:12]}"


class BaseRepository:
    """``base.git`` in the user's cache, written under its lock."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def ensure(self, interpreters: Sequence[Interpreter]) -> None:
        """See that every interpreter has its branch. Raises ``HarnessProblem`` where one makes no environment."""
        self._cache.file(self._cache.base, _init)
        for interpreter in interpreters:
            if not self._is_seen(interpreter):
                with self._cache.guard("base.git"):
                    self._commit(interpreter)

    def _is_seen(self, interpreter: Interpreter) -> bool:
        """Return True if a branch's own file is there; git may keep it otherwise, which only git knows."""
        return (self._cache.base / "refs" / "heads" / branch(interpreter)).is_file()

    def _commit(self, interpreter: Interpreter) -> None:
        repository = Git(self._cache.base, f"add base environments to {self._cache.base}")
        reference = f"refs/heads/{branch(interpreter)}"
        if repository.run("for-each-ref", reference):
            return
        with self._cache.workshop() as staging:
            tree = _bare_environment(interpreter, staging / "base")
            places = {"GIT_INDEX_FILE": str(staging / "index"), "GIT_WORK_TREE": str(tree)}
            repository.run("add", "--all", "--force", ".", **places)
            written = repository.run("write-tree", **places)
            commit = repository.run("commit-tree", written, "-m", f"Base environment of {interpreter.id}")
            repository.run("update-ref", reference, commit)

    def replicate(self, target: Path) -> None:
        """Copy the repository into RAM. Raises ``HarnessProblem``."""
        copy_repository(self._cache.base, target)


def _init(path: Path) -> None:
    Git(path.parent, f"make {path}").run("init", "--quiet", "--bare", str(path))


def _bare_environment(interpreter: Interpreter, target: Path) -> Path:
    """Make a virtual environment without pip: PEP 405, written by the interpreter's own ``venv``."""
    command = [interpreter.path, "-I", "-m", "venv", "--without-pip", "--symlinks", str(target)]
    try:
        done = run_program(command, timeout=120, environment={"PATH": os.defpath}, cwd=target.parent)
    except (OSError, subprocess.SubprocessError) as error:
        raise HarnessProblem(f"{interpreter.path} makes no environment: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip()
        raise HarnessProblem(f"{interpreter.path} makes no environment: {said or f'status {done.returncode}'}")
    (target / ".gitignore").unlink(missing_ok=True)  # venv of 3.13 ignores all it made
    for script in (target / "bin").glob("[aA]ctivate*"):
        script.unlink()  # they carry the path of the directory that they were made in
    return target


class Replica:
    """A worker's own copy of the base repository, so that no two workers share an index or a lock."""

    def __init__(self, source: Path, place: Path) -> None:
        self._place = place
        self._branches: dict[Path, str] = {}
        place.mkdir(parents=True, exist_ok=True)
        copy_repository(source, place / "base.git")

    def add_worktree(self, interpreter: Interpreter) -> Path:
        """Add the worktree of an interpreter's base environment and return its path. Raises ``HarnessProblem``."""
        path = self._place / interpreter.label
        self._branches[path] = branch(interpreter)
        self.restore(path)
        return path

    def restore(self, worktree: Path) -> None:
        """Check a worktree out at its path, where nothing is. Raises ``HarnessProblem``.

        ``git reset`` and ``git clean`` inside the old tree would obey its ``.git``, which a package can replace, or look for
        a repository above it, which may be the user's.
        """
        git = Git(self._place / "base.git", f"add the worktree {worktree}")
        options = "--quiet", "--detach", "--force", "--force"
        git.run("worktree", "add", *options, str(worktree), self._branches[worktree])
