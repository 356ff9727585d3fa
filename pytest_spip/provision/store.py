"""The wheel store: every wheel unpacked once, in a directory named by the wheel's sha256, never changed afterwards."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from installer import install
from installer.destinations import SchemeDictionaryDestination
from installer.exceptions import InstallerError
from installer.records import RecordEntry
from installer.sources import WheelFile
from installer.utils import Scheme, construct_record_file, parse_metadata_file
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from pytest_spip.disk import Cache, remove_tree
from pytest_spip.errors import BadWheel, HashMismatch
from pytest_spip.model import PYTHON_PLACEHOLDER, StoredWheel
from pytest_spip.provision.modules import public_modules

__all__ = ["WheelStore", "unpack"]

SCHEMES = ("purelib", "platlib", "scripts", "data", "headers")
UNPACKED_LIMIT = 8 << 30
"""Bytes a wheel may unpack to; the largest wheels people install unpack to about half of it."""
MARK = "wheel.json"


class WheelStore:
    """Wheels by content. A directory appears whole or not at all; its ``wheel.json`` describes it."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._known: dict[str, StoredWheel] = {}

    def root(self, sha256: str) -> Path:
        """Return where a wheel is, or will be."""
        return self._cache.wheels / sha256[:2] / sha256

    def get(self, sha256: str) -> StoredWheel | None:
        """Return a filed wheel, or None."""
        if sha256 not in self._known:
            try:
                plain = json.loads((self.root(sha256) / MARK).read_text("utf-8"))
            except OSError:
                return None
            self._known[sha256] = StoredWheel(
                sha256, plain["name"], plain["version"], str(self.root(sha256)), tuple(plain["modules"])
            )
        return self._known[sha256]

    def file(self, sha256: str, filename: str, fetch: Callable[[Path], None]) -> bool:
        """See that a wheel is in the store; ``fetch(path)`` brings the file if it is not. Tell whether it was filed now.

        Raises ``BadWheel``, and whatever ``fetch`` raises.
        """

        def make(target: Path) -> None:
            wheel = target.parent / filename
            fetch(wheel)
            if _sha256(wheel) != sha256:
                raise HashMismatch(f"{filename}: not the file that was promised")
            try:
                unpack(wheel, target)
            except BadWheel:
                remove_tree(target)
                raise

        return self._cache.file(self.root(sha256), make)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def unpack(wheel: Path, target: Path) -> None:
    """Unpack a wheel into one directory per installation scheme; raises ``BadWheel`` for one that must not be installed."""
    for scheme in SCHEMES:
        (target / scheme).mkdir(parents=True)
    try:
        with WheelFile.open(wheel) as source:
            name, version = _identity(wheel.name, source)
            _check_members(wheel)
            destination = _StoreDestination(
                {scheme: str(target / scheme) for scheme in SCHEMES}, PYTHON_PLACEHOLDER, "posix"
            )
            install(source, destination, additional_metadata={"INSTALLER": b"pytest-spip\n"})
    except (
        InstallerError,
        zipfile.BadZipFile,
        ValueError,
        KeyError,
        FileExistsError,
        UnicodeDecodeError,
        EOFError,
    ) as error:
        raise BadWheel(f"{wheel.name}: {error}") from error
    modules = public_modules(_relative_files(target, ("purelib", "platlib")))
    (target / MARK).write_text(
        json.dumps({"name": name, "version": version, "filename": wheel.name, "modules": modules})
    )


def _identity(filename: str, source: WheelFile) -> tuple[str, str]:
    """Return name and version, on which file name and METADATA must agree."""
    metadata = parse_metadata_file(source.read_dist_info("METADATA"))
    name, version, _, _ = parse_wheel_filename(filename)
    told = str(metadata["Name"] or ""), str(metadata["Version"] or "")
    try:
        agree = canonicalize_name(told[0]) == name and Version(told[1]) == version
    except InvalidVersion:
        agree = False
    if not agree:
        raise BadWheel(f"{filename}: its metadata name {told[0]} {told[1]}")
    return name, str(version)


def _check_members(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [info.filename for info in archive.infolist()]
        size = sum(info.file_size for info in archive.infolist())
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadWheel(f"{wheel.name}: holds {twice} twice")
    if size > UNPACKED_LIMIT:
        raise BadWheel(f"{wheel.name}: unpacks to {size >> 20} MiB, the limit is {UNPACKED_LIMIT >> 20} MiB")


def _relative_files(root: Path, schemes: Iterable[str]) -> list[str]:
    return [
        str(path.relative_to(root / scheme))
        for scheme in schemes
        for path in (root / scheme).rglob("*")
        if path.is_file()
    ]


class _StoreDestination(SchemeDictionaryDestination):
    """Writes RECORD as it must read in an environment: three levels down in ``lib/pythonX.Y/site-packages``."""

    def finalize_installation(
        self, scheme: Scheme, record_file_path: str, records: Iterable[tuple[Scheme, RecordEntry]]
    ) -> None:
        places = {"scripts": "../../../bin/", "data": "../../../", "headers": "../../../include/site/"}
        with construct_record_file(
            list(records), lambda other: None if other in ("purelib", "platlib") else places[other]
        ) as record:
            self.write_to_fs(scheme, record_file_path, record, is_executable=False)
