"""git, the program: which files are a project's own. Where git does not know, all but what tools leave behind."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from pytest_spip.common.processes import run_program
from pytest_spip.errors import UsageProblem

__all__ = ["DEBRIS", "SOURCES", "Checkout", "checkout_of"]

LISTING = 300.0
"""Seconds that git has to list a project's files."""
DEBRIS = frozenset(
    {
        ".git",
        ".hg",
        ".tox",
        ".nox",
        ".venv",
        ".spip",
        "__pycache__",
        ".pytest_cache",
        ".mypy_cache",
        ".ruff_cache",
    }
)
"""Directories that no test is meant to see, wherever they are."""
BUILT = frozenset({"build", "dist"})
"""Directories at the top that builds leave; below it they may be anything."""
SOURCES = ("", "src/", "lib/", "python/")
"""Where the sources of what a wheel installs lie in a project."""
METADATA = (".egg-info", ".dist-info")
"""Endings of directories, beside sources, in which Python would find a distribution that is not the one installed."""


class Checkout(NamedTuple):
    """A project's files and links, by sorted paths below ``top``, and the project's own path below it, which may be empty."""

    top: Path
    below: str
    files: list[str]


def checkout_of(project: Path) -> Checkout:
    """Return the files of the repository that a project belongs to: its tests may read files above it, and pytest does.

    Of a git checkout these are the files that are tracked, and those that are not and are not ignored either. A directory that
    the repository around it does not track is no part of it: people keep their home directories in git.
    """
    project = project.resolve()
    top, below = _repository(project)
    known = _listed(top) or [path for path in _walked(top, "") if path.partition("/")[0] not in BUILT]
    hidden = f"{below}/" if below else ""
    kept = [path for path in known if DEBRIS.isdisjoint(path.split("/")) and not _hides_wheel(path, hidden)]
    environments = {os.path.dirname(path) for path in kept if _marks_environment(top, path)}
    files = sorted({path for path in kept if not _is_below(path, environments) and _is_file(top / path)})
    return Checkout(top, below, files)


def _repository(project: Path) -> tuple[Path, str]:
    """Return the top directory of the repository that holds a project, and the project's path below it."""
    done = _git(project, "rev-parse", "--show-toplevel")
    top = Path(os.fsdecode(done.stdout.removesuffix(b"\n"))) if done.returncode == 0 else _mercurial(project)
    if not project.is_relative_to(top):
        return project, ""
    below = project.relative_to(top).as_posix().removeprefix(".")
    if below and done.returncode == 0:
        tracked = [_git(place, "ls-files", "-z", "--cached", ".").stdout for place in (project, top)]
        if tracked[1] and not tracked[0]:
            return project, ""
        if not tracked[1] and not _listed(project):  # it ignores the project
            return project, ""
    return top, below


def _mercurial(project: Path) -> Path:
    return next((folder for folder in (project, *project.parents) if (folder / ".hg").is_dir()), project)


def _hides_wheel(path: str, project: str) -> bool:
    """Return True if a path belongs to metadata that would be found before those of the wheel that is installed."""
    if not path.startswith(project):
        return False
    path = path.removeprefix(project)
    tops = (path.removeprefix(folder).partition("/")[0] for folder in SOURCES if path.startswith(folder))
    return any(top.endswith(METADATA) for top in tops)


def _listed(project: Path) -> list[str]:
    """Return what git lists; nothing where it knows nothing of the directory. Of a submodule it names the directory alone."""
    done = _git(project, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = [os.fsdecode(name).rstrip("/") for name in done.stdout.split(b"\0") if name]
    return list(_files_of(project, names)) if done.returncode == 0 else []


def _git(place: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    # GIT_DIR and its like, which git sets for the hooks that it runs, would have it speak of another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(place), *words]
    try:
        return run_program(command, timeout=LISTING, environment=environment)
    except subprocess.TimeoutExpired as error:
        raise UsageProblem(
            "--spip-project", f"{shlex.join(command)} does not end within {LISTING:g} s", "see what it waits for"
        ) from error


def _files_of(project: Path, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if (project / name).is_dir() and not (project / name).is_symlink():
            yield from _walked(project, name)
        else:
            yield name


def _walked(project: Path, start: str) -> Iterator[str]:
    """Yield files and links below a directory, by paths relative to the project."""
    for top, folders, files in os.walk(project / start):
        folders[:] = [name for name in folders if name not in DEBRIS]
        links = [name for name in folders if os.path.islink(os.path.join(top, name))]
        yield from (os.path.relpath(os.path.join(top, name), project) for name in (*files, *links))


def _marks_environment(project: Path, path: str) -> bool:
    folder, name = os.path.split(path)
    return name == "pyvenv.cfg" and os.path.lexists(project / folder / "bin" / "python")


def _is_below(path: str, folders: Iterable[str]) -> bool:
    return any(path.startswith(f"{folder}/") for folder in folders)


def _is_file(path: Path) -> bool:
    """Return True if there is a file, or a link: git lists also what was deleted, and sockets are nobody's source."""
    return path.is_symlink() or path.is_file()
