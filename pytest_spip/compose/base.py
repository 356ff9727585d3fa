"""The base repository: a bare environment per interpreter on a branch; replicas and worktrees of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_spip.common.cache import Cache
from pytest_spip.compose.git import Git, copy_repository
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
        missing = [interpreter for interpreter in interpreters if not self._is_seen(interpreter)]
        if missing or not self._cache.use(self._cache.base):
            self._add(missing)

    def _add(self, interpreters: Sequence[Interpreter]) -> None:
        from pytest_spip.compose import base_environments  # few sessions meet an interpreter for the first time

        self._cache.file(self._cache.base, base_environments.make_repository)
        for interpreter in interpreters:
            with self._cache.guard("base.git"), self._cache.workshop() as staging:
                base_environments.commit_environment(self._cache.base, interpreter, branch(interpreter), staging)

    def _is_seen(self, interpreter: Interpreter) -> bool:
        """Return True if a branch's own file is there; git may keep it otherwise, which only git knows."""
        return (self._cache.base / "refs" / "heads" / branch(interpreter)).is_file()

    def replicate(self, target: Path) -> None:
        """Copy the repository into RAM. Raises ``HarnessProblem``."""
        copy_repository(self._cache.base, target)


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
