"""The one HTTP client: indexes and downloads, with bounded retries, a total deadline and the user's credentials."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from urllib.request import url2pathname

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from pytest_spip.errors import HashMismatch, NetworkProblem

__all__ = ["Answer", "Web", "redact"]

TIMEOUT = (10.0, 20.0)
"""Seconds to connect, and between two reads."""
DEADLINE = 300.0
"""Seconds for one whole transfer: a server that drips bytes does not hold us for ever."""
PAGE_LIMIT = 128 << 20
"""Bytes of an index page; the largest project page of the public index is a fraction of it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """A page: ``status`` 200, 304 or 404; anything else is raised."""

    status: int
    text: str = ""
    content_type: str = ""
    etag: str = ""
    url: str = ""


def redact(url: str) -> str:
    """Return the URL without its password, fit for messages and reports."""
    parts = urlsplit(url)
    if parts.password is None and parts.username is None:
        return url
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    return urlunsplit(parts._replace(netloc=f"****@{host}{port}"))


class Web:
    """A session over one connection pool, safe to use from many threads.

    ``index_urls`` lend their credentials to files on the same host, as pip and uv do; netrc and proxies come from the
    user's environment.
    """

    def __init__(self, index_urls: Iterable[str] = (), *, retries: int = 3, pool: int = 32) -> None:
        policy = Retry(total=retries, backoff_factor=0.3, status_forcelist=(429, 500, 502, 503, 504))
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=policy, pool_connections=8, pool_maxsize=pool))
        self._logins = dict(_login(url) for url in index_urls if urlsplit(url).username)
        self._retries = retries

    def close(self) -> None:
        """Give the connections back."""
        self._session.close()

    def page(self, url: str, *, accept: str, etag: str = "") -> Answer:
        """Fetch a page. Raises ``NetworkProblem``; 304 and 404 are answers."""
        if url.startswith("file:"):
            return _local_page(url)
        headers = {"Accept": accept} | ({"If-None-Match": etag} if etag else {})
        with self._open(url, headers) as response:
            if response.status_code not in (200, 304, 404):
                raise NetworkProblem(f"{redact(url)}: the server answered {response.status_code} {response.reason}")
            body = self._body(response)
            return Answer(
                status=response.status_code,
                text=body.decode("utf-8", errors="replace"),
                content_type=response.headers.get("Content-Type", "").partition(";")[0].strip().lower(),
                etag=response.headers.get("ETag", ""),
                url=response.url,
            )

    def download(self, url: str, target: Path, sha256: str) -> None:
        """Fetch a file and check its hash before anybody opens it.

        Raises ``NetworkProblem`` after bounded retries, ``HashMismatch`` when complete bytes are not the promised ones.
        """
        for attempt in range(self._retries + 1):
            try:
                found = self._transfer(url, target)
                break
            except NetworkProblem:
                if attempt == self._retries:
                    raise
                time.sleep(0.2 * 2**attempt)
        if sha256 and found != sha256:
            target.unlink(missing_ok=True)
            raise HashMismatch(f"{redact(url)}: sha256 is {found}, promised was {sha256}")

    def _transfer(self, url: str, target: Path) -> str:
        """Write the file and return its sha256."""
        if url.startswith("file:"):
            data = file_url_to_path(url).read_bytes()
            target.write_bytes(data)
            return hashlib.sha256(data).hexdigest()
        seen = hashlib.sha256()
        # Accept-Encoding identity: the hash is of the file, not of what a proxy made of it.
        with self._open(url, {"Accept-Encoding": "identity"}) as response, target.open("wb") as stream:
            if response.status_code != 200:
                raise NetworkProblem(f"{redact(url)}: the server answered {response.status_code} {response.reason}")
            for chunk in _chunks(response):
                seen.update(chunk)
                stream.write(chunk)
        return seen.hexdigest()

    def _open(self, url: str, headers: dict[str, str]) -> requests.Response:
        auth = self._logins.get(urlsplit(url).hostname or "")
        try:
            return self._session.get(url, headers=headers, auth=auth, timeout=TIMEOUT, stream=True)
        except requests.RequestException as error:
            raise NetworkProblem(f"{redact(url)}: {_root_cause(error)}") from error

    @staticmethod
    def _body(response: requests.Response) -> bytes:
        body = bytearray()
        for chunk in _chunks(response):
            body += chunk
            if len(body) > PAGE_LIMIT:
                raise NetworkProblem(f"{redact(response.url)}: the page is larger than {PAGE_LIMIT >> 20} MiB")
        return bytes(body)


def _chunks(response: requests.Response) -> Iterable[bytes]:
    until = time.monotonic() + DEADLINE
    try:
        for chunk in response.iter_content(1 << 16):
            if time.monotonic() > until:
                raise NetworkProblem(f"{redact(response.url)}: no end after {DEADLINE:.0f} s")
            yield chunk
    except requests.RequestException as error:
        raise NetworkProblem(f"{redact(response.url)}: {_root_cause(error)}") from error


def _login(url: str) -> tuple[str, tuple[str, str]]:
    parts = urlsplit(url)
    return parts.hostname or "", (unquote(parts.username or ""), unquote(parts.password or ""))


def _local_page(url: str) -> Answer:
    page = file_url_to_path(url)
    page = page / "index.html" if page.is_dir() else page
    if not page.is_file():
        return Answer(status=404, url=url)
    base = f"file://{quote(str(page))}"
    return Answer(status=200, text=page.read_text("utf-8", "replace"), content_type="text/html", url=base)


def file_url_to_path(url: str) -> Path:
    """Return the path a ``file:`` URL names."""
    return Path(url2pathname(urlsplit(url).path))


def _root_cause(error: BaseException) -> str:
    """Return the innermost words: requests wraps a refused connection four times."""
    while (inner := error.__cause__ or error.__context__ or getattr(error, "reason", None)) and isinstance(
        inner, BaseException
    ):
        error = inner
    return str(error).rpartition(">: ")[2] or type(error).__name__
