"""The HTTP client: answers, retries, deadlines, credentials, hashes, from real servers."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pytest_spip.common import http as web_module
from pytest_spip.errors import HarnessProblem, HashMismatch, NetworkProblem
from tests.support.index import Fault, LocalIndex
from tests.support.server import Request, client, say, served

NOTHING = hashlib.sha256(b"").hexdigest()
DATA = b"some bytes\n" * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def index(tmp_path: Path) -> Iterator[LocalIndex]:
    """Serve one file, which is no distribution that anybody could install."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "demo-1.0.zip").write_bytes(DATA)
    with LocalIndex(tmp_path / "files") as index:
        yield index


def authorization(user: str, password: str) -> str:
    """Return the header's value."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


# -- pages --------------------------------------------------------------------------------------------------------------


def test_page(index: LocalIndex) -> None:
    """A page comes with its content type without parameters, and the address that a redirection led to."""
    with client() as web:
        answer = web.page(f"{index.url}Demo", accept="text/html; q=1")
    assert (answer.status, answer.content_type, answer.url) == (200, "text/html", f"{index.url}demo/")
    assert "demo-1.0.zip" in answer.text


def test_page_that_is_not_there(index: LocalIndex) -> None:
    """That there is no such page is an answer."""
    with client() as web:
        assert web.page(f"{index.url}other/", accept="text/html").status == 404


def test_page_that_has_not_changed() -> None:
    """A page is asked for by its tag, and that it has not changed is an answer."""
    tags = []

    def answer(request: Request) -> None:
        tags.append(request.headers.get("If-None-Match"))
        say(request, 304 if tags[-1] else 200, ETag='"1"')

    with served(answer) as url, client() as web:
        first = web.page(url, accept="text/html")
        second = web.page(url, accept="text/html", etag=first.etag)
    assert [first.status, second.status] == [200, 304]
    assert tags == [None, '"1"']


def test_page_that_is_compressed() -> None:
    """A compressed page is unpacked."""
    body = gzip.compress(b"<html>" * 20000)
    with served(lambda request: say(request, body=body, Content_Encoding="gzip")) as url, client() as web:
        assert web.page(url, accept="text/html").text == "<html>" * 20000


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_trouble_that_passes(index: LocalIndex, status: int) -> None:
    """A server in trouble is asked again."""
    index.inject(index.page_path("demo"), Fault(status=status, times=1))
    with client(retries=1) as web:
        assert web.page(f"{index.url}demo/", accept="text/html").status == 200
    assert len(index.requests) == 2


@pytest.mark.parametrize(
    ("fault", "told", "asked"),
    [
        (Fault(status=500), "the server answered 500 Internal Server Error", 2),
        (Fault(keep=10), "IncompleteRead(10 bytes read", 2),
        (Fault(status=403), "the server answered 403 Forbidden", 1),
        (Fault(status=410), "the server answered 410 Gone", 1),
    ],
)
def test_trouble_that_stays(index: LocalIndex, fault: Fault, told: str, asked: int) -> None:
    """Trouble that stays is told after a bounded number of requests, of one where asking again is no use."""
    index.inject(index.page_path("demo"), fault)
    with client(retries=1) as web, pytest.raises(NetworkProblem) as problem:
        web.page(f"{index.url}demo/", accept="text/html")
    assert str(problem.value).startswith(f"{index.url}demo/: ")
    assert told in str(problem.value)
    assert asked == len(index.requests)


def test_server_that_asks_for_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that wants us back in an hour is asked earlier."""
    monkeypatch.setattr(web_module, "PATIENCE", 0.0)
    asked: list[str] = []

    def answer(request: Request) -> None:
        asked.append(request.path)
        say(request, 429 if len(asked) == 1 else 200, Retry_After="3600")

    with served(answer) as url, client(retries=1) as web:
        assert web.page(url, accept="text/html").status == 200


def test_server_that_asks_for_too_much_patience() -> None:
    """Where the pause that a server asks for would outlast the deadline, nobody waits for it."""
    with (
        served(lambda request: say(request, 503, Retry_After="4")) as url,
        client(retries=3, deadline=1.0) as web,
        pytest.raises(NetworkProblem, match="503"),
    ):
        web.page(url, accept="text/html")


def test_server_that_drips() -> None:
    """A server that sends one byte now and then does not hold us beyond the deadline."""
    left = threading.Event()

    def answer(request: Request) -> None:
        say(request, body=b"<", promised=1000)
        left.wait(30)

    with served(answer) as url, client(deadline=0.0) as web:
        with pytest.raises(NetworkProblem, match="no end after 0 s"):
            web.page(url, accept="text/html")
        left.set()


def test_page_that_is_too_large(index: LocalIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page beyond all measure is refused."""
    monkeypatch.setattr(web_module, "PAGE_LIMIT", 100)
    with client() as web, pytest.raises(NetworkProblem, match="larger than"):
        web.page(f"{index.url}demo/", accept="text/html")


# -- downloads ----------------------------------------------------------------------------------------------------------


def test_download(tmp_path: Path, index: LocalIndex) -> None:
    """A file arrives byte by byte as its hash promises."""
    with client() as web:
        web.download(index.url.replace("/simple/", "/files/demo-1.0.zip"), tmp_path / "got", SHA256)
    assert (tmp_path / "got").read_bytes() == DATA


def test_download_of_another_file(tmp_path: Path, index: LocalIndex) -> None:
    """A file that is not the promised one is not asked for again, and nothing of it is left."""
    with client(retries=1) as web, pytest.raises(HashMismatch, match=f"sha256 is {SHA256}, promised was {NOTHING}"):
        web.download(index.url.replace("/simple/", "/files/demo-1.0.zip"), tmp_path / "got", NOTHING)
    assert not (tmp_path / "got").exists()
    assert len(index.requests) == 1


def test_download_that_breaks_off(tmp_path: Path, index: LocalIndex) -> None:
    """A file that arrives in part is asked for again, and is whole then."""
    index.inject("/files/demo-1.0.zip", Fault(keep=5, times=1))
    with client(retries=1) as web:
        web.download(index.url.replace("/simple/", "/files/demo-1.0.zip"), tmp_path / "got", SHA256)
    assert (tmp_path / "got").read_bytes() == DATA


@pytest.mark.parametrize(("fault", "asked"), [(Fault(keep=5), 2), (Fault(status=503), 2), (Fault(status=404), 1)])
def test_download_that_fails(tmp_path: Path, index: LocalIndex, fault: Fault, asked: int) -> None:
    """A file that cannot be had is a problem of the network after a bounded number of requests."""
    index.inject("/files/demo-1.0.zip", fault)
    with client(retries=1) as web, pytest.raises(NetworkProblem):
        web.download(index.url.replace("/simple/", "/files/demo-1.0.zip"), tmp_path / "got", SHA256)
    assert asked == len(index.requests)


def test_download_as_it_is(tmp_path: Path) -> None:
    """A file is asked for without compression, for its hash is of the file."""
    asked = []

    def answer(request: Request) -> None:
        asked.append(request.headers["Accept-Encoding"])
        say(request, body=DATA)

    with served(answer) as url, client() as web:
        web.download(f"{url}/demo", tmp_path / "got", SHA256)
    assert asked == ["identity"]


# -- this machine -------------------------------------------------------------------------------------------------------


def test_offline(index: LocalIndex) -> None:
    """Offline, nobody but this machine is asked."""
    with client(offline=True) as web, pytest.raises(NetworkProblem, match="UV_OFFLINE forbids to ask"):
        web.page(f"{index.url}demo/", accept="text/html")
    assert index.requests == []


# -- credentials --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def watched(seen: list[tuple[str, str | None]]) -> Iterator[str]:
    """Serve empty pages, noting path and credentials of each request."""

    def answer(request: Request) -> None:
        seen.append((request.path, request.headers.get("Authorization")))
        say(request)

    with served(answer) as url:
        yield url


def with_login(url: str, login: str) -> str:
    """Return the URL with credentials in it."""
    return url.replace("://", f"://{login}@")


def test_credentials_of_an_index(tmp_path: Path) -> None:
    """An index's credentials, unquoted, go with its pages and are lent to files on the same host and port, not to others."""
    seen: list[tuple[str, str | None]] = []
    with watched(seen) as url, watched(seen) as other, client(with_login(url, "user:p%40ss")) as web:
        answer = web.page(f"{with_login(url, 'user:p%40ss')}/page", accept="text/html")
        web.download(f"{url}/file", tmp_path / "got", NOTHING)
        web.download(f"{other}/file", tmp_path / "got", NOTHING)
    login = authorization("user", "p@ss")
    assert seen == [("/page", login), ("/file", login), ("/file", None)]
    assert answer.url == f"{url}/page"


def test_credentials_of_the_nearest_index(tmp_path: Path) -> None:
    """Of two indexes on one host, each with its own credentials, the one whose path is nearest lends them."""
    seen: list[tuple[str, str | None]] = []
    with watched(seen) as url:
        indexes = [with_login(f"{url}/{name}/simple", f"token:{name}") for name in ("one", "two")]
        with client(*indexes) as web:
            for name in ("one", "two"):
                web.download(f"{url}/{name}/files/x", tmp_path / "got", NOTHING)
                web.page(with_login(f"{url}/x", f"own:{name}"), accept="text/html")
    assert [login for _, login in seen] == [
        authorization("token", "one"),
        authorization("own", "one"),
        authorization("token", "two"),
        authorization("own", "two"),
    ]


def test_credentials_of_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The netrc's credentials are used where the address has none of its own."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    seen: list[tuple[str, str | None]] = []
    with watched(seen) as url, client() as web:
        web.page(f"{url}/netrc", accept="text/html")
        web.page(with_login(f"{url}/own", "other:own"), accept="text/html")
    assert seen == [("/netrc", authorization("user", "secret")), ("/own", authorization("other", "own"))]


def test_credentials_stay_where_they_belong() -> None:
    """A redirection to another server does not take the credentials along."""
    seen: list[tuple[str, str | None]] = []
    with (
        watched(seen) as target,
        served(lambda request: say(request, 302, Location=f"{target}/x")) as url,
        client() as web,
    ):
        web.page(with_login(f"{url}/x", "user:secret"), accept="text/html")
    assert seen == [("/x", None)]


# -- the end ------------------------------------------------------------------------------------------------------------


def test_stop() -> None:
    """A transfer under way ends when the session does, and no new one begins."""
    begun, stopped = threading.Event(), threading.Event()

    def answer(request: Request) -> None:
        say(request, body=b"<", promised=2)
        begun.set()
        stopped.wait(30)
        request.wfile.write(b">")

    with served(answer) as url, client() as web, ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(web.page, url, accept="text/html")
        assert begun.wait(30)
        web.stop()
        stopped.set()
        with pytest.raises(HarnessProblem, match="the session is ending"):
            under_way.result(30)
        with pytest.raises(HarnessProblem, match="the session is ending"):
            web.page(url, accept="text/html")


def test_stop_while_waiting(index: LocalIndex) -> None:
    """Who waits to ask again does not wait for a session that ends."""
    index.inject(index.page_path("demo"), Fault(status=500))
    with client(retries=50) as web, ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(web.page, f"{index.url}demo/", accept="text/html")
        web.stop()
        with pytest.raises(HarnessProblem, match="the session is ending"):
            under_way.result(30)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://127.0.0.1:9/simple/", "Connection refused"),
        ("gopher://u:secret@127.0.0.1/simple/", "No connection adapters"),
        ("http:///simple/", "No host"),
    ],
)
def test_nobody_there(url: str, told: str) -> None:
    """An address where nobody answers is a problem of the network, told without credentials."""
    with client() as web, pytest.raises(NetworkProblem) as problem:
        web.page(url, accept="text/html")
    assert told in str(problem.value)
    assert "secret" not in str(problem.value)
