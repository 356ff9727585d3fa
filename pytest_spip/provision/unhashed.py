"""Files that are listed without a sha256, as on plain pages of links: taken as they are downloaded, as pip and uv take them."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import threading
from pathlib import Path

from pytest_spip.common.cache import Cache
from pytest_spip.common.http import Web
from pytest_spip.common.urls import file_url_to_path, redact
from pytest_spip.errors import NetworkProblem
from pytest_spip.model import DistFile

__all__ = ["Hasher", "is_unchecked", "sha256_of", "warning"]


class Hasher:
    """Gives such files the hash that they have: each is downloaded once in a run, for nothing says when it becomes another."""

    def __init__(self, cache: Cache, web: Web) -> None:
        self._cache = cache
        self._web = web
        self._known: dict[str, DistFile] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def hashed(self, file: DistFile) -> DistFile:
        """Return the file with its hash; one from elsewhere lies in the cache then. Raises ``NetworkProblem``."""
        if file.sha256:
            return file
        if file.url.startswith("file:"):
            return dataclasses.replace(file, sha256=sha256_of(file_url_to_path(file.url)))
        with self._guard:
            lock = self._locks.setdefault(file.url, threading.Lock())
        with lock:
            if file.url not in self._known:
                self._known[file.url] = self._downloaded(file)
        return self._known[file.url]

    def _downloaded(self, file: DistFile) -> DistFile:
        with self._cache.workshop() as workshop:
            staging = workshop / "file"
            sha256 = self._web.download(file.url, staging, "")
            place = self._cache.builds / "sdists" / sha256 / file.filename
            self._cache.file(place, lambda target: os.replace(staging, target))
        return dataclasses.replace(file, sha256=sha256, url=place.as_uri())


def is_unchecked(file: DistFile) -> bool:
    """Return True for a file from elsewhere that nobody gave a hash."""
    return not file.sha256 and not file.url.startswith("file:")


def warning(file: DistFile) -> str:
    """Return what a person should know of such a file."""
    return f"{file.filename}: {redact(file.url).rpartition('/')[0]} lists no sha256; it was taken as it came"


def sha256_of(path: Path) -> str:
    """Return a file's hash; raises ``NetworkProblem`` where there is none, for its place was listed."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise NetworkProblem(f"{path}: {error.strerror}") from error
