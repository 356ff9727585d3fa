"""What filed wheels declare, whatever is in their metadata."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_spip.session.declared_metadata import metadata_of

PYTHON = b"Classifier: Programming Language :: Python :: "


@pytest.mark.parametrize(
    ("metadata", "classifiers"),
    [
        (PYTHON + b"3\n" + PYTHON + b"3.12\n" + PYTHON + b"3 :: Only\n", ("3", "3.12")),
        (PYTHON + b"3." + b"1" * 1_000_000 + b"\n" + PYTHON + b"3.9\n", ("3.9",)),
        (PYTHON + "3.٤\n".encode() + PYTHON + b"\xff\n", ()),
        (b"\xff\xfe" * 1000, ()),
        (PYTHON + b"3.9\n" + b"Content-Type: message/rfc822\n\n" * 5000, ("3.9",)),
        (b"", ()),
    ],
    ids=["plain", "long", "foreign digits", "no text", "nested messages", "empty"],
)
def test_metadata(tmp_path: Path, metadata: bytes, classifiers: tuple[str, ...]) -> None:
    """Classifiers that name Pythons are read; what is odd is passed over."""
    (tmp_path / "purelib/demo-1.dist-info").mkdir(parents=True)
    (tmp_path / "purelib/demo-1.dist-info/METADATA").write_bytes(metadata)
    found = metadata_of(tmp_path)
    assert found is not None
    assert found.classifiers == classifiers


def test_no_metadata(tmp_path: Path) -> None:
    """A wheel that left the cache declares nothing."""
    assert metadata_of(tmp_path / "gone") is None
