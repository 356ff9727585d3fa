"""Pages of a package index: what is listed of a file, in JSON and HTML (PEP 503, 592, 629, 691, 700, 714)."""

from __future__ import annotations

import dataclasses
import email.parser
import hashlib
import html
import json
import re
import tarfile
import urllib.parse
import zipfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["HTML", "JSON", "Listing", "listing", "negotiated", "normalized", "rendered_project", "rendered_root"]

JSON = "application/vnd.pypi.simple.v1+json"
HTML = ("application/vnd.pypi.simple.v1+html", "text/html")


@dataclasses.dataclass(frozen=True)
class Listing:
    """One file as a project's page lists it: empty fields are left out."""

    path: Path
    project: str
    upload_time: str = ""
    yanked: bool | str = False
    requires_python: str = ""
    sha256: str = ""
    metadata: bytes = b""

    @property
    def url(self) -> str:
        """The path that the file is served at."""
        return f"/files/{urllib.parse.quote(self.path.name)}"

    @property
    def version(self) -> str:
        """The version that the filename names."""
        return project_and_version(self.path.name)[1]

    @property
    def metadata_sha256(self) -> str:
        """The hash of the core metadata, empty when they are not served (PEP 714)."""
        return hashlib.sha256(self.metadata).hexdigest() if self.metadata else ""


def listing(path: Path) -> Listing:
    """List a file by what it says itself."""
    metadata = metadata_of(path)
    requires_python = email.parser.BytesHeaderParser().parsebytes(metadata).get("Requires-Python", "")
    return Listing(
        path=path,
        project=normalized(project_and_version(path.name)[0]),
        requires_python=requires_python,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        metadata=metadata if path.suffix == ".whl" else b"",
    )


def project_and_version(filename: str) -> tuple[str, str]:
    """Return what a distribution's filename names: only old sdists have dashes in the project."""
    for suffix in (".tar.gz", ".tar.bz2", ".zip"):
        if filename.endswith(suffix):
            project, _, version = filename.removesuffix(suffix).rpartition("-")
            return project, version
    project, _, rest = filename.partition("-")
    return project, rest.partition("-")[0]


def metadata_of(path: Path) -> bytes:
    """Return METADATA of a wheel or PKG-INFO of an sdist, empty when there is none to read."""
    try:
        return _wheel_metadata(path) if path.suffix == ".whl" else _sdist_metadata(path)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, StopIteration):
        return b""


def _wheel_metadata(path: Path) -> bytes:
    """Return METADATA, or raise ``StopIteration`` for a wheel without."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA")))


def _sdist_metadata(path: Path) -> bytes:
    """Return PKG-INFO, or raise ``StopIteration`` for an sdist without."""
    with tarfile.open(path) as archive:
        file = archive.extractfile(next(each for each in archive if re.fullmatch("[^/]+/PKG-INFO", each.name)))
        return b"" if file is None else file.read()


def normalized(project: str) -> str:
    """Return a project's name as PEP 503 normalizes it."""
    return re.sub(r"[-_.]+", "-", project).lower()


def negotiated(accept: str, formats: Sequence[str]) -> str:
    """Return the content type of the client's choice among the formats, its only one or HTML when it has none."""
    offered = [kind for name in formats for kind in ((JSON,) if name == "json" else HTML)]
    quality = dict(_accepted(part) for part in accept.split(",") if part.strip())
    best = max(offered, key=lambda kind: quality.get(kind, 0.0))
    return best if quality.get(best) else offered[-1]


def _accepted(part: str) -> tuple[str, float]:
    """Return content type and quality of one element of an Accept header."""
    kind, _, parameters = part.partition(";")
    found = re.search(r"q=([0-9.]+)", parameters)
    return kind.strip(), float(found[1]) if found else 1.0


def rendered_root(projects: Sequence[str], content_type: str) -> bytes:
    """Return the list of projects."""
    if content_type == JSON:
        return as_json({"meta": {"api-version": "1.1"}, "projects": [{"name": name} for name in projects]})
    return as_html([f'<a href="/simple/{name}/">{name}</a>' for name in projects])


def rendered_project(project: str, files: Sequence[Listing], content_type: str) -> bytes:
    """Return a project's page."""
    if content_type != JSON:
        return as_html([anchor(each) for each in files])
    versions = sorted({each.version for each in files})
    entries = [file_entry(each) for each in files]
    return as_json({"meta": {"api-version": "1.1"}, "name": project, "versions": versions, "files": entries})


def file_entry(file: Listing) -> dict[str, object]:
    """Return a file as PEP 691 and 700 describe it, with only the optional keys that are known."""
    optional: dict[str, object] = {
        "requires-python": file.requires_python,
        "upload-time": file.upload_time,
        "yanked": file.yanked,
        "core-metadata": {"sha256": file.metadata_sha256} if file.metadata else {},
    }
    return {
        "filename": file.path.name,
        "url": file.url,
        "hashes": {"sha256": file.sha256} if file.sha256 else {},
        "size": file.path.stat().st_size,
        **{key: value for key, value in optional.items() if value},
    }


def anchor(file: Listing) -> str:
    """Return a file as PEP 503, 592 and 714 describe it, with only the optional attributes that are known."""
    optional = {
        "data-requires-python": file.requires_python,
        "data-upload-time": file.upload_time,
        "data-core-metadata": f"sha256={file.metadata_sha256}" if file.metadata else "",
    }
    attributes = {"href": file.url + (f"#sha256={file.sha256}" if file.sha256 else "")}
    attributes |= {key: value for key, value in optional.items() if value}
    if file.yanked:
        attributes["data-yanked"] = file.yanked if isinstance(file.yanked, str) else ""
    text = " ".join(f'{key}="{html.escape(value)}"' for key, value in attributes.items())
    return f"<a {text}>{html.escape(file.path.name)}</a>"


def as_json(page: object) -> bytes:
    """Return a page in JSON."""
    return json.dumps(page).encode()


def as_html(links: Sequence[str]) -> bytes:
    """Return a page in HTML."""
    head = '<!DOCTYPE html>\n<html><head><meta name="pypi:repository-version" content="1.1"></head><body>\n'
    return (head + "<br>\n".join(links) + "\n</body></html>\n").encode()
