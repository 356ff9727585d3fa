"""git where there is none, and what is kept of one that runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_spip.common.cache import Cache
from pytest_spip.compose.git import check_git, copy_repository
from pytest_spip.errors import HarnessProblem, ToolMissing


def program(directory: Path, text: str, when: float) -> None:
    """Have a program that is called git say something, written at a time."""
    path = directory / "git"
    path.write_text(f"#!/bin/sh\n{text}\n", "utf-8")
    path.chmod(0o755)
    os.utime(path, (when, when))


def test_git_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without git on PATH the user is told to install it."""
    check_git()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match=r"^git: not found on PATH; install git"):
        check_git()


def test_git_that_runs_is_asked_once(tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program of the same name is asked again, and so is one that failed."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    asked = tmp_path / "asked"
    program(tmp_path, f"echo >> {asked}", 1)
    for _ in range(2):
        check_git(cache)
    assert asked.read_text() == "\n"
    for _ in range(2):
        program(tmp_path, f"echo >> {asked}; echo broken >&2; exit 3", 2)
        with pytest.raises(ToolMissing, match=r"^git: 'git version' ends with status 3: broken"):
            check_git(cache)
    assert asked.read_text() == "\n" * 3


def test_copies_of_repositories_are_whole(tmp_path: Path) -> None:
    """What others are just writing is left out, nothing is a link, and what is no repository is refused."""
    source = tmp_path / "source"
    for name in ("HEAD", "config", "refs/heads/one", "refs/heads/two.lock", "objects/01/23", "objects/01/tmp_obj_x"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name, "utf-8")
    copy_repository(source, tmp_path / "target")
    copied = {
        path.relative_to(tmp_path / "target"): path for path in (tmp_path / "target").rglob("*") if path.is_file()
    }
    assert set(map(str, copied)) == {"HEAD", "config", "refs/heads/one", "objects/01/23"}
    assert all(path.stat().st_nlink == 1 and path.read_text("utf-8") == str(name) for name, path in copied.items())
    with pytest.raises(HarnessProblem, match=f"cannot copy {source / 'refs'}: it is no repository"):
        copy_repository(source / "refs", tmp_path / "other")
