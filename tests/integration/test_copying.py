"""Clones of files, on a file system that can."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_spip.compose.copying import clone, find_copy


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
