"""TLS: one set of settings, those of uv, pip and requests, for our HTTP client and for uv."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from pytest_spip.common.http import Web
from pytest_spip.errors import IndexProblem, NetworkProblem
from pytest_spip.model import Indexes, Trust
from pytest_spip.plan.index import list_project
from pytest_spip.plan.sources import user_indexes
from pytest_spip.provision.uv_output import Failure
from tests.support.distributions import wheel
from tests.support.index import LocalIndex
from tests.support.server import Request, say, served
from tests.support.supply import Supply


@dataclasses.dataclass
class Private:
    """An index whose certificate a private authority has signed."""

    root: Path
    supply: Supply
    authority: Path
    host: str

    def write(self, name: str, text: str) -> str:
        """Write a file below the user's home and return its path."""
        path = self.root / "home" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return str(path)

    def directory(self) -> str:
        """Return a directory of certificates whose names OpenSSL does not look up."""
        path = self.root / "authorities"
        path.mkdir()
        (path / "ours.pem").write_bytes(self.authority.read_bytes())
        return str(path)

    def indexes(self, **environ: str) -> Indexes:
        """Return the settings of a person with these variables; the index is the only one."""
        start = self.root / "home" / "project"
        start.mkdir(parents=True, exist_ok=True)
        home = str(self.root / "home")
        nobody = {"HOME": home, "PIP_CONFIG_FILE": os.devnull}  # the machine's own pip.conf may name certificates
        return user_indexes({**nobody, "UV_DEFAULT_INDEX": self.supply.index.url, **environ}, start)


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Private]:
    """Serve one wheel over HTTPS to a machine on which nobody has configured anything."""
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "etc"))
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    (tmp_path / "files").mkdir()
    wheel(tmp_path / "files", "demo", "1.0", {"demo.py": ""})
    with LocalIndex(tmp_path / "files", tls=context) as index:
        host = index.url.split("/")[2]
        yield Private(tmp_path, Supply(tmp_path, index), tmp_path / "authority.pem", host)


def pages(private: Private, indexes: Indexes) -> list[str]:
    """List the project by our own client and return its versions."""
    with contextlib.closing(Web(indexes.logins, retries=0, trust=indexes.trust)) as web:
        return [one.version for one in list_project("demo", indexes, web, private.supply.cache).releases]


def resolved(private: Private, indexes: Indexes) -> str:
    """Resolve the project by uv and return the lock."""
    lock = private.root / "pylock.toml"
    attempt = private.supply.uv(indexes).resolve(("demo==1.0",), private.supply.here(), lock)
    if attempt.problem:
        raise attempt.problem
    return lock.read_text("utf-8")


SETTINGS: dict[str, Callable[[Private], dict[str, str]]] = {
    "SSL_CERT_FILE": lambda private: {"SSL_CERT_FILE": str(private.authority)},
    "SSL_CERT_DIR": lambda private: {"SSL_CERT_DIR": private.directory()},
    "PIP_CERT": lambda private: {"PIP_CERT": str(private.authority)},
    "pip.conf": lambda private: {
        "PIP_CONFIG_FILE": private.write("pip.conf", f"[global]\ncert = {private.authority}\n")
    },
    "REQUESTS_CA_BUNDLE": lambda private: {"REQUESTS_CA_BUNDLE": str(private.authority)},
    "a stale SSL_CERT_FILE": lambda private: {"SSL_CERT_FILE": "/missing", "PIP_CERT": str(private.authority)},
    "UV_INSECURE_HOST": lambda _: {"UV_INSECURE_HOST": "example.org 127.0.0.1"},
    "UV_INSECURE_HOST, port": lambda private: {"UV_INSECURE_HOST": private.host},
    "PIP_TRUSTED_HOST": lambda _: {"PIP_TRUSTED_HOST": "127.0.0.1"},
    "uv.toml": lambda private: {"UV_CONFIG_FILE": private.write("uv.toml", 'allow-insecure-host = ["127.0.0.1"]\n')},
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_setting(private: Private, setting: str) -> None:
    """Each setting of uv, pip or requests counts for our client and for uv."""
    indexes = private.indexes(**SETTINGS[setting](private))
    assert pages(private, indexes) == ["1.0"]
    assert "demo-1.0-py3-none-any.whl" in resolved(private, indexes)


def test_authority_that_is_not_trusted(private: Private) -> None:
    """Without a setting both refuse, and say what is trusted and which setting changes it."""
    indexes = private.indexes()
    with pytest.raises(IndexProblem, match=r"certificate verify failed.*no setting names others.*SSL_CERT_FILE"):
        pages(private, indexes)
    with pytest.raises(NetworkProblem, match=r"certificate.*SSL_CERT_FILE.*UV_INSECURE_HOST"):
        resolved(private, indexes)


def test_wrong_authority(private: Private, tmp_path: Path) -> None:
    """A setting that names the wrong authority is named in the failure."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    with pytest.raises(IndexProblem, match=r"certificate verify failed.*PIP_CERT \(.*other\.pem\)"):
        pages(private, private.indexes(PIP_CERT=str(tmp_path / "other.pem")))


def test_file_without_certificates(private: Private) -> None:
    """A file that holds no certificate is named, too."""
    indexes = private.indexes(SSL_CERT_FILE=private.write("empty.pem", "nothing\n"))
    with pytest.raises(IndexProblem, match=r"SSL_CERT_FILE \(.*empty\.pem\)"):
        pages(private, indexes)


def test_setting_that_leads_nowhere(private: Private) -> None:
    """A setting whose file is not there does not count, and the header says so."""
    indexes = private.indexes(SSL_CERT_FILE="/missing/ca.pem")
    assert indexes.trust == Trust()
    assert "SSL_CERT_FILE=/missing/ca.pem (not there)" in indexes.settings.lines[-1]


def test_insecure_host_lends_nothing_to_others(private: Private) -> None:
    """A redirection from a host that is not verified to one that is to be, is verified."""

    def away(request: Request) -> None:
        say(request, 302, Location=f"{private.supply.index.url}demo/")

    trust = Trust(insecure_hosts=("localhost",))
    with (
        served(away) as url,
        contextlib.closing(Web(retries=0, trust=trust)) as web,
        pytest.raises(NetworkProblem, match="certificate verify failed"),
    ):
        web.page(url.replace("127.0.0.1", "localhost"), accept="text/html")


@pytest.mark.parametrize(
    ("code", "keys", "goes_on"),
    [(403, "", False), (403, "ignore-error-codes = [401, 403]", True), (500, "ignore-error-codes = [403]", False)],
)
def test_ignored_statuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, keys: str, goes_on: bool) -> None:
    """An index that answers with an ignored status is passed over by both, like one that does not list the project."""
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "etc"))
    (tmp_path / "files").mkdir()
    wheel(tmp_path / "files", "demo", "1.0", {"demo.py": ""})
    with served(lambda request: say(request, code)) as refusing, LocalIndex(tmp_path / "files") as index:
        private = Private(tmp_path, Supply(tmp_path, index), tmp_path, "")
        text = f'[[index]]\nurl = "{refusing}/simple"\n{keys}\n'
        indexes = private.indexes(
            UV_CONFIG_FILE=private.write("uv.toml", f'{text}[[index]]\nurl = "{index.url}"\ndefault = true\n'),
            UV_DEFAULT_INDEX="",
        )
        for ask in (pages, resolved):
            with contextlib.nullcontext() if goes_on else pytest.raises((IndexProblem, NetworkProblem, Failure)):
                assert "1.0" in ask(private, indexes)
