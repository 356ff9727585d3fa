"""The HTTP client without a server: local files, and what people see of addresses."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pytest_spip.common.urls import redact
from pytest_spip.errors import HashMismatch, NetworkProblem
from tests.support.server import client

NOTHING = hashlib.sha256(b"").hexdigest()
DATA = b"some bytes\n" * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()


def test_local_pages(tmp_path: Path) -> None:
    """A ``file:`` address names a page, or the ``index.html`` of a directory, and may name nothing."""
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "index.html").write_text("<html>")
    with client(offline=True) as web:
        page = web.page((tmp_path / "a b").as_uri(), accept="text/html")
        none = web.page((tmp_path / "c").as_uri(), accept="text/html")
    assert (page.status, page.text, page.content_type) == (200, "<html>", "text/html")
    assert page.url == (tmp_path / "a b" / "index.html").as_uri()
    assert none.status == 404


def test_local_files(tmp_path: Path) -> None:
    """A ``file:`` address is downloaded by copying, checked like any other, and a missing file is the network's fault."""
    (tmp_path / "file").write_bytes(DATA)
    with client(offline=True) as web:
        web.download((tmp_path / "file").as_uri(), tmp_path / "got", SHA256)
        with pytest.raises(HashMismatch):
            web.download((tmp_path / "file").as_uri(), tmp_path / "got", NOTHING)
        with pytest.raises(NetworkProblem, match="No such file"):
            web.download((tmp_path / "missing").as_uri(), tmp_path / "got", SHA256)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.com/simple", "https://example.com/simple"),
        ("https://user:secret@example.com:8080/simple?a=b@c", "https://****@example.com:8080/simple?a=b@c"),
        ("https://token@example.com/", "https://****@example.com/"),
        ("https://user:se@cret@[::1]:8080/", "https://****@[::1]:8080/"),
        ("file:///home/user@host/simple", "file:///home/user@host/simple"),
        ("/home/user@host/wheels", "/home/user@host/wheels"),
    ],
)
def test_redact(url: str, shown: str) -> None:
    """Credentials are left out of what people see, and nothing else is."""
    assert shown == redact(url)
