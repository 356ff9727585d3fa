"""Source distributions as files: unpacked without leaving their directory, and what they say of how they are built."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import posixpath
import shutil
import stat
import tarfile
import tomllib
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any

from pytest_spip.model import Outcome, Phase, Reason, Verdict, digest
from pytest_spip.provision.uv_output import Failure

__all__ = [
    "BuildSystem",
    "build_failed",
    "build_system",
    "content_of",
    "open_plain",
    "read_plain",
    "top_files",
    "unpack_sdist",
]

LEGACY = ("setuptools>=40.8.0",)
"""What PEP 517 prescribes for a project without a build-system table."""
LEGACY_BACKEND = "setuptools.build_meta:__legacy__"
UNPACKED_LIMIT = 8 << 30
"""Bytes an sdist may unpack to."""
TEXT_LIMIT = 16 << 20
"""Bytes of a file that is read into memory."""
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


@dataclasses.dataclass(frozen=True, slots=True)
class BuildSystem:
    """A ``build-system`` table (PEP 518, PEP 517), with what holds where it is silent."""

    requires: tuple[str, ...] = LEGACY
    backend: str = LEGACY_BACKEND
    path: tuple[str, ...] = ()


def build_failed(detail: str, output: str = "", *, lasting: bool = True) -> Failure:
    """Return the failure of a build."""
    verdict = Verdict(Outcome.FAILED, Phase.BUILD, Reason.BUILD_FAILED, detail)
    return Failure(verdict, output or detail, lasting=lasting)


def _bad(archive: Path, what: str) -> Failure:
    detail = f"{archive.name}: {what}"
    return Failure(Verdict(Outcome.FAILED, Phase.BUILD, Reason.BAD_METADATA, detail), detail)


# -- unpacking ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class _Member:
    """One file of an archive; ``link`` is where a symbolic link leads, ``twin`` the file that a hard link shares."""

    path: str
    size: int
    executable: bool = False
    link: str = ""
    twin: str = ""
    content: Any = None


def unpack_sdist(archive: Path, target: Path) -> Path:
    """Unpack an sdist and return its top directory.

    Raises ``Failure``: for members that would lie outside (bad metadata), and for an archive that cannot be read.
    """
    target.mkdir()
    try:
        with _opened(archive) as opened:
            _write(archive, list(_members(archive, opened)), opened, target)
    except _DAMAGED as error:
        raise build_failed(f"{archive.name} cannot be unpacked: {str(error) or type(error).__name__}") from error
    entries = list(target.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_dir() and not entries[0].is_symlink() else target


def _opened(archive: Path) -> tarfile.TarFile | zipfile.ZipFile:
    return zipfile.ZipFile(archive) if archive.name.endswith(".zip") else tarfile.open(archive)


def _members(archive: Path, opened: tarfile.TarFile | zipfile.ZipFile) -> Iterator[_Member]:
    """Yield the files. Directories come with the files in them, but for empty ones, which nobody has missed."""
    if isinstance(opened, zipfile.ZipFile):
        for entry in opened.infolist():
            if not entry.is_dir():
                yield _Member(entry.filename, entry.file_size, bool(entry.external_attr >> 16 & 0o100), content=entry)
        return
    for member in opened.getmembers():
        if member.issym():
            yield _Member(member.name, 0, link=member.linkname)
        elif member.islnk():
            yield _Member(member.name, 0, twin=member.linkname)
        elif member.isfile():
            yield _Member(member.name, member.size, bool(member.mode & 0o100), content=member)
        elif not member.isdir():
            raise _bad(archive, f"{member.name!r} is neither a file nor a directory")


def _write(archive: Path, members: list[_Member], opened: tarfile.TarFile | zipfile.ZipFile, target: Path) -> None:
    """Write files first and links last, so that nothing is written through a link."""
    size = sum(member.size for member in members)
    if size > UNPACKED_LIMIT:
        raise _bad(archive, f"its files unpack to {size >> 20} MiB, the limit is {UNPACKED_LIMIT >> 20} MiB")
    for member in sorted(members, key=lambda member: bool(member.link)):
        path = _inside(archive, member.path, member.path)
        if member.link:
            _inside(archive, posixpath.join(posixpath.dirname(path), member.link), member.path)
        twin = target / _inside(archive, member.twin, member.path) if member.twin else None
        try:
            _write_one(member, opened, target / path, twin)
        except FileNotFoundError:
            raise _bad(archive, f"{member.path!r} is a link to what is not there") from None
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise _bad(archive, f"{member.path!r} lies where something else does") from None


def _inside(archive: Path, path: str, name: str) -> str:
    """Return a normalised path; refuse one that leads outside."""
    normal = posixpath.normpath(path)
    if normal.startswith(("/", "../")) or normal == ".." or "\0" in path:
        raise _bad(archive, f"{name!r} would lie, or lead, outside of it")
    return normal


def _write_one(member: _Member, opened: tarfile.TarFile | zipfile.ZipFile, place: Path, twin: Path | None) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if member.link:
        if not os.path.lexists(place):
            place.symlink_to(member.link)
        return
    if twin:
        place.hardlink_to(twin)
        return
    with _stream(member, opened) as stream, place.open("wb") as file:
        shutil.copyfileobj(stream, file)
    if member.executable:
        place.chmod(place.stat().st_mode | 0o111)


def _stream(member: _Member, opened: tarfile.TarFile | zipfile.ZipFile) -> IO[bytes]:
    if isinstance(opened, zipfile.ZipFile):
        return opened.open(member.content)
    stream = opened.extractfile(member.content)
    assert stream is not None, "it is a file"
    return stream


# -- reading ------------------------------------------------------------------------------------------------------------


def build_system(tree: Path) -> BuildSystem:
    """Return how a source tree is built; raises ``Failure`` for one that does not say so as PEP 518 has it."""
    if not (tree / "pyproject.toml").exists():
        if not (tree / "setup.py").exists():
            raise build_failed("neither pyproject.toml nor setup.py are in the top directory")
        return BuildSystem()
    try:
        table = tomllib.loads(read_plain(tree / "pyproject.toml").decode("utf-8")).get("build-system")
        return BuildSystem() if table is None else _system(table)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise build_failed(f"pyproject.toml: {type(error).__name__}: {error}") from error


def _system(table: dict[str, Any]) -> BuildSystem:
    requires, path = table["requires"], table.get("backend-path", [])
    if not all(isinstance(one, str) for one in (*requires, *path)):
        raise TypeError("what a build requires, and where its backend lies, are lists of strings")
    return BuildSystem(tuple(sorted(requires)), str(table.get("build-backend", LEGACY_BACKEND)), tuple(path))


def open_plain(path: Path) -> IO[bytes]:
    """Open a file that package code may have made; raises ``ValueError`` for a link, and for anything else that is no file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise ValueError(f"{path.name}: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{path.name} is not a file")
    return os.fdopen(descriptor, "rb")


def read_plain(path: Path, limit: int = TEXT_LIMIT) -> bytes:
    """Return the content of such a file; raises ``ValueError`` also for one that is larger than the limit."""
    with open_plain(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{path.name} is larger than {limit >> 20} MiB")
    return content


def top_files(archive: Path, names: tuple[str, ...]) -> dict[str, str]:
    """Return the texts of files in an archive's one top directory, those that are there and are UTF-8."""
    if archive.name.endswith(".zip"):
        with zipfile.ZipFile(archive) as opened:
            return {_leaf(path): opened.read(path).decode() for path in opened.namelist() if _is_top(path, names)}
    with tarfile.open(archive) as tar:
        wanted = [member for member in tar.getmembers() if member.isfile() and _is_top(member.name, names)]
        return {_leaf(member.name): stream.read().decode() for member in wanted if (stream := tar.extractfile(member))}


def content_of(archive: Path, besides: Collection[str] = ()) -> str:
    """Return a digest of the files in a sound archive: what they are called and hold, not when they were packed.

    Those in directories that are called like one of ``besides`` do not count.
    """
    with _opened(archive) as opened:
        counted = (one for one in _members(archive, opened) if not {*one.path.split("/")} & {*besides})
        return digest(sorted(_facts(member, opened) for member in counted))


def _facts(member: _Member, opened: tarfile.TarFile | zipfile.ZipFile) -> tuple[str, bool, str, str, str]:
    content = ""
    if not member.link and not member.twin:
        with _stream(member, opened) as stream:
            content = hashlib.sha256(stream.read()).hexdigest()
    return member.path, member.executable, member.link, member.twin, content


def _is_top(path: str, names: tuple[str, ...]) -> bool:
    parts = path.removeprefix("./").split("/")
    return len(parts) == 2 and parts[1] in names


def _leaf(path: str) -> str:
    return path.rpartition("/")[2]
