"""What a wheel's archive holds: its files by the path that they unpack to, and what must not be unpacked."""

from __future__ import annotations

import posixpath
import stat
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pytest_spip.errors import BadWheel

__all__ = ["check_ends", "data_place", "members_of", "normal", "place"]

SITE = "lib/any/site-packages"
_SHARED = (SITE, "bin", "include")
"""Directories of every environment."""
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Those that pip and uv both unpack."""
END, END_SIZE, COMMENT_SIZE = b"PK\5\6", 22, 1 << 16
"""Of a zip archive's last record: how it begins, and how long it is and may be."""
SCHEMES = ("purelib", "platlib", "scripts", "data", "headers")


def normal(path: str) -> str:
    """Return a path without ``.``, ``..`` and empty parts, as far as that leads nowhere else."""
    return posixpath.normpath(path) if path else path


def check_ends(wheel: Path, archive: zipfile.ZipFile) -> None:
    """Raise ``BadWheel`` where something stands before or after the archive: pip passes it over, uv does not."""
    first = min((member.header_offset for member in archive.infolist()), default=0)
    size = wheel.stat().st_size
    with wheel.open("rb") as stream:
        stream.seek(max(size - END_SIZE - COMMENT_SIZE, 0))
        tail = stream.read()
    end = tail.rfind(END)
    length = END_SIZE + int.from_bytes(tail[end + END_SIZE - 2 : end + END_SIZE], "little")
    if first or len(tail) - end != length:
        raise BadWheel(f"something stands {'before' if first else 'after'} the archive, which uv refuses")


def members_of(archive: zipfile.ZipFile, info: str) -> tuple[dict[str, zipfile.ZipInfo], tuple[str, ...]]:
    """Return the files by path, and what is wrong with them that pip and uv overlook.

    Raises ``BadWheel`` for what must not be unpacked, or is by one of them alone. An archive's stated sizes are binding when it
    is read. ``info`` is the ``.dist-info`` directory.
    """
    files: dict[str, zipfile.ZipInfo] = {}
    twice, wrong = set(), []
    for member in archive.infolist():
        path = normal(member.filename)
        _check_name(member, path, info)
        if member.is_dir():
            wrong += [f"the archive holds the directory {path}/ twice"] if f"{path}/" in twice else []
            twice.add(f"{path}/")
        elif path in files:
            if path == f"{info}/METADATA" or archive.read(files[path]) != archive.read(member):
                raise BadWheel(f"the archive holds {path} twice")
            wrong.append(f"the archive holds {path} twice")
        else:
            files[path] = member
            if stat.S_ISLNK(member.external_attr >> 16):
                _check_link(archive, member, path)
                wrong.append(f"{path} is a symbolic link, and installed as a file")
    if clash := _clash(files, info):
        raise BadWheel(f"{clash} is where a directory must be")
    return files, tuple(dict.fromkeys(wrong))


def _check_name(member: zipfile.ZipInfo, path: str, info: str) -> None:
    name = member.filename
    if name.startswith("/") or path.split("/", maxsplit=1)[0] == ".." or (".data/" in name and ".." in name.split("/")):
        raise BadWheel(f"{name} lies outside of it")
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        raise BadWheel(f"{name!r} is a name with control characters, which uv refuses")
    if member.compress_type not in COMPRESSIONS:
        raise BadWheel(f"{name} is compressed in a way that uv does not know")
    top, _, rest = path.partition("/")
    if top.endswith(".data") and not member.is_dir():
        _check_data(path, top == f"{info.removesuffix('.dist-info')}.data", rest.split("/"))


def _check_data(path: str, is_own: bool, parts: Sequence[str]) -> None:
    if not is_own:
        raise BadWheel(f"{path} is data of another name than the wheel's, which pip and uv install differently")
    if len(parts) < 2 or parts[0] not in SCHEMES:
        raise BadWheel(f"{path} is not contained in a valid .data subdirectory")
    if parts[0] == "scripts" and len(parts) > 2:
        raise BadWheel(f"{path} is a script in a subdirectory, which uv refuses")


def _check_link(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: str) -> None:
    """Refuse a link that would lead outside, did anybody make it."""
    target = archive.read(member).decode("utf-8", "replace")
    if normal(posixpath.join(posixpath.dirname(path), target)).startswith(("/", "..")):
        raise BadWheel(f"{path} is a symbolic link that leads outside of it")


def data_place(path: str, info: str) -> tuple[str, str]:
    """Return scheme and path of a file in the ``.data`` directory; nothing for another."""
    top, _, rest = path.partition("/")
    scheme, _, below = rest.partition("/")
    return (scheme, below) if top == f"{info.removesuffix('.dist-info')}.data" else ("", "")


def place(path: str, info: str) -> str:
    """Return where an environment holds a file of a wheel, as far as that can be said for all interpreters."""
    scheme, below = data_place(path, info)
    if not scheme:
        return f"{SITE}/{path}"
    if scheme == "data" and below.startswith("lib64/"):  # a link in every environment
        return below.replace("lib64", "lib", 1)
    return {"data": "", "scripts": "bin/", "headers": "include/site/any/"}.get(scheme, f"{SITE}/") + below


def _clash(files: Mapping[str, zipfile.ZipInfo], info: str) -> str:
    """Return a file that an environment would hold where it holds a directory; nothing if there is none."""
    places = {place(path, info): path for path in files}
    folders = {folder for one in (*places, *(f"{other}/any" for other in _SHARED)) for folder in _above(one)}
    return next((path for one, path in places.items() if one in folders), "")


def _above(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path
