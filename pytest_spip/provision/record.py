"""What a wheel's RECORD says of its files: what no installer should take, and what pip and uv both overlook."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pytest_spip.errors import BadWheel
from pytest_spip.provision.archive import normal

__all__ = ["check_record"]

SIGNATURES = ("RECORD.jws", "RECORD.p7s")
"""Beside RECORD, and by the specification not in it."""
WEAK = ("md5", "sha1")
"""Algorithms that the specification forbids."""
CHUNK = 1 << 20


class _Row(NamedTuple):
    path: str
    hash: str
    size: str


class _Found:
    """What is wrong, by kind: the paths that it is wrong with, in order."""

    def __init__(self) -> None:
        self._paths: dict[str, list[str]] = defaultdict(list)

    def add(self, kind: str, path: str) -> None:
        """Note a kind of fault, a sentence with ``{}`` for the path."""
        self._paths[kind].append(path)

    def sentences(self) -> tuple[str, ...]:
        """Return one sentence for each kind, with the first path and how many more there are."""
        return tuple(
            kind.format(f"{paths[0]} (and {len(paths) - 1} more)" if len(paths) > 1 else paths[0])
            for kind, paths in self._paths.items()
        )


def check_record(archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], info: str) -> tuple[str, ...]:
    """Return what is wrong with a RECORD and is overlooked by pip and uv; ``members`` are by path, ``info`` is their .dist-info.

    Raises ``BadWheel`` for a RECORD that one of them cannot read, and for a hash that is there and wrong, which neither looks at.
    """
    own = f"{info}/RECORD"
    found = _Found()
    listed: dict[str, list[_Row]] = defaultdict(list)
    for row in _rows(archive, members.get(own)):
        path = normal(row.path)
        if row.path != path and not row.path.endswith("/"):
            found.add("RECORD spells the path of {} otherwise", path)
        listed[path].append(row)
    for path, member in members.items():
        _check_file(archive, member, path, listed.pop(path, []), own, found)
    for path, rows in listed.items():
        if not any(row.path.endswith("/") for row in rows):
            found.add("RECORD lists {}, which is not there", path)
    return found.sentences()


def _rows(archive: zipfile.ZipFile, member: zipfile.ZipInfo | None) -> Iterator[_Row]:
    """Yield the rows; an empty one stops pip, one of fewer fields stops uv, and so does a size that is no number."""
    if member is None:
        raise BadWheel("Unable to retrieve `RECORD`: there is none")
    try:
        text = archive.read(member).decode("utf-8")
        for number, fields in enumerate(csv.reader(io.StringIO(text, newline="")), 1):
            if len(fields) < 3:
                raise BadWheel(f"Unable to retrieve `RECORD`: line {number} has {len(fields)} fields instead of 3")
            if fields[2] and not fields[2].isdecimal():
                raise BadWheel(f"Unable to retrieve `RECORD`: line {number} has a size of {fields[2]!r}")
            yield _Row(*fields[:3])
    except (ValueError, csv.Error) as error:
        raise BadWheel(f"Unable to retrieve `RECORD`: {error}") from error


def _check_file(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: str, rows: list[_Row], own: str, found: _Found
) -> None:
    if path == own:
        if any(row.hash or row.size for row in rows):
            found.add("{} has a hash or a size of its own", path)
        elif not rows:
            found.add("{} is not mentioned in RECORD", path)
        return
    is_signature = path in [f"{own.removesuffix('RECORD')}{name}" for name in SIGNATURES]
    if is_signature and rows:
        found.add("{} is mentioned in RECORD", path)
    if not rows and not is_signature and not _is_bytecode(path):
        found.add("{} is not mentioned in RECORD", path)
    if len(rows) > 1:
        found.add("RECORD lists {} more than once", path)
    for row in rows:
        if not row.hash:
            found.add("{} has no hash in RECORD", path)
        elif not _is_right(archive, member, row.hash, path, found):
            raise BadWheel(f"hash / size of {path} didn't match RECORD")
        if row.size and int(row.size) != member.file_size:
            found.add("{} has another size than RECORD says", path)


def _is_bytecode(path: str) -> bool:
    """Return True if a file is bytecode beside its source, which is not unpacked."""
    return "__pycache__" in path.split("/")[:-1]


def _is_right(archive: zipfile.ZipFile, member: zipfile.ZipInfo, text: str, path: str, found: _Found) -> bool:
    """Return True if a hash is a file's, however it is written; one that nobody can compute is not wrong."""
    name, equals, value = text.partition("=")
    algorithm = name.lower()
    if not equals or algorithm not in hashlib.algorithms_available or algorithm.startswith("shake"):
        found.add("the hash of {} in RECORD cannot be checked", path)
        return True
    digest = _digest(archive, member, algorithm)
    plain = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    if text != f"{algorithm}={plain}":
        spelled = value.rstrip("=").replace("+", "-").replace("/", "_")
        if plain != spelled and digest.hex() != value.lower():
            return False
        found.add("the hash of {} in RECORD is written otherwise than specified", path)
    if algorithm in WEAK:
        found.add("{} has a weak hash in RECORD", path)
    return True


def _digest(archive: zipfile.ZipFile, member: zipfile.ZipInfo, algorithm: str) -> bytes:
    made = hashlib.new(algorithm, usedforsecurity=False)
    with archive.open(member) as stream:
        while data := stream.read(CHUNK):
            made.update(data)
    return made.digest()
