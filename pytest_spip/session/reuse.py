"""``--spip-reuse``: which verdicts of earlier runs stand for this one's, and the directory in which jobs share runs."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from pytest_spip.common.owners import owner_tag
from pytest_spip.common.trees import remove_tree
from pytest_spip.errors import UsageProblem
from pytest_spip.model import Interpreter, Limits, Sandbox, digest
from pytest_spip.names import OWN_RUNS
from pytest_spip.options import Settings
from pytest_spip.provision.system_tools import system_tools
from pytest_spip.record.reusable import index_reusable
from pytest_spip.record.rundb import DatabaseError, copy_database
from pytest_spip.record.rundir import RunDirectory
from pytest_spip.session.loading import all_runs, runs_in

__all__ = ["ReuseDirectory", "experiment_of", "identities_of", "index_earlier"]

EXPERIMENT_VERSION = 1
"""Part of every experiment: raise it when something decides on verdicts that neither it nor a fingerprint names."""
READ, KEPT = 20, 20
"""Runs that are looked at, the newest ones, and that a shared directory keeps."""
OS_RELEASE = Path("/etc/os-release")


def experiment_of(settings: Settings, sandbox: Sandbox, limits: Limits) -> str:
    """Return what equal verdicts need beside equal fingerprints: limits, sandbox, devices, runner, and the system."""
    system = OS_RELEASE.read_text("utf-8", "replace") if OS_RELEASE.is_file() else platform.platform()
    return digest(
        EXPERIMENT_VERSION,
        sorted(dataclasses.asdict(limits).items()),
        sandbox.level,
        sandbox.network,
        sorted(sandbox.passed),
        settings.runner,
        [[name, list(devices)] for name, devices in settings.slots],
        [platform.machine(), *platform.libc_ver(), system, system_tools()],
    )


def identities_of(interpreters: Iterable[Interpreter]) -> dict[str, str]:
    """Return, by id, what tells an interpreter from a later one at its path."""
    identities = {}
    for one in interpreters:
        with contextlib.suppress(OSError):  # it is gone, and runs nothing
            state = os.stat(one.path)
            identities[one.id] = f"{one.path} {state.st_size} {state.st_mtime_ns}"
    return identities


def index_earlier(
    settings: Settings, rootdir: Path, index: Path, experiment: str, identities: Mapping[str, str]
) -> int:
    """Write the index of verdicts that can be reused; return how many there are."""
    runs = all_runs(rootdir)
    if settings.reuse != OWN_RUNS:
        runs = ReuseDirectory(Path(settings.reuse)).runs()
    return index_reusable((run.database for run in runs[:READ]), index, experiment, identities)


class ReuseDirectory:
    """A directory in which jobs share the databases of their runs. Raises ``UsageProblem`` where it cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageProblem("--spip-reuse", f"cannot write {path} ({error.strerror})", "name a directory") from error

    def runs(self) -> list[RunDirectory]:
        """Return the runs in it, the newest first; those of a root directory if it is one."""
        return all_runs(self.path) or runs_in(self.path)

    def add(self, run: RunDirectory) -> None:
        """Copy a run's database, and let the oldest ones go. Raises ``OSError``."""
        staging = self.path / f".{run.path.name}-{owner_tag()}"
        target = self.path / run.path.name
        try:
            staging.mkdir()
            copy_database(run.database, staging / "run.sqlite")
            remove_tree(target)  # of an earlier session of the same run
            os.replace(staging, target)
        except DatabaseError as error:
            raise OSError(0, str(error)) from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        for old in self.runs()[KEPT:]:
            remove_tree(old.path)
