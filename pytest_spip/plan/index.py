"""What an index lists of a project: the Simple Repository API (PEP 503, 592, 629, 691, 700), in JSON and in HTML."""

from __future__ import annotations

import dataclasses
import html.parser
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from pytest_spip.common.cache import Cache
from pytest_spip.common.http import Answer, Web
from pytest_spip.common.trees import replace_text
from pytest_spip.common.urls import file_url_to_path, redact
from pytest_spip.errors import IndexProblem, NetworkProblem, UnknownPackage
from pytest_spip.model import DistFile, Indexes, Release, digest

__all__ = ["Listing", "list_project", "parse_html", "parse_json"]

ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"
NAMED = 5
"""Files that a note names at most."""
FRESH = 600.0
"""Seconds for which a listing is taken as it is; the public index itself allows caches ten minutes."""
SDIST_SUFFIXES = (".tar.gz", ".zip", ".tar.bz2", ".tgz", ".tar.xz")


@dataclasses.dataclass(frozen=True, slots=True)
class Listing:
    """A project's releases, oldest first, and what was passed over. ``notes`` are lines for a person."""

    package: str
    releases: tuple[Release, ...]
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class _Entry:
    """One link of a page, not yet understood."""

    filename: str
    url: str
    sha256: str = ""
    requires_python: str = ""
    upload_time: str = ""
    yanked: bool = False
    size: int = 0
    linked: bool = False


def list_project(package: str, indexes: Indexes, web: Web, cache: Cache) -> Listing:
    """Return the project's listing from the first index that has it, widened by find-links.

    Raises ``UnknownPackage`` where no index knows the project and ``IndexProblem`` where one cannot be read.
    """
    name = canonicalize_name(package)
    notes: list[str] = []
    found: Sequence[_Entry] = ()
    source = ""
    for url in indexes.urls:
        ignored = indexes.options_of(url).ignored_statuses
        entries = _listed(f"{url.rstrip('/')}/{name}/", indexes.offline, web, cache, notes, ignored)
        if entries is not None:
            found, source = [*found, *entries], source or redact(url)
            if not indexes.settings.index_strategy.startswith("unsafe"):
                break
    linked = [
        dataclasses.replace(entry, linked=True)
        for place in indexes.find_links
        for entry in _links(place, indexes.offline, web, cache, notes)
    ]
    releases, invalid = _releases(name, [*found, *linked], source)
    if not source and not releases:
        places = ", ".join(redact(url) for url in indexes.urls) or "the find-links"
        raise UnknownPackage(
            "--spip-matrix", f"no project named {package!r} on {places}", "check the spelling or the index settings"
        )
    if invalid:
        more = f" and {len(invalid) - NAMED} more" if len(invalid) > NAMED else ""
        notes.append(f"{name}: left out, for their versions are not valid: {', '.join(invalid[:NAMED])}{more}")
    return Listing(package=name, releases=releases, notes=tuple(notes))


# -- fetching -----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class _Page:
    """A page as it is kept: ``fetched`` in seconds since the epoch; no entries where the index did not know the project."""

    entries: tuple[_Entry, ...] | None
    etag: str
    fetched: float

    @property
    def age(self) -> float:
        return time.time() - self.fetched

    @property
    def fresh(self) -> bool:
        """An absence is never fresh: who has just published a project does not want to wait until we know."""
        return self.entries is not None and 0 <= self.age < FRESH

    def keep(self, path: Path) -> None:
        replace_text(path, json.dumps(dataclasses.asdict(self)))

    @classmethod
    def kept(cls, path: Path) -> _Page | None:
        try:
            plain = json.loads(path.read_text("utf-8"))
            entries = plain["entries"]
            known = None if entries is None else tuple(_Entry(**entry) for entry in entries)
            return cls(known, plain["etag"], float(plain["fetched"]))
        except (OSError, ValueError, TypeError, KeyError):
            return None


def _listed(
    url: str, offline: bool, web: Web, cache: Cache, notes: list[str], ignored: Sequence[int] = ()
) -> Sequence[_Entry] | None:
    """Return a page's entries, None where there is no such page. HTTP statuses that are ``ignored`` say that, too."""
    if url.startswith("file:"):  # as near as the cache, and never stale
        return _ask(url, None, web).entries
    place = cache.index / f"{digest(url)[:32]}.json"
    known = _Page.kept(place)
    if known and (offline or known.fresh):
        return known.entries
    if offline:
        raise IndexProblem(redact(url), "not in the cache, and UV_OFFLINE forbids to ask")
    try:
        page = _ask(url, known, web, ignored)
    except _Unreachable:
        if known is None:
            raise
        notes.append(f"{redact(url)} cannot be reached; its listing is from {known.age / 3600:.1f} h ago")
        return known.entries
    page.keep(place)
    return page.entries


class _Unreachable(IndexProblem):
    """The index did not answer, or not with a page; what it said before may still do."""


def _ask(url: str, known: _Page | None, web: Web, ignored: Sequence[int] = ()) -> _Page:
    try:
        answer = web.page(url, accept=ACCEPT, etag=known.etag if known else "", absent=(404, *ignored))
    except NetworkProblem as error:
        raise _Unreachable(redact(url), str(error).removeprefix(f"{redact(url)}: ")) from error
    if known and answer.status == 304:
        return dataclasses.replace(known, fetched=time.time())
    entries = None if answer.status in (404, *ignored) else tuple(_parse(answer))
    return _Page(entries, answer.etag, time.time())


def _links(place: str, offline: bool, web: Web, cache: Cache, notes: list[str]) -> Sequence[_Entry]:
    """Return the entries of a find-links place: a directory, or a page of links."""
    local = file_url_to_path(place) if place.startswith("file:") else Path(place)
    if "://" in place and not (place.startswith("file:") and local.is_dir()):
        entries = _listed(place, offline, web, cache, notes)
        if entries is None:
            raise IndexProblem(redact(place), "there is no such page of links")
        return entries
    try:
        return [
            _Entry(filename=path.name, url=path.resolve().as_uri(), size=path.stat().st_size)
            for path in sorted(local.iterdir())
        ]
    except OSError as error:
        raise IndexProblem(place, f"cannot be read as find-links ({error.strerror})") from error


# -- parsing ------------------------------------------------------------------------------------------------------------


def _parse(answer: Answer) -> list[_Entry]:
    where = redact(answer.url)
    if answer.content_type.endswith("json"):
        return parse_json(answer.text, answer.url)
    if answer.content_type.endswith("html"):
        return parse_html(answer.text, answer.url)
    raise IndexProblem(where, f"answered {answer.content_type or 'without a content type'}, neither JSON nor HTML")


def parse_json(text: str, url: str) -> list[_Entry]:
    """Parse a PEP 691 project page; raises ``IndexProblem`` where it is not one."""
    try:
        page = json.loads(text)
        _check_api(str(page["meta"]["api-version"]), url)
        return [_json_entry(file, url) for file in page["files"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise IndexProblem(redact(url), f"malformed JSON answer ({type(error).__name__}: {error})") from error


def _json_entry(file: dict[str, object], url: str) -> _Entry:
    hashes = file.get("hashes")
    return _Entry(
        filename=str(file["filename"]),
        url=urljoin(url, str(file["url"])),
        sha256=str(hashes.get("sha256", "")) if isinstance(hashes, dict) else "",
        requires_python=str(file.get("requires-python") or ""),
        upload_time=str(file.get("upload-time") or ""),
        yanked=bool(file.get("yanked")),
        size=size if isinstance(size := file.get("size"), int) else 0,
    )


def parse_html(text: str, url: str) -> list[_Entry]:
    """Parse a PEP 503 project page, or any page of links; raises ``IndexProblem`` where it is not HTML."""
    parser = _Anchors(url)
    try:
        parser.feed(text)
        parser.close()
    except (ValueError, AssertionError) as error:  # of urljoin, and of the parser's own for what it cannot tokenize
        raise IndexProblem(redact(url), f"malformed HTML answer ({error})") from error
    if not parser.is_html:
        raise IndexProblem(redact(url), "malformed HTML answer (no HTML in it)")
    return parser.entries


class _Anchors(html.parser.HTMLParser):
    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.base = url
        self.is_html = False
        self.entries: list[_Entry] = []

    def handle_decl(self, decl: str) -> None:
        self.is_html = self.is_html or decl.lower().startswith("doctype html")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.is_html = self.is_html or tag in {"html", "a"}
        if tag == "meta" and given.get("name") == "pypi:repository-version":
            _check_api(given.get("content") or "", self.url)
        elif tag == "base" and given.get("href"):
            self.base = urljoin(self.url, given["href"] or "")
        elif tag == "a" and given.get("href"):
            self.entries.append(self._entry(given))

    def _entry(self, given: dict[str, str | None]) -> _Entry:
        url, fragment = urldefrag(urljoin(self.base, given["href"] or ""))
        return _Entry(
            filename=unquote(urlsplit(url).path.rpartition("/")[2]),
            url=url,
            sha256=fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else "",
            requires_python=given.get("data-requires-python") or "",
            upload_time=given.get("data-upload-time") or "",
            yanked="data-yanked" in given,
        )


def _check_api(version: str, url: str) -> None:
    """PEP 629: a client must stop at a major version it does not know."""
    if version.partition(".")[0] not in {"", "1"}:
        raise IndexProblem(redact(url), f"speaks version {version} of the Simple API, and only 1.x is known")


# -- understanding ------------------------------------------------------------------------------------------------------


def _releases(name: str, entries: Iterable[_Entry], source: str) -> tuple[tuple[Release, ...], list[str]]:
    """Group files by version, oldest first; also return the files whose versions are none."""
    by_version: dict[Version, list[DistFile]] = {}
    invalid: dict[str, None] = {}
    for entry in entries:
        kind, text = _understand(entry.filename, name)
        try:
            version = Version(text) if kind else None
        except InvalidVersion:
            invalid[entry.filename] = None
            continue
        if version is not None:
            by_version.setdefault(version, []).append(_dist_file(entry, kind, str(version)))
    ordered = sorted(by_version.items())
    releases = tuple(Release(name, str(version), tuple(files), source) for version, files in ordered)
    return releases, list(invalid)


def _dist_file(entry: _Entry, kind: str, version: str) -> DistFile:
    return DistFile(
        filename=entry.filename,
        url=entry.url,
        kind=kind,
        version=version,
        sha256=entry.sha256,
        requires_python=entry.requires_python,
        upload_time=entry.upload_time,
        yanked=entry.yanked,
        size=entry.size,
        linked=entry.linked,
    )


def _understand(filename: str, name: str) -> tuple[str, str]:
    """Return kind of a file and its version, unchecked; the kind is empty for eggs, installers and other projects' files."""
    if filename.endswith(".whl"):
        return _understand_wheel(filename, name)
    for suffix in SDIST_SUFFIXES:
        if filename.endswith(suffix):
            version = _after_name(filename.removesuffix(suffix), name)
            # In a find-links directory, "foo-bar-1.0" is more likely to be foo-bar's than an odd version of foo.
            ours = version[:1].isdigit() or "-" not in version
            return ("sdist", version) if version and ours else ("", "")
    return "", ""


def _understand_wheel(filename: str, name: str) -> tuple[str, str]:
    if canonicalize_name(filename.partition("-")[0]) != name:
        return "", ""
    try:
        return "wheel", str(parse_wheel_filename(filename)[1])
    except InvalidWheelFilename:
        return "wheel", filename  # which is no version, and best says what is left out


def _after_name(zygote: str, name: str) -> str:
    """Return what follows the name; names and versions both may hold dashes, in any spelling (pip ``package_finder.py``)."""
    dashes = (place for place, letter in enumerate(zygote) if letter == "-")
    return next((zygote[place + 1 :] for place in dashes if canonicalize_name(zygote[:place]) == name), "")
