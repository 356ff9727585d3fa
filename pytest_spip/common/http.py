"""The one HTTP client: indexes and downloads, with bounded retries, a total deadline and the user's credentials.

What it is made of is loaded with the first request.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, urlsplit

from pytest_spip.common.urls import file_url_to_path, redact, split_login
from pytest_spip.errors import HarnessProblem, HashMismatch, NetworkProblem, PassingProblem
from pytest_spip.model import Trust

if TYPE_CHECKING:
    from pytest_spip.common.transport import Response, Transport

__all__ = ["Answer", "Web"]

_T = TypeVar("_T")

DEADLINE = 300.0
"""Seconds for one whole transfer: a server that drips bytes does not hold us for ever."""
PATIENCE = 5.0
"""Seconds that we wait at most when a server asks us to come back later (Retry-After): some say an hour."""
TRUST = Trust()
"""The public authorities, where no setting names others."""
PAGE_LIMIT = 128 << 20
"""Bytes of an index page; the largest project page of the public index is a fraction of it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """A page: ``status`` 200, 304, or one that says that there is none; anything else is raised."""

    status: int
    text: str = ""
    content_type: str = ""
    etag: str = ""
    url: str = ""


def _realm(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


class Web:
    """A session over one connection pool, safe to use from many threads.

    ``index_urls`` lend their credentials to files on the same host and port, the nearest path first, as pip and uv do;
    netrc and proxies come from the user's environment. ``deadline`` is in seconds, for one transfer with its retries.
    ``offline`` refuses to ask anybody but this machine. ``trust`` are the user's TLS settings.
    """

    def __init__(
        self,
        index_urls: Iterable[str] = (),
        *,
        offline: bool = False,
        retries: int = 3,
        pool: int = 32,
        deadline: float = DEADLINE,
        trust: Trust = TRUST,
    ) -> None:
        self._pool = pool
        self._trust = trust
        self._made: Transport | None = None
        self._making = threading.Lock()
        self._logins = [(bare, login) for bare, login in map(split_login, index_urls) if login]
        self._offline = offline
        self._retries = retries
        self._deadline = deadline
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End transfers that are under way, and refuse new ones, with ``HarnessProblem``."""
        self._stopped.set()

    def close(self) -> None:
        """Give the connections back."""
        if self._made:
            self._made.close()

    def page(self, url: str, *, accept: str, etag: str = "", absent: Sequence[int] = (404,)) -> Answer:
        """Fetch a page. Raises ``NetworkProblem``; 304 is an answer, and so are the statuses in ``absent``."""
        if url.startswith("file:"):
            return _local_page(url)
        headers = {"Accept": accept} | ({"If-None-Match": etag} if etag else {})
        return self._insist(lambda until: self._answer(url, headers, absent, until))

    def download(self, url: str, target: Path, sha256: str) -> str:
        """Fetch a file, check its hash, if one is promised, before anybody opens it, and return the hash.

        Raises ``NetworkProblem`` after bounded retries, ``HashMismatch`` when complete bytes are not the promised ones.
        """
        found = self._insist(lambda until: self._transfer(url, target, until))
        if sha256 and found != sha256:
            target.unlink(missing_ok=True)
            raise HashMismatch(f"{redact(url)}: sha256 is {found}, promised was {sha256}")
        return found

    def _insist(self, ask: Callable[[float], _T]) -> _T:
        """Return what ``ask(until)`` returns, asking again a few times where that may help."""
        until = time.monotonic() + self._deadline
        for attempt in range(self._retries):
            try:
                return ask(until)
            except PassingProblem as problem:
                pause = max(0.2 * 2**attempt, min(problem.pause, PATIENCE))
                if time.monotonic() + pause > until:
                    raise
                self._stopped.wait(pause)
        return ask(until)

    def _answer(self, url: str, headers: dict[str, str], absent: Sequence[int], until: float) -> Answer:
        with self._open(url, headers) as response:
            if response.status not in (200, 304, *absent):
                raise response.refusal()
            body = bytearray()
            for chunk in self._chunks(response, until):
                body += chunk
                if len(body) > PAGE_LIMIT:
                    raise NetworkProblem(f"{redact(url)}: the page is larger than {PAGE_LIMIT >> 20} MiB")
            return Answer(
                status=response.status,
                text=body.decode("utf-8", errors="replace"),
                content_type=response.header("Content-Type").partition(";")[0].strip().lower(),
                etag=response.header("ETag"),
                url=response.url,
            )

    def _transfer(self, url: str, target: Path, until: float) -> str:
        """Write the file and return its sha256."""
        if url.startswith("file:"):
            data = _local_bytes(file_url_to_path(url))
            target.write_bytes(data)
            return hashlib.sha256(data).hexdigest()
        seen = hashlib.sha256()
        # Accept-Encoding identity: the hash is of the file, not of what a proxy made of it.
        with self._open(url, {"Accept-Encoding": "identity"}) as response, target.open("wb") as stream:
            if response.status != 200:
                raise response.refusal()
            for chunk in self._chunks(response, until):
                seen.update(chunk)
                stream.write(chunk)
        return seen.hexdigest()

    def _open(self, url: str, headers: dict[str, str]) -> Response:
        self._go_on()
        if self._offline:
            raise NetworkProblem(f"{redact(url)}: not in the cache, and UV_OFFLINE forbids to ask")
        # Credentials go apart from the URL: in it, they would lose against netrc, and come back in the answer's links.
        bare, login = split_login(url)
        return self._transport.open(bare, redact(url), headers, login or self._lent(bare))

    @property
    def _transport(self) -> Transport:
        with self._making:
            if self._made is None:
                from pytest_spip.common.transport import Transport  # a warm run asks nobody, and does without requests

                self._made = Transport(self._trust, pool=self._pool)
            return self._made

    def _lent(self, url: str) -> tuple[str, str] | None:
        near = [
            (len(os.path.commonpath([bare, url])), login) for bare, login in self._logins if _realm(bare) == _realm(url)
        ]
        return max(near)[1] if near else None

    def _chunks(self, response: Response, until: float) -> Iterator[bytes]:
        """Yield what arrives as it arrives."""
        for chunk in response.chunks():
            self._go_on()
            if time.monotonic() > until:
                raise NetworkProblem(f"{redact(response.url)}: no end after {self._deadline:g} s")
            yield chunk

    def _go_on(self) -> None:
        if self._stopped.is_set():
            raise HarnessProblem("the session is ending")


def _local_page(url: str) -> Answer:
    page = file_url_to_path(url)
    page = page / "index.html" if page.is_dir() else page
    if not page.is_file():
        return Answer(status=404, url=url)
    text = _local_bytes(page).decode("utf-8", "replace")
    return Answer(status=200, text=text, content_type="text/html", url=f"file://{quote(str(page))}")


def _local_bytes(path: Path) -> bytes:
    """Failing to read the other side's file is the network's fault; failing to write ours would be the disk's."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise NetworkProblem(f"{path}: {error.strerror}") from error
