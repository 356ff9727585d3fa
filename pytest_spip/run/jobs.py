"""What a fork server's child is to do: import modules, run a command, or compile sources."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pytest_spip.model import Limits

if TYPE_CHECKING:
    from pytest_spip.run.protocol import RequestMessage, ZygoteMessage

__all__ = ["CommandJob", "CompileJob", "ImportJob", "Job", "Zygote"]


@dataclasses.dataclass(frozen=True, slots=True)
class Zygote:
    """What a fork server needs to know of a zygote: its layers, the uppermost first, its program, and its variables."""

    key: str
    layers: tuple[str, ...]
    trees: tuple[str, ...]
    command: tuple[str, ...]
    environment: Mapping[str, str]

    def to_plain(self) -> ZygoteMessage:
        """Return the protocol's fields."""
        return {
            "key": self.key,
            "layers": self.layers,
            "trees": self.trees,
            "command": self.command,
            "environment": dict(self.environment),
        }


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What all jobs have: a working directory, limits, and the environment to compose, see child/sandbox.py.

    ``site`` is the environment's site-packages, ``scripts`` are pairs of path and text.
    """

    cwd: str
    limits: Limits
    site: str = ""
    layers: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()
    scripts: tuple[tuple[str, str], ...] = ()

    @property
    def apart(self) -> bool:
        """Whether both output streams are kept, complete and as they are."""
        return False

    def to_plain(self) -> RequestMessage:
        """Return the protocol's fields; made by hand, for there is one for every combination."""
        limits = self.limits
        return {
            "cwd": self.cwd,
            "site": self.site,
            "modules": (),
            "trace": (),
            "sources": (),
            "rewrites": False,
            "command": (),
            "zygotes": [],
            "forked": False,
            "streams": False,
            "apart": False,
            "stdin": "",
            "stays": False,
            "environment": {},
            "layers": self.layers,
            "trees": self.trees,
            "scripts": self.scripts,
            "memory": limits.memory,
            "file_size": limits.file_size,
            "output": limits.output,
            "head": limits.head,
            "timeout": limits.timeout,
            "inactivity": limits.inactivity,
        }


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ImportJob(Job):
    """Import ``modules`` in a warm child, and say what was imported of the directories ``trace``.

    ``variables`` are those that it has beside its server's.
    """

    modules: tuple[str, ...]
    trace: tuple[str, ...]
    variables: Mapping[str, str]

    def to_plain(self) -> RequestMessage:
        """Return the protocol's fields."""
        message = Job.to_plain(self)
        message["modules"], message["trace"] = self.modules, self.trace
        message["environment"] = dict(self.variables)
        return message


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CommandJob(Job):
    """Start ``command`` with ``variables``; the first of ``zygotes`` that can be had is forked instead, and must be if ``forked``.

    ``streams`` keeps the result also of a child that does not come to its end. With ``separate`` its stderr is the result, and
    both streams come complete; ``stdin`` is what it reads. What ``stays`` works in the environment that ``ForkServer.stay``
    composed.
    """

    command: tuple[str, ...]
    variables: Mapping[str, str]
    zygotes: tuple[Zygote, ...] = ()
    forked: bool = False
    streams: bool = False
    separate: bool = False
    stdin: str = ""
    stays: bool = False

    @property
    def apart(self) -> bool:
        """Whether both output streams are kept, complete and as they are."""
        return self.separate

    def to_plain(self) -> RequestMessage:
        """Return the protocol's fields."""
        message = Job.to_plain(self)
        message["command"] = self.command
        message["environment"] = dict(self.variables)
        message["zygotes"] = [zygote.to_plain() for zygote in self.zygotes]
        message["forked"] = self.forked
        message["streams"] = self.streams
        message["apart"] = self.separate
        message["stdin"] = self.stdin
        message["stays"] = self.stays
        return message


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CompileJob(Job):
    """Compile source files, with ``rewrites`` as pytest compiles tests."""

    sources: tuple[str, ...]
    rewrites: bool = False

    def to_plain(self) -> RequestMessage:
        """Return the protocol's fields."""
        message = Job.to_plain(self)
        message["sources"], message["rewrites"] = self.sources, self.rewrites
        return message
