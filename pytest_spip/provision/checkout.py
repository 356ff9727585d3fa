"""git, the program: which files are a project's own. Where git does not know, all but what tools leave behind."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["DEBRIS", "SOURCES", "hides_wheel", "project_files"]

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


def project_files(project: Path) -> list[str]:
    """Return the paths of a project's files and links, relative to it, sorted.

    Of a git checkout these are the files that are tracked, and those that are not and are not ignored either.
    """
    known = _listed(project) or [path for path in _walked(project, "") if path.partition("/")[0] not in BUILT]
    kept = [path for path in known if DEBRIS.isdisjoint(path.split("/")) and not hides_wheel(path)]
    environments = {os.path.dirname(path) for path in kept if _marks_environment(project, path)}
    return sorted({path for path in kept if not _is_below(path, environments) and _is_file(project / path)})


def hides_wheel(path: str) -> bool:
    """Tell whether a path belongs to metadata that would be found before those of the wheel that is installed."""
    tops = (path.removeprefix(folder).partition("/")[0] for folder in SOURCES if path.startswith(folder))
    return any(top.endswith(METADATA) for top in tops)


def _listed(project: Path) -> list[str]:
    """Return what git lists; nothing where it knows nothing of the directory. Of a submodule it names the directory alone."""
    command = ["git", "-C", str(project), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    # GIT_DIR and its like, which git sets for the hooks that it runs, would have it speak of another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(command, capture_output=True, check=False, env=environment, stdin=subprocess.DEVNULL)
    names = [os.fsdecode(name).rstrip("/") for name in done.stdout.split(b"\0") if name]
    return list(_files_of(project, names)) if done.returncode == 0 else []


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
    """Tell whether there is a file, or a link: git lists also what was deleted, and sockets are nobody's source."""
    return path.is_symlink() or path.is_file()
