"""An HTTP server whose answers are a test's own function, for what an index never says of itself; our client, too."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pytest_spip.common.http import Web

__all__ = ["Request", "client", "say", "served"]

Request = BaseHTTPRequestHandler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that leave early are what some tests are about."""


@contextlib.contextmanager
def client(*index_urls: str, retries: int = 0, **more: object) -> Iterator[Web]:
    """Yield a client that asks once, and is closed at the end."""
    with contextlib.closing(Web(index_urls, retries=retries, **more)) as web:  # type: ignore[arg-type]  # passed on
        yield web


@contextlib.contextmanager
def served(answer: Callable[[Request], None]) -> Iterator[str]:
    """Serve with ``answer(request)``, called in a thread for each GET, and yield the URL without a slash at its end."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with contextlib.suppress(ConnectionError):
                answer(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
            """Say nothing."""

    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def say(request: Request, status: int = 200, body: bytes = b"", promised: int | None = None, **headers: str) -> None:
    """Answer a request; ``promised`` is the length announced, keywords are headers with ``_`` for ``-``."""
    request.send_response(status)
    request.send_header("Content-Length", str(len(body) if promised is None else promised))
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), value)
    request.end_headers()
    request.wfile.write(body)
