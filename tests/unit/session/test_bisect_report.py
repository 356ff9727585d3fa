"""How the files of two releases differ."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pytest_spip.model import FileChanges
from pytest_spip.session.bisect_report import _metadata, file_changes


def release(root: Path, files: Mapping[str, bytes]) -> Path:
    """Write files as a filed wheel has them."""
    for name, content in files.items():
        (root / "purelib" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "purelib" / name).write_bytes(content)
    return root


def test_file_changes(tmp_path: Path) -> None:
    """Files are added, removed and changed; lines are counted where they are text, and metadata directories are left out."""
    old = release(
        tmp_path / "old",
        {
            "demo/a.py": b"1\n2\n3\n",
            "demo/gone.py": b"x\n",
            "demo/b.so": b"\xff\x00",
            "demo-1.dist-info/METADATA": b"1\n",
        },
    )
    new = release(
        tmp_path / "new",
        {
            "demo/a.py": b"1\n3\n4\n5\n",
            "demo/new.py": b"y\nz\n",
            "demo/b.so": b"\xff\x01",
            "demo-2.dist-info/METADATA": b"2\n",
        },
    )
    assert file_changes(old, new) == FileChanges(("demo/new.py",), ("demo/gone.py",), ("demo/a.py", "demo/b.so"), 4, 2)


def test_files_that_repeat_themselves_are_counted_soon(tmp_path: Path) -> None:
    """A table of half a megabyte of equal lines has its lines counted, and nothing aligns each with each."""
    rows = 100_000
    old = release(tmp_path / "old", {"table.py": b"0, 0,\n" * rows})
    new = release(tmp_path / "new", {"table.py": b"0, 0,\n" * (rows + 7) + b"1, 1,\n"})
    assert file_changes(old, new) == FileChanges((), (), ("table.py",), 8, 0)


def test_metadata_with_nested_messages(tmp_path: Path) -> None:
    """The body of a release's metadata is read as text, whatever it claims to be."""
    nested = b"Content-Type: message/rfc822\n\n" * 5000
    root = release(tmp_path, {"demo-1.dist-info/METADATA": b"Name: demo\nRequires-Python: >=3.9\n" + nested})
    assert "Requires-Python: >=3.9" in _metadata(root)
