"""A real package index over HTTP on the loopback interface, with faults on request."""

from __future__ import annotations

import base64
import dataclasses
import functools
import ssl
import sys
import threading
import urllib.parse
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.pages import Listing, listing, negotiated, normalized, rendered_project, rendered_root

__all__ = ["Fault", "LocalIndex"]

FOR_EVER = (("Cache-Control", "max-age=365000000, immutable, public"),)  # as the public index says of files
ARCHIVES = (".whl", ".tar.gz", ".tar.bz2", ".zip", ".egg", ".exe")


@dataclasses.dataclass(frozen=True)
class Fault:
    """What goes wrong with a path.

    ``status`` replaces 200, ``body`` the right body; only the first ``keep`` bytes of it are sent, though all are
    announced; nothing is said for ``stall`` seconds. It lasts for ``times`` requests, for ever by default.
    """

    status: int | None = None
    body: bytes | None = None
    keep: int | None = None
    stall: float = 0.0
    times: int | None = None


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the server says to one request."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain"
    headers: tuple[tuple[str, str], ...] = ()


class LocalIndex:
    """Serves every distribution of a directory, and those added, by the Simple API (PEP 503, 592, 629, 691, 700, 714).

    ``formats`` of one element answers in that format whatever the client accepts. ``requests`` is the log of all
    requests as (method, path), in the order in which they came. A directory that is ``still`` is read once only.
    With ``tls`` it speaks HTTPS. ``address`` is where it listens.
    """

    def __init__(
        self,
        directory: Path,
        *,
        formats: Sequence[str] = ("json", "html"),
        credentials: tuple[str, str] | None = None,
        core_metadata: bool = False,
        still: bool = False,
        tls: ssl.SSLContext | None = None,
        address: str = "127.0.0.1",
    ) -> None:
        self.requests: list[tuple[str, str]] = []
        self._directory = directory
        self._formats = tuple(formats)
        self._credentials = credentials
        self._core_metadata = core_metadata
        self._listings = functools.cache(self._read) if still else self._read
        self._added: dict[str, Listing] = {}
        self._faults: dict[str, Fault] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self.address = address
        self._scheme = "https" if tls else "http"
        self._server = _Server(self)
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """The index URL that installers take, without credentials."""
        return f"{self._scheme}://{self.address}:{self._server.server_port}/simple/"

    @property
    def authenticated_url(self) -> str:
        """The index URL with the credentials in it."""
        user, password = self._credentials or ("", "")
        return self.url.replace("//", f"//{user}:{password}@", 1)

    def add(
        self,
        path: Path,
        *,
        upload_time: str = "",
        yanked: bool | str = False,
        requires_python: str | None = None,
        sha256: str | None = None,
        project: str | None = None,
    ) -> Listing:
        """List a file, or list it differently; ``None`` stands for what the file itself says."""
        plain = listing(path)
        changed = {"requires_python": requires_python, "sha256": sha256, "project": project}
        given: dict[str, Any] = {key: value for key, value in changed.items() if value is not None}
        self._added[path.name] = dataclasses.replace(plain, upload_time=upload_time, yanked=yanked, **given)
        return self._added[path.name]

    def inject(self, path: str, fault: Fault) -> None:
        """Make requests of the path go wrong, until another fault replaces this one."""
        self._faults[path] = fault

    def page_path(self, project: str) -> str:
        """Return the path of a project's page, as the request log and :meth:`inject` know it."""
        return f"/simple/{normalized(project)}/"

    def file_path(self, file: Path | str) -> str:
        """Return the path of a file, as the request log and :meth:`inject` know it."""
        return f"/files/{urllib.parse.quote(Path(file).name)}"

    def fault(self, path: str) -> Fault:
        """Return what goes wrong with this request of the path, and count it."""
        with self._lock:
            fault = self._faults.get(path, Fault())
            if fault.times is not None:
                left = dataclasses.replace(fault, times=fault.times - 1) if fault.times > 1 else Fault()
                self._faults[path] = left
        return fault

    def stall(self, seconds: float) -> bool:
        """Wait, and return whether the index was not closed meanwhile."""
        return not self._closing.wait(seconds) if seconds else True

    def answer(self, path: str, accept: str, authorization: str) -> Answer:
        """Return the right answer to a request."""
        if not self._admits(authorization):
            return Answer(HTTPStatus.UNAUTHORIZED, headers=(("WWW-Authenticate", 'Basic realm="index"'),))
        match path.strip("/").split("/"):
            case ["simple"]:
                return self._page(path, accept, None)
            case ["simple", project]:
                return self._page(path, accept, urllib.parse.unquote(project))
            case ["files", name]:
                return self._file(urllib.parse.unquote(name))
        return Answer(HTTPStatus.NOT_FOUND)

    def _admits(self, authorization: str) -> bool:
        """Tell whether the request brings the credentials that are asked for."""
        if self._credentials is None:
            return True
        return authorization == "Basic " + base64.b64encode(":".join(self._credentials).encode()).decode()

    def _page(self, path: str, accept: str, project: str | None) -> Answer:
        """Return a project's page, or the list of projects, redirected to its canonical path."""
        canonical = "/simple/" if project is None else self.page_path(project)
        if path != canonical:
            return Answer(HTTPStatus.MOVED_PERMANENTLY, headers=(("Location", canonical),))
        listings = self._listings()
        content_type = negotiated(accept, self._formats)
        if project is None:
            names = sorted({each.project for each in listings.values()})
            return Answer(HTTPStatus.OK, rendered_root(names, content_type), content_type)
        files = [each for each in listings.values() if each.project == normalized(project)]
        if not files:
            return Answer(HTTPStatus.NOT_FOUND)
        return Answer(HTTPStatus.OK, rendered_project(normalized(project), files, content_type), content_type)

    def _file(self, name: str) -> Answer:
        """Return a distribution, or the core metadata of one (PEP 658)."""
        listings = self._listings()
        if name in listings:
            return Answer(HTTPStatus.OK, listings[name].path.read_bytes(), "application/octet-stream", FOR_EVER)
        owner = listings.get(name.removesuffix(".metadata"))
        if owner is None or not owner.metadata:
            return Answer(HTTPStatus.NOT_FOUND)
        return Answer(HTTPStatus.OK, owner.metadata, "application/octet-stream", FOR_EVER)

    def _read(self) -> dict[str, Listing]:
        """Return what is listed now, by filename: the directory is read anew, for tests that go on filling it."""
        paths = [path for path in self._directory.iterdir() if path.name.endswith(ARCHIVES)]
        found = {path.name: _listed(path, path.stat().st_mtime_ns) for path in paths if path.name not in self._added}
        found |= self._added
        served = found if self._core_metadata else {k: dataclasses.replace(v, metadata=b"") for k, v in found.items()}
        return dict(sorted(served.items()))


@functools.lru_cache(maxsize=1024)
def _listed(path: Path, changed: int) -> Listing:
    """Return the listing of a file as it was when it was changed, in nanoseconds."""
    return listing(path)


class _Server(ThreadingHTTPServer):
    """The listening socket; its threads do not outlive a test that ends with connections open."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, index: LocalIndex) -> None:
        self.index = index
        super().__init__((index.address, 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that went away, as an interrupted session does."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Speaks HTTP for the index: it decides what to answer, this only sends it."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        """Answer, as far as the path's fault lets us."""
        path = urllib.parse.urlsplit(self.path).path
        index = self.server.index
        index.requests.append((self.command, path))
        fault = index.fault(path)
        if not index.stall(fault.stall):
            self.close_connection = True
            return
        self._send(spoiled(index.answer(path, self._header("Accept"), self._header("Authorization")), fault), fault)

    def do_HEAD(self) -> None:
        """Answer as to GET; :meth:`_send` leaves the body out."""
        self.do_GET()

    def _header(self, name: str) -> str:
        """Return a request header, empty when absent."""
        return self.headers.get(name) or ""

    def _send(self, answer: Answer, fault: Fault) -> None:
        """Send status and headers, and the body as far as it is to arrive."""
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in answer.headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(answer.body[: fault.keep])
        if fault.keep is not None:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the request log is for tests, not for the terminal."""


def spoiled(answer: Answer, fault: Fault) -> Answer:
    """Return the answer with the fault's status and body in place of the right ones.

    The headers go, lest a client keep what is broken for ever.
    """
    if fault.status is None and fault.body is None and fault.keep is None:
        return answer
    status = answer.status if fault.status is None else fault.status
    body = answer.body if fault.body is None else fault.body
    return dataclasses.replace(answer, status=status, body=body, headers=())
