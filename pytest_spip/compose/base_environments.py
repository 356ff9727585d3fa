"""Puts bare environments into the base repository, by GitPython: loaded when an interpreter has none there yet."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_spip.common.processes import run_program
from pytest_spip.compose.git import DEADLINE, PLAIN
from pytest_spip.errors import HarnessProblem
from pytest_spip.model import Interpreter

EXECUTABLE = "GIT_PYTHON_GIT_EXECUTABLE"
_named = os.environ.get(EXECUTABLE)
# GitPython runs git when it is imported, and would wait for one that does not end: see check_git for what is done instead.
os.environ.update({"GIT_PYTHON_REFRESH": "quiet", EXECUTABLE: os.devnull})
import git  # noqa: E402  # as said above

del os.environ[EXECUTABLE]
if _named:
    os.environ[EXECUTABLE] = _named

__all__ = ["commit_environment", "make_repository"]


class _Git(git.Git):
    """Git's commands, none of which may take for ever."""

    GIT_PYTHON_GIT_EXECUTABLE: str = _named or "git"

    def execute(self, command: Any, *arguments: Any, **options: Any) -> Any:
        """Run a command as ``git.Git`` does, with a deadline."""
        return super().execute(command, *arguments, **{"kill_after_timeout": DEADLINE, **options})


@contextlib.contextmanager
def _commands(place: Path, task: str) -> Iterator[git.Git]:
    """Yield git's commands in a place, unmoved by its user's environment. Raises ``HarnessProblem`` where git refuses.

    Not a ``Repo``: its readers print what interrupts them when they are collected.
    """
    # Inside a git hook GIT_* name the user's repository, and git would obey them instead of our paths.
    names = [name for name in os.environ if name.startswith("GIT_") and name != "GIT_PYTHON_REFRESH"]
    hidden = {name: os.environ.pop(name) for name in names}
    commands = _Git(place)
    commands.update_environment(**PLAIN)
    try:
        yield commands
    except git.GitError as error:
        said = error.stderr.strip() if isinstance(error, git.GitCommandError) else type(error).__name__
        raise HarnessProblem(f"git cannot {task}: {said}") from error
    finally:
        os.environ.update(hidden)


def make_repository(path: Path) -> None:
    """Make a bare repository. Raises ``HarnessProblem``."""
    with _commands(path.parent, f"make {path}") as commands:
        commands.init(str(path), bare=True, quiet=True)


def commit_environment(repository: Path, interpreter: Interpreter, branch: str, staging: Path) -> None:
    """Commit an interpreter's bare environment, made in a directory aside, to a branch of its own, unless there is one.

    Raises ``HarnessProblem``, also where the interpreter makes no environment.
    """
    reference = f"refs/heads/{branch}"
    with _commands(repository, f"add base environments to {repository}") as commands:
        if commands.for_each_ref(reference):
            return
        tree = _bare_environment(interpreter, staging / "base")
        with commands.custom_environment(GIT_INDEX_FILE=str(staging / "index"), GIT_WORK_TREE=str(tree)):
            commands.add("--all", "--force", ".")
            written = commands.write_tree()
        commit = commands.commit_tree(written, "-m", f"Base environment of {interpreter.id}")
        commands.update_ref(reference, commit)


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
