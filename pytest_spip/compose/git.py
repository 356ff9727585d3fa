"""git, the program, where it is run often: its user's environment and configuration have no say in repositories of ours."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from pytest_spip.common.cache import Cache
from pytest_spip.common.processes import run_program
from pytest_spip.common.trees import replace_text
from pytest_spip.errors import HarnessProblem, ToolMissing
from pytest_spip.model import digest

__all__ = ["DEADLINE", "PLAIN", "Git", "check_git", "copy_repository"]

ANSWER, DEADLINE = 10.0, 300.0
"""Seconds that git has to say its version, and to do anything else."""
# The user's git configuration may run hooks, convert line endings or sign commits; none of that belongs here.
PLAIN = {
    "LANGUAGE": "C",
    "LC_ALL": "C",
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


def check_git(cache: Cache | None = None) -> None:
    """Raise ``ToolMissing`` where git does not run; that one does is kept in the cache until its program changes."""
    program = shutil.which("git")
    if program is None:
        raise ToolMissing("git", "not found on PATH", "install git (Debian: apt install git)")
    state = os.stat(program)
    key = digest(program, state.st_mtime_ns, state.st_size)
    kept = cache.interpreters / f"git-{key[:32]}" if cache else None
    if kept and kept.exists():
        return
    _ask_version(program)
    if kept:
        replace_text(kept, "")


def _ask_version(program: str) -> None:
    fix = "see that 'git version' works"
    try:
        done = run_program([program, "version"], timeout=ANSWER)
    except subprocess.TimeoutExpired as error:
        raise ToolMissing("git", f"'git version' does not end within {ANSWER:g} s", fix) from error
    except OSError as error:
        raise ToolMissing("git", f"'git version' does not start ({error.strerror})", fix) from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise ToolMissing("git", f"'git version' ends with status {done.returncode}: {said[-200:]}", fix)


class Git:
    """Git's commands in a place, none of which may take for ever; ``task`` says in errors what they are for."""

    def __init__(self, place: Path, task: str) -> None:
        self._place = place
        self._task = task

    def run(self, *arguments: str, **variables: str) -> str:
        """Return what a command prints; ``variables`` are added to its environment. Raises ``HarnessProblem``."""
        # Inside a git hook GIT_* name the user's repository, and git would obey them instead of our paths.
        plain = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        environment = {**plain, **PLAIN, **variables}
        try:
            done = run_program(["git", *arguments], timeout=DEADLINE, environment=environment, cwd=self._place)
        except subprocess.TimeoutExpired as error:
            raise HarnessProblem(f"git cannot {self._task}: no end within {DEADLINE:g} s") from error
        except OSError as error:
            raise HarnessProblem(f"git cannot {self._task}: {error.strerror}") from error
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip() or f"status {done.returncode}"
            raise HarnessProblem(f"git cannot {self._task}: {said}")
        return done.stdout.decode("utf-8", "replace").strip()


def copy_repository(source: Path, target: Path) -> None:
    """Copy a bare repository, to which others may add meanwhile. Raises ``HarnessProblem``.

    File by file, for which git would start three processes. No links: a package that finds its replica must not find the
    user's cache behind it. Objects come last: what references name is there before they are.
    """
    unfinished = shutil.ignore_patterns("tmp_*", "*.lock")
    try:
        names = sorted(os.listdir(source), key=lambda name: name == "objects")
        if "HEAD" not in names:
            raise HarnessProblem(f"cannot copy {source}: it is no repository")
        target.mkdir(parents=True)
        for name in names:
            if (source / name).is_dir():
                shutil.copytree(source / name, target / name, ignore=unfinished)
            else:
                shutil.copy2(source / name, target / name)
    except OSError as error:
        raise HarnessProblem(f"cannot copy {source}: {error}") from error
