"""The user's package index settings: uv's where uv is configured, else pip's, else the public index."""

from __future__ import annotations

import configparser
import os
import shlex
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import platformdirs

from pytest_spip.errors import UsageProblem
from pytest_spip.model import Indexes

__all__ = ["user_indexes"]

PUBLIC_INDEX = "https://pypi.org/simple"
_UV_KEYS = ("index", "index-url", "extra-index-url", "find-links", "no-index")


def user_indexes(environ: Mapping[str, str], start: Path) -> Indexes:
    """Return where packages come from, for a person who works in ``start``.

    Raises ``UsageProblem`` for a configuration file that cannot be parsed.
    """
    offline = _true(environ.get("UV_OFFLINE", ""))
    uv = _uv_settings(environ, start)
    if uv is not None:
        return Indexes(urls=tuple(uv["urls"]), find_links=tuple(uv["find_links"]), offline=offline, origin="uv")
    pip = _pip_settings(environ)
    if pip is not None:
        return Indexes(urls=tuple(pip["urls"]), find_links=tuple(pip["find_links"]), offline=offline, origin="pip")
    return Indexes(urls=(PUBLIC_INDEX,), offline=offline)


def _true(text: str) -> bool:
    return text.strip().lower() in {"1", "true", "yes", "on", "y", "t"}


# -- uv: https://docs.astral.sh/uv/concepts/indexes/ --------------------------------------------------------------------


def _uv_settings(environ: Mapping[str, str], start: Path) -> dict[str, list[str]] | None:
    """Merge environment, project, user and system, the nearest first: a default index comes last in uv's search."""
    layers = [_uv_environment(environ), *_uv_files(environ, start)]
    if not any(layer.get(key) for layer in layers for key in _UV_KEYS):
        return None
    ahead: list[str] = []
    default = ""
    find_links: list[str] = []
    for layer in layers:
        for entry in layer.get("index", ()):
            url = _with_login(entry, environ)
            if entry.get("default"):
                default = default or url
            elif not entry.get("explicit"):
                ahead.append(url)
        default = default or str(layer.get("index-url") or "")
        ahead += _texts(layer.get("extra-index-url"))
        find_links += _texts(layer.get("find-links"))
    no_index = any(layer.get("no-index") for layer in layers)
    urls = [] if no_index else [*_unique(ahead), default or PUBLIC_INDEX]
    return {"urls": [url.rstrip("/") for url in _unique(urls)], "find_links": _unique(find_links)}


def _uv_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    indexes = [_named(text) for text in environ.get("UV_INDEX", "").split()]
    if default := environ.get("UV_DEFAULT_INDEX"):
        indexes.append(_named(default) | {"default": True})
    return {
        "index": indexes,
        "index-url": environ.get("UV_INDEX_URL", ""),
        "extra-index-url": environ.get("UV_EXTRA_INDEX_URL", "").split(),
        "find-links": [part for part in environ.get("UV_FIND_LINKS", "").split(",") if part],
        "no-index": _true(environ.get("UV_NO_INDEX", "")),
    }


def _named(text: str) -> dict[str, Any]:
    name, equals, url = text.partition("=")
    return {"name": name, "url": url} if equals and "/" not in name else {"url": text}


def _with_login(entry: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    """Return the entry's URL, with the credentials that ``UV_INDEX_<NAME>_USERNAME`` and ``_PASSWORD`` give."""
    url = str(entry.get("url", ""))
    name = "".join(letter if letter.isalnum() else "_" for letter in str(entry.get("name", "")).upper())
    user = environ.get(f"UV_INDEX_{name}_USERNAME", "") if name else ""
    password = environ.get(f"UV_INDEX_{name}_PASSWORD", "") if name else ""
    parts = urlsplit(url)
    if not (user or password) or parts.username:
        return url
    return urlunsplit(parts._replace(netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{parts.netloc}"))


def _uv_files(environ: Mapping[str, str], start: Path) -> Iterator[dict[str, Any]]:
    if _true(environ.get("UV_NO_CONFIG", "")):
        return
    if named := environ.get("UV_CONFIG_FILE"):
        yield _toml(Path(named))
        return
    yield from _uv_project(start)
    config_home = Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME") or Path.home()) / ".config")
    for path in (config_home / "uv" / "uv.toml", Path("/etc/uv/uv.toml")):
        if path.is_file():
            yield _toml(path)


def _uv_project(start: Path) -> Iterator[dict[str, Any]]:
    for directory in (start, *start.parents):
        if (directory / "uv.toml").is_file():
            yield _toml(directory / "uv.toml")
            return
        if (directory / "pyproject.toml").is_file():
            table = _toml(directory / "pyproject.toml").get("tool", {}).get("uv")
            if table is not None:
                yield table
                return


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageProblem(
            "index settings", f"cannot read {path} ({error})", "mend the file, or set UV_NO_CONFIG=1"
        ) from error


# -- pip: https://pip.pypa.io/en/stable/topics/configuration/ -----------------------------------------------------------


def _pip_settings(environ: Mapping[str, str]) -> dict[str, list[str]] | None:
    """Read pip's settings, the environment last, as pip does. The main index comes before the extra ones."""
    values: dict[str, str] = {}
    for path in _pip_files(environ):
        values |= _pip_file(path)
    values |= {
        key: environ[variable] for key in _UV_KEYS if (variable := f"PIP_{key.upper().replace('-', '_')}") in environ
    }
    if not any(values.get(key) for key in _UV_KEYS):
        return None
    urls = [] if _true(values.get("no-index", "")) else [values.get("index-url") or PUBLIC_INDEX]
    urls += values.get("extra-index-url", "").split() if urls else []
    return {
        "urls": [url.rstrip("/") for url in _unique(urls)],
        "find_links": _unique(values.get("find-links", "").split()),
    }


def _pip_files(environ: Mapping[str, str]) -> list[Path]:
    named = environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []
    home = Path(environ.get("HOME") or Path.home())
    config_home = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    paths = [
        Path(folder) / "pip" / "pip.conf" for folder in platformdirs.site_config_dir(multipath=True).split(os.pathsep)
    ]
    paths += [Path("/etc/pip.conf"), home / ".pip" / "pip.conf", config_home / "pip" / "pip.conf"]
    if environ.get("VIRTUAL_ENV"):
        paths.append(Path(environ["VIRTUAL_ENV"]) / "pip.conf")
    if named:
        paths.append(Path(named))
    return [path for path in paths if path.is_file()]


def _pip_file(path: Path) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise UsageProblem(
            "index settings", f"cannot read {path} ({error})", "mend the file, or set PIP_CONFIG_FILE"
        ) from error
    sections = [name for name in ("global", "download", "install") if parser.has_section(name)]
    return {key.replace("_", "-"): value for name in sections for key, value in parser.items(name)}


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return shlex.split(value)
    return [str(item) for item in value] if isinstance(value, list) else []


def _unique(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(text for text in texts if text))
