"""TLS for requests by the user's settings, for each hop of a redirection anew."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.exceptions import InsecureRequestWarning
from urllib3.util.ssl_ import create_urllib3_context

from pytest_spip.model import Trust

__all__ = ["make_session"]

_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")
"""A file's name in a directory of certificates, as ``openssl rehash`` gives it."""


def make_session(trust: Trust, *, pool: int) -> requests.Session:
    """Return a session that trusts whom the settings trust, with ``pool`` connections kept for each host.

    Raises ``OSError`` for certificates that cannot be read; ``ssl.SSLError`` is one.
    """
    return _Session(trust, pool)


class _Session(requests.Session):
    def __init__(self, trust: Trust, pool: int) -> None:
        super().__init__()
        self._trust = trust
        # The adapters' own retries would sleep as long as a server asks, and could not be stopped.
        options: dict[str, Any] = {"max_retries": 0, "pool_connections": 8, "pool_maxsize": pool}
        self._insecure = _Adapter(None, trust.client, **options)
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter(trust, trust.client, **options))

    def get_adapter(self, url: str | bytes) -> HTTPAdapter:
        text = url.decode() if isinstance(url, bytes) else url
        if self._trust.insecure_hosts and self._trust.is_insecure(text):
            return self._insecure
        found = super().get_adapter(text)
        assert isinstance(found, HTTPAdapter)
        return found

    def close(self) -> None:
        super().close()
        self._insecure.close()


class _Adapter(HTTPAdapter):
    """Sends with one context for all connections; without a ``trust`` certificates are not verified."""

    def __init__(self, trust: Trust | None, client: str, **options: Any) -> None:
        self._trust = trust
        self._client = client
        self._context: ssl.SSLContext | None = None
        super().__init__(**options)

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        """Return what connections share; the context is made with the first, for reading all authorities takes 20 ms."""
        host, options = super().build_connection_pool_key_attributes(request, self._trust is not None, None)
        if host["scheme"] == "https":
            self._context = self._context or _context(self._trust, self._client)
            options["ssl_context"] = self._context
        return host, options

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave certificates to the context: requests would add those that it brings."""

    def send(self, request: Any, *args: Any, **options: Any) -> requests.Response:
        if self._trust is None:
            urllib3.disable_warnings(InsecureRequestWarning)  # the user asked for it, and may have warnings made errors
        return super().send(request, *args, **options)


def _context(trust: Trust | None, client: str) -> ssl.SSLContext:
    context = create_urllib3_context()
    if trust is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif trust.files or trust.directories:
        for file in trust.files:
            context.load_verify_locations(cafile=file)
        for directory in trust.directories:
            _load_directory(context, Path(directory))
    elif trust.system:
        context.load_default_certs()
    else:
        context.load_verify_locations(cafile=DEFAULT_CA_BUNDLE_PATH)
    if client:
        context.load_cert_chain(client)
    return context


def _load_directory(context: ssl.SSLContext, directory: Path) -> None:
    """Load certificates by the names that OpenSSL gives them, or all where none has such a name."""
    context.load_verify_locations(capath=str(directory))
    if not any(_HASHED.fullmatch(path.name) for path in directory.iterdir()):
        for path in directory.iterdir():
            if path.suffix in {".pem", ".crt", ".cer"}:
                context.load_verify_locations(cafile=str(path))
