"""The tests' own distributions: reproducible, and broken on demand."""

from __future__ import annotations

import zipfile
from pathlib import Path

from tests.support.distributions import wheel

GOOD = {"demo/__init__.py": "value = 1\n"}


def test_wheel_is_reproducible(tmp_path: Path) -> None:
    """Two wheels of equal content are equal bytes."""
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        made.append(wheel(tmp_path / name, "demo", "1.0", GOOD).read_bytes())
    assert made[0] == made[1]


def test_wheel_can_be_broken(tmp_path: Path) -> None:
    """METADATA may disagree with the filename, and RECORD may be replaced."""
    broken = wheel(
        tmp_path,
        "demo",
        "1.0",
        GOOD,
        metadata_name="other",
        metadata_version="2.0",
        extra_dist_info={"RECORD": "wrong"},
    )
    with zipfile.ZipFile(broken) as archive:
        assert b"Name: other\nVersion: 2.0\n" in archive.read("demo-1.0.dist-info/METADATA")
        assert archive.read("demo-1.0.dist-info/RECORD") == b"wrong"
        assert len(archive.namelist()) == len(set(archive.namelist()))
