"""The intake of wheels: fetched or built, checked, and filed in the store."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from pytest_spip.common.http import Web
from pytest_spip.common.tags import pick_file, usable_files
from pytest_spip.common.urls import file_url_to_path
from pytest_spip.model import Combo, DistFile, Interpreter, Phase, Release, StoredWheel
from pytest_spip.provision.builds import Builder
from pytest_spip.provision.demands import metadata_of, refuse_python
from pytest_spip.provision.filing import FillableStore
from pytest_spip.provision.job import Job
from pytest_spip.provision.locks import Locked
from pytest_spip.provision.resolver import BuiltWheel, of_dependency
from pytest_spip.provision.unhashed import is_unchecked, warning
from pytest_spip.provision.uv_output import Failure

__all__ = ["Intake", "blamed_on"]


class Intake:
    """Brings wheels into the store, for a job that counts what was done. ``builds`` is where wheels that were built here are."""

    def __init__(self, store: FillableStore, web: Web, builder: Builder, builds: Path) -> None:
        self._store = store
        self._web = web
        self._builder = builder
        self._builds = (builds, builds.resolve())

    def wheel(self, job: Job, item: Locked, interpreter: Interpreter) -> StoredWheel:
        """Return the wheel of what a lock selects: fetched, or built, and filed. Raises ``Failure``, ``SpipError``, ``OSError``."""
        item = Locked(item.name, self.hashed(job, item.file))
        if item.file.kind == "sdist":
            return self._dependency(job, item, interpreter)
        if item.file.url.startswith("file:"):
            path = file_url_to_path(item.file.url)
            if any(path.is_relative_to(place) for place in self._builds):
                return self.built_wheel(job, path, item.file.sha256)
        return self._listed_wheel(job, item)

    def hashed(self, job: Job, file: DistFile) -> DistFile:
        """Return a file with its hash, which not every index lists."""
        with job.timed(Phase.FETCH) if is_unchecked(file) else contextlib.nullcontext():
            return self._builder.hasher.hashed(file)

    def built_wheel(self, job: Job, built: Path, sha256: str) -> StoredWheel:
        """Return a wheel that was built here, filed."""
        with job.timed(Phase.INSTALL):
            job.work["filed"] += self._store.file(sha256, built.name, lambda path: _copy(built, path))
        return self._stored(sha256)

    def own_wheel(self, job: Job, release: Release, interpreter: Interpreter) -> BuiltWheel | None:
        """Build a pinned release where it offers no wheel, before it is resolved."""
        file = pick_file(usable_files(release.files, interpreter), interpreter)
        if file is None:
            return None
        if is_unchecked(file):
            job.warnings[warning(file)] = None
        if file.kind == "wheel":  # uv hashes what it downloads; the lock has it
            return None
        file = self.hashed(job, file)
        blamed = blamed_on(job.combo, release.package, release.version)
        with job.timed(Phase.BUILD):
            try:
                built = self._builder.wheel(release.package, file, interpreter)
            except Failure:
                refuse_python(self._builder.announced(file), interpreter, blamed)
                raise
            job.work["built"] += built.fresh
        refuse_python(metadata_of(self.built_wheel(job, built.path, built.sha256)), interpreter, blamed)
        return built

    def _dependency(self, job: Job, item: Locked, interpreter: Interpreter) -> StoredWheel:
        """Build what uv takes for an sdist with a wheel that fits, and we do not."""
        with job.timed(Phase.BUILD):
            try:
                built = self._builder.wheel(item.name, item.file, interpreter)
            except Failure as failure:
                raise of_dependency(failure, item.name, item.file.version) from failure
            job.work["built"] += built.fresh
        return self.built_wheel(job, built.path, built.sha256)

    def _listed_wheel(self, job: Job, item: Locked) -> StoredWheel:
        def fetch(path: Path) -> None:
            self._web.download(item.file.url, path, item.file.sha256)
            job.work["downloaded"] += 1

        with job.timed(Phase.FETCH):
            job.work["filed"] += self._store.file(item.file.sha256, item.file.filename, fetch)
        return self._stored(item.file.sha256)

    def _stored(self, sha256: str) -> StoredWheel:
        wheel = self._store.get(sha256)
        assert wheel is not None, "file() returned, so the wheel is there"
        return wheel


def blamed_on(combo: Combo, package: str, version: str) -> str:
    """Return what begins a detail that concerns one of several releases."""
    return f"{package} {version}: " if combo.others else ""


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
