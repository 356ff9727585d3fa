"""What a bisection found: where releases begin to fail or to pass, and what changed there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

__all__ = ["BisectLine", "FileChanges", "ReleaseChange"]


@dataclasses.dataclass(frozen=True, slots=True)
class FileChanges:
    """How the files of two releases differ: paths below site-packages, and lines of those that are text."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    insertions: int = 0
    deletions: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class ReleaseChange:
    """Two releases between which the verdict changes; ``breaks`` where it is ``after`` that fails.

    ``locked`` are the versions of other projects, in the one environment and in the other, empty where there is none.
    ``requires`` are lines of metadata that only one of them has, with ``-`` or ``+`` before them.
    """

    before: str
    after: str
    breaks: bool
    locked: Mapping[str, tuple[str, str]]
    requires: tuple[str, ...] = ()
    files: FileChanges | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class BisectLine:
    """The releases of a package on one Python. ``others`` are those of a cross, ``runs`` how many of ``releases`` were run."""

    package: str
    others: tuple[tuple[str, str], ...]
    label: str
    resolution: str
    releases: int
    runs: int
    monotonic: bool
    changes: tuple[ReleaseChange, ...]

    @property
    def axis(self) -> str:
        """The Python, with what else tells the line apart."""
        others = "".join(f" + {package} {version}" for package, version in self.others)
        return f"{self.label}{f' {self.resolution}' if self.resolution else ''}{others}"
