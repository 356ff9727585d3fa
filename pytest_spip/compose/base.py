"""The base repository: a bare environment per interpreter on a branch; replicas and worktrees of it. Speaks git."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pytest_spip.common.cache import Cache
from pytest_spip.common.processes import run_program
from pytest_spip.errors import HarnessProblem, ToolMissing
from pytest_spip.model import Interpreter, digest

EXECUTABLE = "GIT_PYTHON_GIT_EXECUTABLE"
_named = os.environ.get(EXECUTABLE)
# GitPython runs git when it is imported, and would wait for one that does not end: see check_git for what is done instead.
os.environ.update({"GIT_PYTHON_REFRESH": "quiet", EXECUTABLE: os.devnull})
import git  # noqa: E402  # as said above

del os.environ[EXECUTABLE]
if _named:
    os.environ[EXECUTABLE] = _named

__all__ = ["BaseRepository", "Replica", "check_git"]

LAYOUT = 1
"""Raise it when what a base environment holds changes: branches of another layout are left alone."""

# The user's git configuration may run hooks, convert line endings or sign commits; none of that belongs here.
ANSWER, DEADLINE = 10.0, 300.0
"""Seconds that git has to say its version, and to do anything else."""
_PLAIN_GIT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TEMPLATE_DIR": "",  # none: an administrator's templates may hold hooks
    "GIT_CONFIG_COUNT": "2",
    "GIT_CONFIG_KEY_0": "core.attributesFile",  # read from the user's home even without configuration
    "GIT_CONFIG_VALUE_0": os.devnull,
    "GIT_CONFIG_KEY_1": "core.hooksPath",
    "GIT_CONFIG_VALUE_1": os.devnull,
    "GIT_AUTHOR_NAME": "pytest-spip",
    "GIT_AUTHOR_EMAIL": "pytest-spip@localhost",
    "GIT_COMMITTER_NAME": "pytest-spip",
    "GIT_COMMITTER_EMAIL": "pytest-spip@localhost",
}


def check_git() -> None:
    """Raise ``ToolMissing`` where git does not run."""
    fix = "see that 'git version' works"
    try:
        done = run_program([_Git.GIT_PYTHON_GIT_EXECUTABLE, "version"], timeout=ANSWER)
    except subprocess.TimeoutExpired as error:
        raise ToolMissing("git", f"'git version' does not end within {ANSWER:g} s", fix) from error
    except OSError as error:
        raise ToolMissing("git", "not found on PATH", "install git (Debian: apt install git)") from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise ToolMissing("git", f"'git version' ends with status {done.returncode}: {said[-200:]}", fix)


class _Git(git.Git):
    """Git's commands, none of which may take for ever."""

    GIT_PYTHON_GIT_EXECUTABLE: str = _named or "git"

    def execute(self, command: Any, *arguments: Any, **options: Any) -> Any:
        """Run a command as ``git.Git`` does, with a deadline."""
        return super().execute(command, *arguments, **{"kill_after_timeout": DEADLINE, **options})


@contextlib.contextmanager
def _scrubbed_environment() -> Iterator[None]:
    """Hide ``GIT_*``: inside a git hook they name the user's repository, and git would obey them instead of our paths."""
    hidden = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if name.startswith("GIT_") and name != "GIT_PYTHON_REFRESH"
    }
    try:
        yield
    finally:
        os.environ.update(hidden)


@contextlib.contextmanager
def _git(task: str) -> Iterator[None]:
    """Run git unmoved by its user's environment; its refusal of a task is a fault of ours."""
    try:
        with _scrubbed_environment():
            yield
    except git.GitError as error:
        said = error.stderr.strip() if isinstance(error, git.GitCommandError) else type(error).__name__
        raise HarnessProblem(f"git cannot {task}: {said}") from error


def _at(place: Path) -> git.Git:
    """Return git's commands in a place. Not a ``Repo``: its readers print what interrupts them when they are collected."""
    commands = _Git(place)
    commands.update_environment(**_PLAIN_GIT)
    return commands


def _branches(repository: git.Git) -> set[str]:
    names: str = repository.for_each_ref("refs/heads", format="%(refname:short)")
    return set(names.split())


def branch(interpreter: Interpreter) -> str:
    """Return the branch of an interpreter's base environment; another path is another environment."""
    return f"base-{LAYOUT}/{interpreter.label}-{digest(interpreter.id, interpreter.path)[:12]}"


class BaseRepository:
    """``base.git`` in the user's cache, written under its lock."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def ensure(self, interpreters: Sequence[Interpreter]) -> None:
        """See that every interpreter has its branch. Raises ``HarnessProblem`` where one makes no environment."""
        with _git(f"add base environments to {self._cache.base}"):
            self._cache.file(self._cache.base, _init)
            known = _branches(_at(self._cache.base))
            for interpreter in interpreters:
                if branch(interpreter) not in known:
                    with self._cache.guard("base.git"):
                        self._commit(interpreter)

    def _commit(self, interpreter: Interpreter) -> None:
        repository = _at(self._cache.base)
        if branch(interpreter) in _branches(repository):
            return
        with self._cache.workshop() as staging:
            tree = _bare_environment(interpreter, staging / "base")
            with repository.custom_environment(GIT_INDEX_FILE=str(staging / "index"), GIT_WORK_TREE=str(tree)):
                repository.add("--all", "--force", ".")
                written = repository.write_tree()
            commit = repository.commit_tree(written, "-m", f"Base environment of {interpreter.id}")
            repository.update_ref(f"refs/heads/{branch(interpreter)}", commit)

    def replicate(self, target: Path) -> None:
        """Copy the repository into RAM. Raises ``HarnessProblem``."""
        _clone(self._cache.base, target)


def _init(path: Path) -> None:
    _at(path.parent).init("--quiet", "--bare", str(path))


def _clone(source: Path, target: Path) -> None:
    # Without hard links: a package that finds its replica must not find the user's cache behind it.
    with _git(f"copy {source}"):
        _at(target.parent).clone("--bare", "--no-tags", "--quiet", "--no-hardlinks", "--", str(source), str(target))


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
        _clone(source, place / "base.git")
        self._repository = _at(place / "base.git")

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
        with _git(f"add the worktree {worktree}"):
            self._repository.worktree(
                "add", "--quiet", "--detach", "--force", "--force", str(worktree), self._branches[worktree]
            )
