"""Copies of files, where file systems cannot clone."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_spip.compose.copying import copy_bytes, find_copy


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
