"""The user's package index settings: uv's where uv is configured, else pip's, else the public index."""

from __future__ import annotations

import configparser
import dataclasses
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import platformdirs

from pytest_spip.errors import UsageProblem
from pytest_spip.model import Indexes, IndexOptions
from pytest_spip.plan.resolution import PIP_KEYS, is_true, pip_settings, uv_settings
from pytest_spip.plan.trust import PIP_TRUST_KEYS, read_trust

__all__ = ["user_indexes"]

PUBLIC_INDEX = "https://pypi.org/simple"
_UV_KEYS = ("index", "index-url", "extra-index-url", "find-links", "no-index")
_PIP_KEYS = _UV_KEYS[1:]


@dataclasses.dataclass(frozen=True, slots=True)
class _Layer:
    """What one level of settings says: indexes in order of search, of which the default one comes last."""

    ahead: tuple[str, ...]
    default: str
    find_links: tuple[str, ...]
    no_index: bool
    options: tuple[tuple[str, IndexOptions], ...] = ()


def user_indexes(environ: Mapping[str, str], start: Path) -> Indexes:
    """Return where packages come from, for a person who works in ``start``.

    Raises ``UsageProblem`` for a configuration file that cannot be understood.
    """
    offline = is_true(environ.get("UV_OFFLINE", ""))
    files, values = list(_uv_files(environ, start)), _pip_values(environ)
    tables = _tables_of(files)
    settings = uv_settings(environ, start, tables)
    trust, missing = read_trust(environ, start, tables, values)
    uv, pip = _uv_layers(environ, start, files), _pip_layers(values, start)
    settings = pip_settings(start, values, settings, counts=not uv)
    settings = dataclasses.replace(settings, ignored=(*settings.ignored, *missing))
    for origin, layers in (("uv", uv), ("pip", pip)):
        if layers:
            return dataclasses.replace(_joined(layers, offline, origin), settings=settings, trust=trust)
    return Indexes(urls=(PUBLIC_INDEX,), offline=offline, settings=settings, trust=trust)


def _joined(layers: Sequence[_Layer], offline: bool, origin: str) -> Indexes:
    default = next((layer.default for layer in layers if layer.default), PUBLIC_INDEX)
    urls = [url for layer in layers for url in layer.ahead]
    # pip searches the main index first, uv last.
    urls = [default, *urls] if origin == "pip" else [*urls, default]
    return Indexes(
        urls=() if any(layer.no_index for layer in layers) else _unique(urls),
        find_links=_unique(place for layer in layers for place in layer.find_links),
        offline=offline,
        origin=origin,
        options=tuple({url: options for layer in reversed(layers) for url, options in layer.options}.items()),
    )


def _index(text: str, base: Path) -> str:
    """Return an index's URL; a path, relative to ``base``, is one too."""
    if "://" not in text:
        return (base / text).absolute().as_uri()
    try:
        urlsplit(text).port  # noqa: B018  # raises for what is no URL
    except ValueError as error:
        raise UsageProblem("index settings", f"{_redacted(text)} is no URL ({error})", "fix the setting") from None
    return text.rstrip("/")


def _redacted(text: str) -> str:
    """Return what may hold credentials without them, also where it cannot be parsed."""
    return re.sub(r"//[^/]*@", "//****@", text)


def _place(text: str, base: Path) -> str:
    """Return a find-links place: a URL, or the absolute path of a directory, for uv runs elsewhere than we do."""
    return _index(text, base) if "://" in text else os.path.abspath(base / os.path.expanduser(text))


# -- uv: https://docs.astral.sh/uv/concepts/indexes/ --------------------------------------------------------------------


def _uv_layers(environ: Mapping[str, str], start: Path, files: Sequence[tuple[Path, dict[str, Any]]]) -> list[_Layer]:
    """The environment goes before all files; of these, uv merges the lists kind by kind, the nearest file first."""
    found = _tables_of(files)
    merged = {key: [(table[key], path) for table, path in found if table.get(key)] for key in _UV_KEYS}
    own = {key: [(value, start / "the environment")] for key, value in _uv_environment(environ).items() if value}
    return [_uv_layer(settings, environ) for settings in (own, merged) if any(settings.values())]


def _tables_of(files: Iterable[tuple[Path, dict[str, Any]]]) -> list[tuple[dict[str, Any], Path]]:
    """Return the tables of settings in uv's files, the nearest file first."""
    return [(table, path) for path, found in files for table in (_table(found, "pip", path), found)]


def _uv_layer(settings: Mapping[str, list[tuple[Any, Path]]], environ: Mapping[str, str]) -> _Layer:
    entries = [(entry, path) for value, path in settings.get("index", ()) for entry in _tables(value, path)]
    used = [
        (entry, _index(_with_login(entry, environ), path.parent))
        for entry, path in entries
        if entry.get("url") and not entry.get("explicit")
    ]
    flat = [url for entry, url in used if entry.get("format") == "flat"]
    plain = [(bool(entry.get("default")), url) for entry, url in used if entry.get("format") != "flat"]
    main = [url for default, url in plain if default] + _each(settings, "index-url", _index)
    return _Layer(
        ahead=(*(url for default, url in plain if not default), *_each(settings, "extra-index-url", _index)),
        default=main[0] if main else "",
        find_links=(*_each(settings, "find-links", _place), *flat),
        no_index=bool(settings.get("no-index")),
        options=tuple((url, options) for entry, url in used if (options := _options(entry)) != IndexOptions()),
    )


def _options(entry: Mapping[str, Any]) -> IndexOptions:
    """Return what counts of an index's other keys, as https://docs.astral.sh/uv/concepts/indexes/ describes them."""
    statuses = entry.get("ignore-error-codes", [])
    if not isinstance(statuses, list) or not all(isinstance(one, int) for one in statuses):
        raise UsageProblem("index settings", f"ignore-error-codes = {statuses!r} is no list of numbers", "fix the file")
    authenticate = entry.get("authenticate", "")
    return IndexOptions(tuple(statuses), authenticate if authenticate in {"always", "never"} else "")


def _each(settings: Mapping[str, list[tuple[Any, Path]]], key: str, convert: Callable[[str, Path], str]) -> list[str]:
    return [
        convert(text, path.parent)
        for value, path in settings.get(key, ())
        for text in ([value] if isinstance(value, str) else _list(value, path))
    ]


def _uv_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    indexes = [_named(text) for text in environ.get("UV_INDEX", "").split()]
    if default := environ.get("UV_DEFAULT_INDEX"):
        indexes.append(_named(default) | {"default": True})
    return {
        "index": indexes,
        "index-url": environ.get("UV_INDEX_URL", ""),
        "extra-index-url": environ.get("UV_EXTRA_INDEX_URL", "").split(),
        "find-links": [part for part in environ.get("UV_FIND_LINKS", "").split(",") if part],
        "no-index": is_true(environ.get("UV_NO_INDEX", "")),
    }


def _named(text: str) -> dict[str, Any]:
    name, equals, url = text.partition("=")
    return {"name": name, "url": url} if equals and "/" not in name else {"url": text}


def _with_login(entry: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    """Return the entry's URL, with the credentials that ``UV_INDEX_<NAME>_USERNAME`` and ``_PASSWORD`` give."""
    url = str(entry.get("url", ""))
    name = re.sub(r"[^A-Z0-9]", "_", str(entry.get("name", "")).upper())
    user = environ.get(f"UV_INDEX_{name}_USERNAME", "") if name else ""
    password = environ.get(f"UV_INDEX_{name}_PASSWORD", "") if name else ""
    scheme, separator, rest = url.partition("://")
    if not (user or password) or not separator:
        return url
    host, slash, path = rest.partition("/")
    return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{host.rpartition('@')[2]}{slash}{path}"


def _uv_files(environ: Mapping[str, str], start: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    if named := environ.get("UV_CONFIG_FILE"):
        yield Path(named).absolute(), _toml(Path(named))
    elif not is_true(environ.get("UV_NO_CONFIG", "")):
        yield from _uv_project(start)
        config_home = Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME") or Path.home()) / ".config")
        for path in (config_home / "uv" / "uv.toml", Path("/etc/uv/uv.toml")):
            if path.is_file():
                yield path, _toml(path)


def _uv_project(start: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for directory in (start, *start.parents):
        own, project = directory / "uv.toml", directory / "pyproject.toml"
        if own.is_file():
            yield own, _toml(own)
            return
        if project.is_file():
            table = _table(_toml(project), "tool", project)
            if "uv" in table:
                yield project, _table(table, "uv", project)
                return


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _unreadable(path, str(error)) from error


def _unreadable(path: Path, why: str) -> UsageProblem:
    return UsageProblem("index settings", f"cannot read {path} ({why})", "fix the file, or set UV_NO_CONFIG=1")


def _table(table: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise _unreadable(path, f"{key} is no table")
    return value


def _list(value: object, path: Path) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _unreadable(path, f"{value!r} is no list of texts")
    return value


def _tables(value: object, path: Path) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise _unreadable(path, "index is no list of tables")
    return value


# -- pip: https://pip.pypa.io/en/stable/topics/configuration/ -----------------------------------------------------------


def _pip_values(environ: Mapping[str, str]) -> dict[str, str]:
    """Read pip's settings, in which the environment overrides files, and files each other. Empty values say nothing."""
    values: dict[str, str] = {}
    sections = [_pip_file(path) for path in _pip_files(environ)]
    for name in ("global", "download", "install"):
        values |= {key: value for section in sections for key, value in section.get(name, {}).items() if value}
    variables = {
        key: environ.get(f"PIP_{key.upper().replace('-', '_')}", "") for key in (*_PIP_KEYS, *PIP_KEYS, *PIP_TRUST_KEYS)
    }
    return values | {key: value for key, value in variables.items() if value}


def _pip_layers(values: Mapping[str, str], start: Path) -> list[_Layer]:
    if not any(values.get(key) for key in _PIP_KEYS):
        return []
    links = [_place(text, start) for text in values.get("find-links", "").split()]
    return [
        _Layer(
            ahead=tuple(_index(text, start) for text in values.get("extra-index-url", "").split()),
            default=_index(values["index-url"], start) if "index-url" in values else "",
            # pip warns of directories that are not there, where uv stops.
            find_links=tuple(place for place in links if "://" in place or os.path.isdir(place)),
            no_index=is_true(values.get("no-index", "")),
        )
    ]


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


def _pip_file(path: Path) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser()
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        why = " ".join(str(error).split())
        raise UsageProblem(
            "index settings", f"cannot read {path} ({why})", "fix the file, or set PIP_CONFIG_FILE"
        ) from error
    return {name: {key.replace("_", "-"): value for key, value in parser.items(name)} for name in parser.sections()}


def _unique(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))
