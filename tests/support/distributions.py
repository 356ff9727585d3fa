"""Real wheels and source distributions, written to disk without any build tool."""

from __future__ import annotations

import functools
import importlib.metadata
import io
import json
import re
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from tests.support import backend

__all__ = [
    "PYTEST_WHEELS",
    "Content",
    "builds",
    "installed",
    "project",
    "scripted",
    "sdist",
    "simple_sdist",
    "suite_metadata",
    "wheel",
]

Content = str | bytes

NONE: Mapping[str, Content] = MappingProxyType({})
PYTEST_WHEELS = ("pytest", "pluggy", "iniconfig", "packaging", "pygments")
"""The projects that an index has to list so that suites can be run."""

PYPROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


def wheel(
    directory: Path,
    name: str,
    version: str,
    files: Mapping[str, Content],
    *,
    tag: str = "py3-none-any",
    requires: Sequence[str] = (),
    requires_python: str = "",
    entry_points: str = "",
    metadata_name: str | None = None,
    metadata_version: str | None = None,
    scripts: Mapping[str, Content] = NONE,
    data: Mapping[str, Content] = NONE,
    extra_dist_info: Mapping[str, Content] = NONE,
) -> Path:
    """Write a wheel and return its path.

    ``metadata_name`` and ``metadata_version`` make METADATA disagree with the filename. ``scripts`` and ``data`` go to
    ``.data/scripts`` and ``.data`` (keys of ``data`` start with a scheme: ``purelib/x.py``). ``extra_dist_info`` may
    also replace METADATA, WHEEL and RECORD, for broken wheels.
    """
    stem = filename_stem(name, version)
    info = {
        "METADATA": metadata_text(metadata_name or name, metadata_version or version, requires, requires_python),
        "WHEEL": backend.wheel_text(tag),
        **({"entry_points.txt": entry_points} if entry_points else {}),
        **extra_dist_info,
    }
    members = {
        **files,
        **below(f"{stem}.data/scripts", scripts),
        **below(f"{stem}.data", data),
        **below(f"{stem}.dist-info", info),
    }
    path = directory / f"{stem}-{tag}.whl"
    backend.write_wheel(path, f"{stem}.dist-info", {key: as_bytes(value) for key, value in members.items()})
    return path


def sdist(
    directory: Path,
    name: str,
    version: str,
    files: Mapping[str, Content],
    *,
    setup_py: str | None = None,
    pyproject: str | None = None,
    requires_python: str = "",
) -> Path:
    """Write a ``.tar.gz`` sdist with PKG-INFO and return its path."""
    stem = filename_stem(name, version)
    members = {
        "PKG-INFO": metadata_text(name, version, (), requires_python),
        **({} if setup_py is None else {"setup.py": setup_py}),
        **({} if pyproject is None else {"pyproject.toml": pyproject}),
        **files,
    }
    path = directory / f"{stem}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for key, value in below(stem, members).items():
            entry = tarfile.TarInfo(key)
            entry.size = len(as_bytes(value))
            archive.addfile(entry, io.BytesIO(as_bytes(value)))
    return path


def simple_sdist(
    directory: Path,
    name: str,
    version: str,
    files: Mapping[str, Content],
    *,
    requires: Sequence[str] = (),
    requires_python: str = "",
    universal: bool = True,
    fails: str = "",
    counter: Path | None = None,
    built_name: str | None = None,
    built_version: str | None = None,
) -> Path:
    """Write an sdist that carries its own build backend, so that it builds without network or setuptools.

    The wheel is ``py3-none-any``, or for the building interpreter alone when not ``universal``. ``fails`` is the
    message that the build fails with. ``counter`` is a file that :func:`builds` reads. ``built_name`` and
    ``built_version`` make the wheel another project's or another version's.
    """
    built_name, built_version = built_name or name, built_version or version
    options = {
        "stem": filename_stem(built_name, built_version),
        "tag": "py3-none-any" if universal else "",
        "metadata": metadata_text(built_name, built_version, requires, requires_python),
        "files": list(files),
        "fails": fails,
        "counter": "" if counter is None else str(counter.absolute()),
    }
    carried: dict[str, Content] = {
        "backend.py": Path(backend.__file__).read_bytes(),
        "backend.json": json.dumps(options),
    }
    return sdist(directory, name, version, {**files, **carried}, pyproject=PYPROJECT, requires_python=requires_python)


def scripted(
    directory: Path,
    body: str,
    more: str = "",
    *,
    name: str = "demo",
    version: str = "1.0",
    requires: Sequence[str] = (),
    files: Mapping[str, Content] = NONE,
) -> Path:
    """Write an sdist whose build runs a script in ``build_wheel(directory)``; ``more`` stands beside that function."""
    code = f"import os, sys\n\n{more}\ndef build_wheel(directory, settings=None, metadata=None):\n    pass\n"
    code += "".join(f"    {line}\n" for line in body.splitlines())
    pyproject = PYPROJECT.replace("[]", json.dumps(list(requires)))
    return sdist(directory, name, version, {**files, "backend.py": code}, pyproject=pyproject)


def project(
    directory: Path,
    name: str,
    version: str,
    files: Mapping[str, Content],
    *,
    installs: Sequence[str],
    metadata: str = "",
    groups: str = "",
    **options: object,
) -> Path:
    """Write a project that carries its own build backend, and return its directory.

    ``installs`` are the files that its wheel holds, ``groups`` is the text of a table of dependency groups; ``options`` are
    those of ``backend.json``.
    """
    told = {
        "stem": filename_stem(name, version),
        "tag": "py3-none-any",
        "metadata": metadata or metadata_text(name, version, (), ""),
        "files": list(installs),
        "fails": "",
        "counter": "",
        "packs": ["backend.py", "backend.json", "pyproject.toml", *files],
        **options,
    }
    table = f"\n[dependency-groups]\n{groups}\n" if groups else ""
    carried: dict[str, Content] = {
        "backend.py": Path(backend.__file__).read_bytes(),
        "backend.json": json.dumps(told),
        "pyproject.toml": PYPROJECT + table,
    }
    for path, content in {**carried, **files}.items():
        place = directory / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(as_bytes(content))
    return directory


def suite_metadata(
    name: str, version: str, *requires: str, extras: Sequence[str] = (), requires_python: str = ""
) -> str:
    """Return core metadata of a project that has extras."""
    provided = "".join(f"Provides-Extra: {extra}\n" for extra in extras)
    return metadata_text(name, version, requires, requires_python) + provided


def installed(directory: Path, name: str) -> Path:
    """Write a project of the running environment as a wheel, without its bytecode and scripts, and return its path."""
    filename, content = _installed(name)
    (directory / filename).write_bytes(content)
    return directory / filename


@functools.cache  # to pack pytest takes longer than most tests that serve it
def _installed(name: str) -> tuple[str, bytes]:
    """Return a wheel's filename and content."""
    found = importlib.metadata.distribution(name)
    paths = [path for path in found.files or () if path.parts[0] != ".." and path.suffix != ".pyc"]
    files = {str(path): path.read_binary() for path in paths if ".dist-info" not in path.parts[0]}
    info = {"METADATA": found.read_text("METADATA") or ""}
    entry_points = found.read_text("entry_points.txt") or ""
    with tempfile.TemporaryDirectory() as directory:
        made = wheel(Path(directory), name, found.version, files, entry_points=entry_points, extra_dist_info=info)
        return made.name, made.read_bytes()


def builds(counter: Path) -> list[str]:
    """Return the Python version (``3.12``) of each build that a :func:`simple_sdist` counted, in order."""
    return counter.read_text(encoding="utf-8").split() if counter.exists() else []


def filename_stem(name: str, version: str) -> str:
    """Return name and version as filenames of distributions spell them (binary distribution format, escaping)."""
    return f"{re.sub(r'[-_.]+', '_', name).lower()}-{version.replace('-', '_')}"


def metadata_text(name: str, version: str, requires: Sequence[str], requires_python: str) -> str:
    """Return core metadata 2.1: installers may not take an sdist's as final before 2.2, so they do build it."""
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Python: {requires_python}"] if requires_python else []
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    return "\n".join([*lines, ""])


def below(directory: str, members: Mapping[str, Content]) -> dict[str, Content]:
    """Return the members with the directory in front of their paths."""
    return {f"{directory}/{path}": content for path, content in members.items()}


def as_bytes(content: Content) -> bytes:
    """Return text as UTF-8, and bytes as they are."""
    return content.encode() if isinstance(content, str) else content
