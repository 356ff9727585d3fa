"""What a run has to itself on this machine: its directory, which no other process works on meanwhile, and a tree in RAM."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from pytest_spip.common.owners import OwnerLock
from pytest_spip.compose.ram import Root, choose_root, discard, short_directory
from pytest_spip.errors import UsageProblem
from pytest_spip.record.rundir import HOME, RunDirectory, check_room
from pytest_spip.session.planned import Planned

__all__ = ["RunPlaces"]


@dataclasses.dataclass(frozen=True)
class RunPlaces:
    """The directory ``.spip/runs/<uuid>`` and the root of its environments, until :meth:`release`."""

    directory: RunDirectory
    root: Root
    _lock: OwnerLock | None
    """Of a run that begins; one that goes on is its ``Interrupted``'s."""

    @classmethod
    @contextlib.contextmanager
    def acquired(cls, planned: Planned, uuid: str, rootdir: Path, environ: Mapping[str, str]) -> Iterator[RunPlaces]:
        """Yield the places of a run, which stay unless the body raises: then nothing of a new run is left.

        Raises ``UsageProblem`` for a name that is taken, and where there is no room or no right to write.
        """
        earlier = planned.earlier
        if not earlier:
            check_room(rootdir, len(planned.plan.combos))
        directory = earlier.directory if earlier else _directory(rootdir, uuid, shared=planned.shared is not None)
        with contextlib.ExitStack() as undo:
            lock = None
            if not earlier:
                undo.callback(directory.discard)
                lock = directory.hold()
                undo.callback(lock.release)
            root = choose_root(planned.planner.settings.ram, environ)
            undo.callback(discard, root.path)
            yield cls(directory, root, lock)
            undo.pop_all()

    @functools.cached_property
    def own(self) -> Path:
        """A directory of a short name, for the environments of sandboxes without mounts."""
        return short_directory(self.root)

    @property
    def replica(self) -> Path:
        """The base repository in RAM."""
        return self.root.path / "base.git"

    @property
    def expected(self) -> Path:
        """The file of the ordinals that pass in the run to compare with."""
        return self.root.path / "expected.json"

    @property
    def reusable(self) -> Path:
        """The index of verdicts that earlier runs have."""
        return self.root.path / "reusable.sqlite"

    def discard_root(self) -> None:
        """Remove the tree in RAM, in the background."""
        discard(self.root.path)

    def release(self) -> None:
        """Let other processes go on with the run."""
        if self._lock:
            self._lock.release()


def _directory(rootdir: Path, uuid: str, *, shared: bool) -> RunDirectory:
    """Create a run's directory. One that hosts share has one for each session: their root directory may be one, too."""
    own = f"{uuid}.{socket.gethostname()}"
    for name in itertools.chain([uuid, own], (f"{own}.{number}" for number in itertools.count(2))):
        try:
            return RunDirectory.create(rootdir, name)
        except UsageProblem:
            if not (shared and (rootdir / HOME / "runs" / name).exists()):
                raise
    raise AssertionError("names do not end")
