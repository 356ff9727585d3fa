"""What the tests of planning and provisioning share: records, and a small world with an index, a cache and uv's own cache."""

from __future__ import annotations

import datetime
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import HealthCheck, settings

from pytest_spip.common.cache import Cache
from pytest_spip.common.http import Web
from pytest_spip.model import DistFile, Indexes, Interpreter, Limits, Release, Sandbox
from pytest_spip.plan.index import list_project
from pytest_spip.plan.interpreters import probe
from pytest_spip.plan.versions import as_of
from pytest_spip.provision.builds import Builder, BuildRules
from pytest_spip.provision.confined import Confine
from pytest_spip.provision.hooks import LIMITS
from pytest_spip.provision.locks import LockResolver
from pytest_spip.provision.resolver import Releases
from pytest_spip.provision.uv import Uv
from pytest_spip.provision.uv_program import find_uv
from pytest_spip.run.confine import BuildSandboxes
from tests.support.index import LocalIndex
from tests.support.interpreters import pythons

__all__ = ["NOBODY", "Supply", "file", "markers", "python", "release", "steady"]

NOBODY = 65534
steady = settings(deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
"""For properties: the same examples each time, however busy the machine is."""
NONE: Mapping[str, str] = MappingProxyType({})
LINUX = ("manylinux_2_17_x86_64", "manylinux2014_x86_64", "linux_x86_64")


def markers(version: str) -> tuple[tuple[str, str], ...]:
    """Return the markers of a CPython on Linux."""
    short = ".".join(version.split(".")[:2])
    told = {"python_version": short, "python_full_version": version, "sys_platform": "linux", "os_name": "posix"}
    told |= {"implementation_name": "cpython", "platform_python_implementation": "CPython"}
    return tuple(sorted(told.items()))


def python(version: str = "3.12.1", implementation: str = "cpython", flags: str = "", **more: object) -> Interpreter:
    """Return a record of an interpreter that need not exist."""
    number = "".join(version.split(".")[:2])
    short = {"cpython": "py", "pypy": "pypy"}[implementation]
    abi = f"cp{number}{flags}" if implementation == "cpython" else f"pypy{number}_pp73"
    values: dict[str, object] = {
        "id": f"{implementation}-{version}{flags}-linux-x86_64",
        "label": f"{short}{number}{flags}",
        "version": version,
        "implementation": implementation,
        "path": f"/opt/{implementation}-{version}{flags}/bin/python",
        "abis": (abi,),
        "platforms": LINUX,
        "markers": markers(version),
        **more,
    }
    return Interpreter(**values)  # type: ignore[arg-type]  # each has its field's type


def file(filename: str, **more: object) -> DistFile:
    """Return a file as an index lists it."""
    kind = "wheel" if filename.endswith(".whl") else "sdist"
    return DistFile(filename, f"https://files.example/{filename}", kind, "1.0", **more)  # type: ignore[arg-type]  # passed on


def release(version: str, *files: DistFile, package: str = "demo", **more: object) -> Release:
    """Return a release; without files named, it has one universal wheel, described by ``more``."""
    return Release(
        package, version, files or (file(f"{package}-{version}-py3-none-any.whl", **more),), "https://index.example"
    )


@functools.cache
def _met() -> Path:
    """Have uv meet two interpreters, once for all caches: it asks each for longer than it resolves or builds."""
    known = Path.home() / "met"
    for path in dict.fromkeys((sys.executable, *map(str, list(pythons().values())[-2:]))):
        command = [
            find_uv(),
            "pip",
            "compile",
            "-",
            "--quiet",
            "--offline",
            "--cache-dir",
            str(known),
            "--python",
            path,
        ]
        subprocess.run(command, input="", text=True, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return known


@functools.cache
def _probed(path: Path) -> Interpreter:
    found = probe(path, Cache(Path.home() / "probed"))
    assert found is not None, "it runs"
    return found


class Supply:
    """An index, a cache, and uv with nobody's configuration, below one directory."""

    def __init__(self, root: Path, index: LocalIndex) -> None:
        self.root = root
        self.index = index
        self.files = root / "files"
        self.cache = Cache(root / "cache")
        self.environ = {
            "HOME": str(root / "home"),
            "PATH": os.environ["PATH"],
            "UV_CACHE_DIR": str(root / "uv"),
            "UV_HTTP_RETRIES": "0",
        }
        self._sandboxes: list[BuildSandboxes] = []
        (root / "home").mkdir(parents=True, exist_ok=True)
        shutil.copytree(_met(), root / "uv", dirs_exist_ok=True)

    def indexes(self, *urls: str, find_links: Sequence[str | Path] = (), offline: bool = False) -> Indexes:
        """Return index settings; without URLs named, those of the one index."""
        return Indexes(urls or (self.index.url,), tuple(map(str, find_links)), offline)

    def here(self) -> Interpreter:
        """Return the running interpreter."""
        return _probed(Path(sys.executable))

    def interpreter(self, version: str) -> Interpreter:
        """Return an interpreter by its version, as :func:`pythons` has it."""
        return _probed(pythons()[version])

    def another(self) -> Interpreter:
        """Return the newest interpreter that is not the running one."""
        for path in reversed(pythons().values()):
            if path != Path(sys.executable):
                return _probed(path)
        pytest.skip("only one interpreter is installed")

    def web(self, **more: object) -> Web:
        """Return a client that does not ask twice unless it is told to."""
        return Web([self.index.url], **{"retries": 0, **more})  # type: ignore[arg-type]  # passed on

    def uv(self, indexes: Indexes | None = None, date: str = "", environ: Mapping[str, str] = NONE) -> Uv:
        """Return uv with some index settings."""
        return Uv(indexes or self.indexes(), date, environ={**self.environ, **environ})

    def confine(self, level: int = 1, *, cold: bool = False) -> BuildSandboxes:
        """Return sandboxes for builds; on level 1 these can count themselves in a file of the test's."""
        self._sandboxes.append(BuildSandboxes(Sandbox(level), self.root / "view", self.cache, cold=cold))
        return self._sandboxes[-1]

    def close(self) -> None:
        """End what is kept for more builds."""
        for sandboxes in self._sandboxes:
            sandboxes.close_idle()

    def releases(self, indexes: Indexes | None = None, date: str = "") -> Releases:
        """Return what lists the releases that may be chosen."""

        def listed(project: str) -> tuple[Release, ...]:
            web = self.web(offline=bool(indexes and indexes.offline))
            known = list_project(project, indexes or self.indexes(), web, Cache(self.root / "listings")).releases
            return as_of(known, datetime.datetime.fromisoformat(date)) if date else known

        return listed

    def builder(
        self,
        indexes: Indexes | None = None,
        date: str = "",
        uv: Uv | None = None,
        confine: Confine | None = None,
        limits: Limits = LIMITS,
        environ: Mapping[str, str] = NONE,
    ) -> Builder:
        """Return a builder."""
        return Builder(
            self.cache,
            self.web(),
            uv or self.uv(indexes, date),
            confine or self.confine(),
            self.releases(indexes, date),
            BuildRules(date, 2, limits=limits),
            environ={**self.environ, **environ},
        )

    def lock_resolver(
        self, indexes: Indexes | None = None, date: str = "", environ: Mapping[str, str] = NONE, level: int = 1
    ) -> LockResolver:
        """Return a locker."""
        indexes = indexes or self.indexes()
        uv = self.uv(indexes, date, environ)
        resolver = self.builder(indexes, date, uv, self.confine(level)).resolver
        return LockResolver(self.cache, uv, resolver, indexes, date, level)
