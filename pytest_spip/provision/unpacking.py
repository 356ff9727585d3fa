"""Unpacks a wheel into one directory for each installation scheme, and describes it."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import mmap
import os
import stat
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

import installer
from installer import install
from installer.destinations import SchemeDictionaryDestination
from installer.records import RecordEntry
from installer.sources import WheelContentElement, WheelFile
from installer.utils import Scheme, construct_record_file, parse_metadata_file
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from pytest_spip.common.trees import remove_tree
from pytest_spip.errors import BadWheel
from pytest_spip.model import PYTHON_PLACEHOLDER
from pytest_spip.provision.archive import SCHEMES, check_ends, members_of, place
from pytest_spip.provision.modules import modules_to_import
from pytest_spip.provision.record import check_record
from pytest_spip.provision.scripts import check_script, script_entries, wheel_file_warnings
from pytest_spip.provision.store import MARK

__all__ = ["UNPACKER", "check_wheel", "unpack"]

UNPACKER = installer.__version__
"""What decides with us which wheels are refused."""
UNPACKED_LIMIT = 8 << 30
"""Bytes a wheel may unpack to; the largest wheels people install unpack to about half of it."""
METADATA_LIMIT = 256 << 20
"""Bytes of a wheel's ``.dist-info``, which is read into memory."""
INIT = b"PyInit"
"""How the name of the function begins that makes a module (PEP 489; ``PyInitU_`` for names beyond ASCII)."""
_MACHINE_FAULTS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES, errno.EPERM, errno.EROFS, errno.EMFILE, errno.ENFILE}
)


def unpack(wheel: Path, target: Path) -> None:
    """Unpack a wheel into one directory per installation scheme.

    Raises ``BadWheel`` for one that must not be installed, and nothing of it is left. Whatever goes wrong is the wheel's
    fault, but for what the disk or the machine lacks.
    """
    try:
        with _blamed_on(wheel, target):
            facts = _unpack(wheel, target)
    except BaseException:
        remove_tree(target)
        raise
    site = _relative_files(target, ("purelib", "platlib"))
    name = str(facts["name"])
    modules = {"modules": modules_to_import(site, name), "libraries": dict(_libraries(target, site, name))}
    (target / MARK).write_text(json.dumps({**facts, "filename": wheel.name, **modules}), "utf-8")


def _libraries(target: Path, site: list[str], project: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield, for each Python whose library a wheel's data go to, the directory's name and the modules that are seen there."""
    for path in sorted((target / "data" / "lib").glob("*/site-packages")):
        scheme = str(path.relative_to(target))
        yield path.parent.name, modules_to_import([*site, *_relative_files(target, (scheme,))], project)


def check_wheel(wheel: Path) -> None:
    """Raise ``BadWheel`` for one that would not be unpacked; nothing is written."""
    with _blamed_on(wheel, wheel.parent), zipfile.ZipFile(wheel) as archive:
        _Wheel(archive).check()


@contextlib.contextmanager
def _blamed_on(wheel: Path, directory: Path) -> Iterator[None]:
    """Make of whatever is the wheel's fault one error, whose words name the wheel and no place of ours."""
    try:
        yield
    except Exception as error:
        if not _is_the_wheels(error):
            raise
        words = _words(error).replace(str(wheel), wheel.name).replace(f"{directory}/", "")
        raise BadWheel(f"{wheel.name}: {words}") from error


def _is_the_wheels(error: Exception) -> bool:
    return not isinstance(error, MemoryError) and getattr(error, "errno", None) not in _MACHINE_FAULTS


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _unpack(wheel: Path, target: Path) -> dict[str, object]:
    """Unpack, and return name, version and warnings."""
    for scheme in SCHEMES:
        (target / scheme).mkdir(parents=True)
    with zipfile.ZipFile(wheel) as archive:
        source = _Wheel(archive)
        facts = source.check()
        folders = {scheme: str(target / scheme) for scheme in SCHEMES}
        destination = _StoreDestination(folders, PYTHON_PLACEHOLDER, "posix", overwrite_existing=True)
        destination.project = str(facts["name"])
        install(source, destination, additional_metadata={"INSTALLER": b"pytest-spip\n"})
    return facts


class _Wheel(WheelFile):
    """A wheel as pip and uv see it, which take more than the specification allows. Bytecode is left out."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        super().__init__(archive)
        self._archive = archive
        self._name = Path(archive.filename or "").name
        self._members: dict[str, zipfile.ZipInfo] = {}

    @functools.cached_property
    def dist_info_dir(self) -> str:
        """The one whose name begins with the project's, with whatever version."""
        tops = {member.split("/")[0] for member in self._archive.namelist()}
        found = [top for top in tops if top.endswith(".dist-info")]
        if len(found) != 1:
            raise BadWheel(f"Wheel doesn't contain exactly one .dist-info directory ({', '.join(sorted(found))})")
        if not canonicalize_name(found[0]).startswith(canonicalize_name(self.distribution)):
            raise BadWheel(f"Wheel .dist-info directory doesn't match wheel filename ({found[0]})")
        return found[0]

    @property
    def data_dir(self) -> str:
        """The one that is named as ``.dist-info`` is."""
        return f"{self.dist_info_dir.removesuffix('.dist-info')}.data"

    def check(self) -> dict[str, object]:
        """Return name, version and warnings of a wheel that can be installed; raises ``BadWheel`` for another."""
        check_ends(Path(self._archive.filename or ""), self._archive)
        self._check_size()
        self._members, odd = members_of(self._archive, self.dist_info_dir)
        name, version = _identity(self._name, self)
        self._check_scripts()
        listed = check_record(self._archive, self._members, self.dist_info_dir)
        texts = (*odd, *listed, *wheel_file_warnings(self.read_dist_info("WHEEL")), *self._overlaid())
        return {"name": name, "version": version, "warnings": [f"{self._name}: {text}" for text in texts]}

    def _check_size(self) -> None:
        members = self._archive.infolist()
        texts = sum(member.file_size for member in members if ".dist-info/" in member.filename)
        size = sum(member.file_size for member in members)
        for what, bytes_, limit in (("metadata are", texts, METADATA_LIMIT), ("files unpack to", size, UNPACKED_LIMIT)):
            if bytes_ > limit:
                raise BadWheel(f"its {what} {bytes_ >> 20} MiB, the limit is {limit >> 20} MiB")

    def _check_scripts(self) -> None:
        """Raise ``BadWheel`` for entry points that pip or uv makes no scripts of; they are parsed as the scripts will be."""
        for name, reference in self._scripts.items():
            check_script(name, reference)

    @functools.cached_property
    def _scripts(self) -> dict[str, str]:
        """The scripts that are made of entry points: references by name."""
        if "entry_points.txt" not in self.dist_info_filenames:
            return {}
        return script_entries(self.read_dist_info("entry_points.txt"))

    @functools.cached_property
    def _places(self) -> dict[str, str]:
        """By place the file that ends there: the last one, what lies in ``.data`` after all others."""
        data = f"{self.data_dir}/"
        ordered = sorted(self._members, key=lambda path: path.startswith(data))
        scripts = {f"bin/{name}" for name in self._scripts}
        places = {place(path, self.dist_info_dir): path for path in ordered}
        return {where: path for where, path in places.items() if where not in scripts}

    def _overlaid(self) -> Iterator[str]:
        """Yield what is not installed, because something else is at the same place."""
        for path in self._members:
            where = place(path, self.dist_info_dir)
            if where not in self._places:
                yield f"{path} is an entry point too, whose script counts"
            elif self._places[where] != path:
                yield f"{path} is hidden by {self._places[where]}"

    def get_contents(self) -> Iterator[WheelContentElement]:
        """Yield what is to be installed, by the path that it is unpacked to."""
        for path in self._places.values():
            if "__pycache__" not in path.split("/")[:-1]:
                mode = self._members[path].external_attr >> 16
                with self._archive.open(self._members[path]) as stream:
                    executable = stat.S_ISREG(mode) and bool(mode & 0o111)
                    yield (path, "", ""), cast("BinaryIO", stream), executable


def _identity(filename: str, source: WheelFile) -> tuple[str, str]:
    """Return name and version, on which file name and METADATA must agree."""
    metadata = parse_metadata_file(source.read_dist_info("METADATA"))
    name, version, _, _ = parse_wheel_filename(filename)
    stated = str(metadata["Name"] or ""), str(metadata["Version"] or "")
    try:
        agree = canonicalize_name(stated[0]) == name and Version(stated[1]) == version
    except InvalidVersion:
        agree = False
    if not agree:
        raise BadWheel(f"its metadata name {stated[0]} {stated[1]}")
    return name, str(version)


def _relative_files(root: Path, schemes: Iterable[str]) -> list[str]:
    return [
        f"{path.relative_to(root / scheme)}{'' if _may_be_module(path) else '.library'}"
        for scheme in schemes
        for path in (root / scheme).rglob("*")
        if path.is_file()
    ]


def _may_be_module(path: Path) -> bool:
    """Return True if a file is no mere library: a shared object without a tag in its name, and with nothing that makes a module."""
    if path.suffix != ".so" or "." in path.stem:
        return True
    if not path.stat().st_size:
        return False
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(INIT) >= 0


class _StoreDestination(SchemeDictionaryDestination):
    """Writes RECORD as it must read in an environment: three levels down in ``lib/pythonX.Y/site-packages``.

    Headers lie in a directory of the ``project``'s; that of the Python's above it is filled in by who lays an environment.
    """

    project = ""

    def write_file(
        self, scheme: Scheme, path: str | os.PathLike[str], stream: BinaryIO, is_executable: bool
    ) -> RecordEntry:
        """Write a file; ``lib64`` is a link to ``lib`` in every environment."""
        place = os.fspath(path)
        if scheme == "data" and place.startswith("lib64/"):
            place = place.replace("lib64", "lib", 1)
        return super().write_file(scheme, place, stream, is_executable)

    def finalize_installation(
        self, scheme: Scheme, record_file_path: str, records: Iterable[tuple[Scheme, RecordEntry]]
    ) -> None:
        places = {
            "scripts": "../../../bin/",
            "data": "../../../",
            "headers": f"../../../include/site/any/{self.project}/",
        }
        last = {(_root(other), entry.path): (other, entry) for other, entry in records}
        with construct_record_file(
            list(last.values()), lambda other: None if other in ("purelib", "platlib") else places[other]
        ) as record:
            self.write_to_fs(scheme, record_file_path, record, is_executable=False)


def _root(scheme: str) -> str:
    """Return what distinguishes the directories that schemes are installed to."""
    return "site" if scheme in ("purelib", "platlib") else scheme
