"""The wheel store: every wheel unpacked once, in a directory named by the wheel's sha256, never changed afterwards."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import stat
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import installer
from installer import install
from installer.destinations import SchemeDictionaryDestination
from installer.records import RecordEntry
from installer.sources import WheelContentElement, WheelFile
from installer.utils import Scheme, construct_record_file, parse_metadata_file
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from pytest_spip.disk import Cache, remove_tree, replace_text
from pytest_spip.errors import BadWheel, HashMismatch
from pytest_spip.model import PYTHON_PLACEHOLDER, StoredWheel, digest
from pytest_spip.provision.modules import public_modules

__all__ = ["WheelStore", "check_wheel", "unpack"]

SCHEMES = ("purelib", "platlib", "scripts", "data", "headers")
UNPACKED_LIMIT = 8 << 30
"""Bytes a wheel may unpack to; the largest wheels people install unpack to about half of it."""
_SITE = "lib/any/site-packages"
_SHARED = (_SITE, "bin", "include")
"""Directories of every environment."""
METADATA_LIMIT = 256 << 20
"""Bytes of a wheel's ``.dist-info``, which is read into memory."""
MARK = "wheel.json"
FORM = 2
"""Raise it when a stored wheel's directory holds something else, or another wheel is refused: others are left alone."""
_MACHINE_FAULTS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES, errno.EPERM, errno.EROFS, errno.EMFILE, errno.ENFILE}
)


class WheelStore:
    """Wheels by content. A directory appears whole or not at all; its ``wheel.json`` describes it."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._known: dict[str, StoredWheel] = {}

    def root(self, sha256: str) -> Path:
        """Return where a wheel is, or will be."""
        return self._cache.wheels / sha256[:2] / f"{sha256}-{FORM}"

    def get(self, sha256: str) -> StoredWheel | None:
        """Return a filed wheel, or None."""
        if sha256 not in self._known:
            try:
                plain = json.loads((self.root(sha256) / MARK).read_text("utf-8"))
            except OSError:
                return None
            self._known[sha256] = StoredWheel(
                sha256,
                plain["name"],
                plain["version"],
                str(self.root(sha256)),
                tuple(plain["modules"]),
                tuple(plain["warnings"]),
            )
        return self._known[sha256]

    def file(self, sha256: str, filename: str, fetch: Callable[[Path], None]) -> bool:
        """See that a wheel is in the store; ``fetch(path)`` brings the file if it is not. Tell whether it was filed now.

        Raises ``BadWheel``, also a remembered one, and whatever ``fetch`` raises.
        """

        def make(target: Path) -> None:
            refused = self._cache.wheels / "refused" / digest(filename, sha256, installer.__version__, FORM)[:40]
            if refused.exists():
                raise BadWheel(refused.read_text("utf-8"))
            wheel = target.parent / filename
            fetch(wheel)
            if _sha256(wheel) != sha256:
                raise HashMismatch(f"{filename}: not the file that was promised")
            try:
                unpack(wheel, target)
            except BadWheel as error:
                replace_text(refused, str(error))
                raise

        fresh = self._cache.file(self.root(sha256), make)
        self._check_name(sha256, filename)
        return fresh

    def _check_name(self, sha256: str, filename: str) -> None:
        """Raise ``BadWheel`` for a filed wheel under another name or version than it was filed by, which must be its own."""
        known = json.loads((self.root(sha256) / MARK).read_text("utf-8"))
        if known["filename"] == filename:
            return
        name, version, *_ = parse_wheel_filename(filename)
        if (name, version) != (known["name"], Version(known["version"])):
            raise BadWheel(f"{filename}: its metadata name {known['name']} {known['version']}")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def unpack(wheel: Path, target: Path) -> None:
    """Unpack a wheel into one directory per installation scheme.

    Raises ``BadWheel`` for one that must not be installed, and nothing of it is left. Whatever goes wrong is the wheel's
    fault, but for what the disk or the machine lacks.
    """
    try:
        with _blamed_on(wheel, target):
            name, version = _unpack(wheel, target)
    except BaseException:
        remove_tree(target)
        raise
    modules = public_modules(_relative_files(target, ("purelib", "platlib")))
    told = {"name": name, "version": version, "filename": wheel.name, "modules": modules, "warnings": []}
    (target / MARK).write_text(json.dumps(told), "utf-8")


def check_wheel(wheel: Path) -> None:
    """Raise ``BadWheel`` for one that would not be unpacked; nothing is written."""
    with _blamed_on(wheel, wheel.parent), _Wheel.open(wheel) as source:
        _check(wheel, source)


@contextlib.contextmanager
def _blamed_on(wheel: Path, directory: Path) -> Iterator[None]:
    """Make of whatever is the wheel's fault one error, whose words name no place of ours."""
    try:
        yield
    except Exception as error:
        if isinstance(error, BadWheel) or not _is_the_wheels(error):
            raise
        words = _words(error).replace(str(wheel), wheel.name).replace(f"{directory}/", "")
        raise BadWheel(f"{wheel.name}: {words}") from error


def _is_the_wheels(error: Exception) -> bool:
    return not isinstance(error, MemoryError) and getattr(error, "errno", None) not in _MACHINE_FAULTS


def _words(error: BaseException) -> str:
    return "; ".join(getattr(error, "issues", ())) or str(error) or type(error).__name__


def _unpack(wheel: Path, target: Path) -> tuple[str, str]:
    for scheme in SCHEMES:
        (target / scheme).mkdir(parents=True)
    with _Wheel.open(wheel) as source:
        name, version = _check(wheel, source)
        folders = {scheme: str(target / scheme) for scheme in SCHEMES}
        destination = _StoreDestination(folders, PYTHON_PLACEHOLDER, "posix")
        install(source, destination, additional_metadata={"INSTALLER": b"pytest-spip\n"})
    return name, version


def _check(wheel: Path, source: WheelFile) -> tuple[str, str]:
    """Return name and version of a wheel in which nothing is wrong."""
    _check_members(wheel)
    told = _identity(wheel.name, source)
    source.validate_record()
    return told


class _Wheel(WheelFile):
    """Leaves bytecode out: installers do not take it from wheels."""

    def get_contents(self) -> Iterator[WheelContentElement]:
        for record, stream, is_executable in super().get_contents():
            if "__pycache__" not in record[0].split("/")[:-1]:
                yield record, stream, is_executable


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
    """Refuse what unpacking would not notice, or notice too late. A zip archive's stated sizes are binding when it is read."""
    with zipfile.ZipFile(wheel) as archive:
        members = archive.infolist()
    (name, times), *_ = Counter(member.filename for member in members).most_common(1) or [("", 0)]
    if times > 1:
        raise BadWheel(f"{wheel.name}: holds {name} twice")
    if outside := [member.filename for member in members if _leads_outside(member.filename)]:
        raise BadWheel(f"{wheel.name}: {outside[0]} lies outside of it")
    if links := [member.filename for member in members if stat.S_ISLNK(member.external_attr >> 16)]:
        raise BadWheel(f"{wheel.name}: {links[0]} is a symbolic link")
    if clash := _clash([member.filename for member in members if not member.is_dir()]):
        raise BadWheel(f"{wheel.name}: {clash} is where a directory must be")
    texts = sum(member.file_size for member in members if ".dist-info/" in member.filename)
    size = sum(member.file_size for member in members)
    for what, bytes_, limit in (("metadata are", texts, METADATA_LIMIT), ("files unpack to", size, UNPACKED_LIMIT)):
        if bytes_ > limit:
            raise BadWheel(f"{wheel.name}: its {what} {bytes_ >> 20} MiB, the limit is {limit >> 20} MiB")


def _leads_outside(path: str) -> bool:
    return path.startswith("/") or ".." in path.split("/")


def _clash(members: Sequence[str]) -> str:
    """Return a file that an environment would hold where it holds a directory; nothing if there is none."""
    places = {_place(member): member for member in members}
    folders = {folder for place in (*places, *(f"{other}/any" for other in _SHARED)) for folder in _above(place)}
    return next((member for place, member in places.items() if place in folders), "")


def _place(member: str) -> str:
    """Return where an environment holds a member of a wheel, as far as that can be said for all interpreters."""
    top, _, rest = member.partition("/")
    scheme, _, path = rest.partition("/")
    if not top.endswith(".data") or not path:
        return f"{_SITE}/{member}"
    return {"data": "", "scripts": "bin/", "headers": "include/site/any/"}.get(scheme, f"{_SITE}/") + path


def _above(place: str) -> Iterator[str]:
    while place := place.rpartition("/")[0]:
        yield place


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
