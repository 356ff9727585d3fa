"""The user's TLS settings: those of uv, pip, OpenSSL and requests, in that order of precedence where they exclude each other."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_spip.model import Trust
from pytest_spip.plan.resolution import is_true

__all__ = ["PIP_TRUST_KEYS", "read_trust"]

PIP_TRUST_KEYS = ("cert", "client-cert", "trusted-host")


def read_trust(
    environ: Mapping[str, str], start: Path, tables: Sequence[tuple[Mapping[str, Any], Path]], pip: Mapping[str, str]
) -> tuple[Trust, tuple[str, ...]]:
    """Return the settings, and the names of those that lead nowhere and so do not count, as with uv.

    ``tables`` are uv's, ``pip`` are pip's settings by key. Relative paths begin at ``start``.
    """
    missing: list[str] = []
    files: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    setting = ""
    for name, places in _candidates(environ, pip):
        paths = [start / Path(place).expanduser() for place in places]
        missing += [f"{name}={path} (not there)" for path in paths if not path.exists()]
        found_files = tuple(str(path) for path in paths if path.is_file())
        found_directories = tuple(str(path) for path in paths if path.is_dir())
        # SSL_CERT_FILE and SSL_CERT_DIR go together; all others stand alone.
        if (found_files or found_directories) and (not setting or name == "SSL_CERT_DIR"):
            files, directories = files + found_files[: 1 - len(files)], directories + found_directories
            setting = f"{setting} and {name}" if setting else name
    system = any(is_true(environ.get(name, "")) for name in ("UV_SYSTEM_CERTS", "UV_NATIVE_TLS")) or any(
        table.get(key) is True for table, _ in tables for key in ("system-certs", "native-tls")
    )
    client = environ.get("SSL_CLIENT_CERT") or pip.get("client-cert", "")
    trust = Trust(
        files=files,
        directories=directories,
        setting=setting,
        system=system and not setting,
        client=os.path.abspath(start / Path(client).expanduser()) if client else "",
        insecure_hosts=tuple(dict.fromkeys(_insecure_hosts(environ, tables, pip))),
    )
    return trust, tuple(missing)


def _candidates(environ: Mapping[str, str], pip: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    """Yield settings that name certificates, and their values, the first that leads somewhere first."""
    yield "SSL_CERT_FILE", [text for text in (environ.get("SSL_CERT_FILE", ""),) if text]
    yield "SSL_CERT_DIR", [text for text in environ.get("SSL_CERT_DIR", "").split(os.pathsep) if text]
    name = "PIP_CERT" if environ.get("PIP_CERT") else "pip's cert"
    yield name, [text for text in (pip.get("cert", ""),) if text]
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        yield name, [text for text in (environ.get(name, ""),) if text]


def _insecure_hosts(
    environ: Mapping[str, str], tables: Sequence[tuple[Mapping[str, Any], Path]], pip: Mapping[str, str]
) -> Iterator[str]:
    yield from environ.get("UV_INSECURE_HOST", "").replace(",", " ").split()
    for table, _ in tables:
        for key in ("allow-insecure-host", "trusted-host"):
            value = table.get(key, [])
            yield from [value] if isinstance(value, str) else [str(one) for one in value if isinstance(one, str)]
    yield from pip.get("trusted-host", "").split()
