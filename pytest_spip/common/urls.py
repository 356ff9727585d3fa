"""URLs as people may see them, with the logins in them apart, and the paths that some name."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

__all__ = ["file_url_to_path", "redact", "split_login"]


def redact(url: str) -> str:
    """Return the URL without its credentials, fit for messages and reports."""
    bare, login = split_login(url)
    return bare.replace("://", "://****@", 1) if login else url


def split_login(url: str) -> tuple[str, tuple[str, str] | None]:
    """Return the URL without credentials, and user name and password where it has them."""
    parts = urlsplit(url)
    if parts.username is None:
        return url, None
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return bare, (unquote(parts.username), unquote(parts.password or ""))


def file_url_to_path(url: str) -> Path:
    """Return the path a ``file:`` URL names."""
    from urllib.request import url2pathname  # it loads a client that nobody else here has a use for

    return Path(url2pathname(urlsplit(url).path))
