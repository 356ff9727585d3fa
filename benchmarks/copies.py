"""A local index with many releases: copies of real wheels under further versions, or generated packages."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.matrix import Matrix
from benchmarks.wheels import Unpacked
from tests.support.distributions import Content, wheel
from tests.support.index import LocalIndex

__all__ = ["copied", "generated"]


@contextlib.contextmanager
def copied(asked: Matrix, unpacked: Sequence[Unpacked], copies: int, directory: Path) -> Iterator[Matrix]:
    """Yield the matrix over ``copies`` of each release, served by an index of its own: equal files, other versions."""
    package = unpacked[0].combination.package
    releases = {each.combination.version: each.site for each in unpacked}
    files = {
        f"{version}.post{number}": _files(site) for version, site in releases.items() for number in range(1, copies + 1)
    }
    with generated(asked, package, files, directory) as matrix:
        yield matrix


@contextlib.contextmanager
def generated(
    asked: Matrix, package: str, releases: Mapping[str, Mapping[str, Content]], directory: Path
) -> Iterator[Matrix]:
    """Yield the matrix over releases made of files, by version, with an index and a cache below the directory."""
    served = directory / "served"
    shutil.rmtree(served, ignore_errors=True)  # what an earlier measurement in a directory that is kept left there
    served.mkdir(parents=True)
    for version, files in releases.items():
        wheel(served, package, version, files)
    with LocalIndex(served, still=True) as index:
        local = dataclasses.replace(asked, packages=(package,), versions="", exclude_newer="", index_url=index.url)
        yield local.changed(
            f"--spip-cache={directory / 'cache'}", UV_CACHE_DIR=str(directory / "uv"), NO_PROXY="127.0.0.1"
        )


def _files(site: Path) -> dict[str, bytes]:
    """Return what the unpacked wheel holds, without its metadata and what was compiled since."""
    found = {path.relative_to(site): path for path in site.rglob("*") if path.is_file()}
    kept = {name: path for name, path in found.items() if not name.parts[0].endswith(".dist-info")}
    return {
        str(name): path.read_bytes()
        for name, path in kept.items()
        if "__pycache__" not in name.parts and name.parts[0] != ".lock"
    }
