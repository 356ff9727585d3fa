"""Files and trees on disk: remove one whatever is in it, give it away, replace a text at once."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from pytest_spip.common.waits import PATIENCE

__all__ = ["give_tree", "remove_tree", "replace_text", "replacing", "rewriting", "share_file"]


def remove_tree(path: Path) -> None:
    """Remove a file or a tree, also one in which somebody took away our permissions. What cannot be removed stays.

    Only directories of the tree have their mode changed: neither what a link in it leads to nor what lies above is ours.
    """
    if os.path.islink(path) or not os.path.isdir(path):
        with contextlib.suppress(OSError):
            path.unlink()
        return
    _remove(path)
    if path.exists():
        _open_up(path)
        _remove(path)


def _remove(path: Path) -> None:
    try:
        shutil.rmtree(path, ignore_errors=True)
    except RecursionError:  # a tree a thousand levels deep, made to be in the way
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(["rm", "-rf", "--", str(path)], check=False, stderr=subprocess.DEVNULL, timeout=PATIENCE)


def _open_up(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.chmod(0o700)
    for directory, folders, _ in os.walk(path):
        for folder in (os.path.join(directory, name) for name in folders):
            if not os.path.islink(folder):
                with contextlib.suppress(OSError):
                    os.chmod(folder, 0o700)  # before the walk goes down into it


def give_tree(top: Path, owner: int) -> None:
    """Give a tree to another user, its top last: what has it was given already. Links are given, not what they lead to."""
    for folder, below, files in os.walk(top, topdown=False):
        for name in (*files, *below, "."):
            os.chown(os.path.join(folder, name), owner, owner, follow_symlinks=False)


def replace_text(path: Path, text: str) -> None:
    """Write a small file so that a reader sees the old text or the new one, never a part."""
    with replacing(path) as stream:
        stream.write(text)


def share_file(source: str, target: str) -> None:
    """Have a file that never changes under another name too, as a copy where file systems or rights allow no link.

    What bore the name before gives it up. Raises ``OSError`` when there is no such file, or no room.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(target)
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """Yield a stream for a file's new text, which takes the place of the old one when all of it is written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, staging = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}-")
    try:
        with open(handle, "w", encoding="utf-8") as stream:
            yield stream
        os.chmod(staging, 0o644)  # mkstemp keeps it from everybody else; a report is for others too
        os.replace(staging, path)
    except BaseException:
        os.unlink(staging)
        raise


@contextlib.contextmanager
def rewriting(path: Path) -> Iterator[TextIO]:
    """Yield a stream for a report: /dev/stdout and other people's links stay what they are, files are replaced."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        with path.open("w", encoding="utf-8") as stream:
            yield stream
    else:
        with replacing(path) as stream:
            yield stream
