"""What HTTP is made of: connections, and the answers that come over them. The one user of requests, beside TLS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Self

import requests
from urllib3.exceptions import HTTPError

from pytest_spip.common.tls import make_session
from pytest_spip.common.urls import redact
from pytest_spip.errors import NetworkProblem, PassingProblem
from pytest_spip.model import Trust

__all__ = ["Response", "Transport"]

TIMEOUT = (10.0, 20.0)
"""Seconds to connect, and between two reads."""


class Transport:
    """A session over one connection pool, safe to use from many threads; ``trust`` are the user's TLS settings."""

    def __init__(self, trust: Trust, *, pool: int) -> None:
        self._session = make_session(trust, pool=pool)
        self._trust = trust

    def open(self, url: str, shown: str, headers: Mapping[str, str], login: tuple[str, str] | None) -> Response:
        """Send a request, and return the answer as soon as it begins; ``shown`` is the URL in messages.

        Raises ``NetworkProblem``, ``PassingProblem`` where it may help to ask again.
        """
        try:
            return Response(self._session.get(url, headers=headers, auth=login, timeout=TIMEOUT, stream=True))
        except requests.exceptions.SSLError as error:
            raise NetworkProblem(f"{shown}: {_root_cause(error)}; {self._trust.advice}") from error
        except (requests.ConnectionError, requests.Timeout) as error:
            raise PassingProblem(f"{shown}: {_root_cause(error)}") from error
        except requests.RequestException as error:
            raise NetworkProblem(f"{shown}: {_root_cause(error)}") from error
        except OSError as error:  # of files with certificates
            raise NetworkProblem(f"{shown}: certificates cannot be read ({error}); {self._trust.advice}") from error

    def close(self) -> None:
        """Give the connections back."""
        self._session.close()


class Response:
    """An answer whose body is still to come; a context manager that gives its connection back."""

    def __init__(self, response: requests.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.url = response.url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._response.close()

    def header(self, name: str) -> str:
        """Return a header's text; nothing where there is none."""
        return self._response.headers.get(name, "")

    def chunks(self) -> Iterator[bytes]:
        """Yield what arrives as it arrives: who waits for full chunks waits for ever for a server that drips."""
        try:
            while chunk := self._response.raw.read1(1 << 16, decode_content=True):
                yield chunk
        except HTTPError as error:
            raise PassingProblem(f"{redact(self.url)}: {_root_cause(error)}") from error

    def refusal(self) -> NetworkProblem:
        """Return the problem that a status is."""
        what = f"{redact(self.url)}: the server answered {self.status} {self._response.reason}"
        if self.status not in (429, 500, 502, 503, 504):
            return NetworkProblem(what)
        wished = self.header("Retry-After")
        return PassingProblem(what, float(wished) if wished.isdecimal() else 0.0)


def _root_cause(error: BaseException) -> str:
    """Return the innermost words: requests wraps a refused connection four times."""
    while (inner := error.__cause__ or error.__context__ or getattr(error, "reason", None)) and isinstance(
        inner, BaseException
    ):
        error = inner
    return str(error).rpartition(">: ")[2] or type(error).__name__
