"""Copies of files, as cheap as the file systems allow."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_spip.compose.copying import clone, copy_bytes, find_copy


def test_file_systems_that_cannot_clone_copy(tmp_path: Path) -> None:
    """Between two file systems bytes are copied; what the attempt made is gone."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("one file system only")
    before = sorted(memory.iterdir())
    copy = find_copy(tmp_path, memory)
    assert copy is copy_bytes
    assert not list(tmp_path.iterdir())
    assert sorted(memory.iterdir()) == before
    (tmp_path / "source").write_bytes(b"text")
    copy(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"text"


@pytest.fixture
def cloning(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system that can clone."""
    if os.getuid() != 0 or not shutil.which("mkfs.xfs"):
        pytest.skip("needs root and mkfs.xfs")
    image, place = tmp_path / "image", tmp_path / "place"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(400 << 20)
    subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", image], check=True)
    if subprocess.run(["mount", "-o", "loop", image, place], check=False, capture_output=True).returncode:
        pytest.skip("no loop devices")
    yield place
    subprocess.run(["umount", place], check=True)


def test_file_systems_that_can_clone_do(cloning: Path) -> None:
    """On one file system with reflinks files are cloned, and writing to the clone leaves the original alone."""
    (cloning / "a").mkdir()
    (cloning / "b").mkdir()
    assert find_copy(cloning / "a", cloning / "b") is clone
    (cloning / "a" / "source").write_bytes(b"x" * 9000)
    clone(cloning / "a" / "source", cloning / "b" / "target")
    (cloning / "b" / "target").write_bytes(b"y")
    assert (cloning / "a" / "source").read_bytes() == b"x" * 9000
