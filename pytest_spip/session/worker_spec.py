"""What a worker must know of its run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from pytest_spip.model import BuildPolicy, Check, Limits, Sandbox
from pytest_spip.session.slots import Device

__all__ = ["MAIN", "PLAN", "WorkerSpec"]

MAIN = "main"
"""Name of the worker that is the controller itself; all others are its children."""
PLAN = "spip_plan"
"""Name of the plan's hash in what a worker says of itself: it shows that both sides mean the same combinations."""


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What a worker must know to set up its executor; plain data, carried by ``workerinput``. ``session`` counts from 1.

    ``extra_requirements`` are those of every environment and ``project`` the directory whose suite is run, for lines that show
    a failure again; so are ``ours``, the run's options that decide on verdicts, and ``outside``, whether uv could resolve as the
    run does, but for projects that are ``limited`` by the user's constraints. ``slots`` are the devices that the run's workers
    share, by slot. ``own`` is a directory with a short path
    for what combinations have to themselves, where no view of their own shows it at one. ``expected`` is a file that lists the
    ordinals which pass in the run to compare with, or nothing; ``reusable``
    the index of verdicts that earlier runs have, or nothing. ``shared`` is whether other hosts have a part of the run.
    """

    database: str
    workers: str
    replica: str
    room: str
    run: str
    cache: str
    limits: Limits
    runner: str
    sandbox: Sandbox
    closures: Mapping[str, str]
    exclude_newer: str
    index_options: str
    check: Check = dataclasses.field(default_factory=Check)
    extra_requirements: tuple[str, ...] = ()
    project: str = ""
    cpus: tuple[int, ...] = ()
    session: int = 1
    slots: Mapping[str, tuple[Device, ...]] = dataclasses.field(default_factory=dict)
    own: str = ""
    builds: BuildPolicy = dataclasses.field(default_factory=BuildPolicy)
    ours: tuple[str, ...] = ()
    outside: bool = True
    limited: tuple[str, ...] = ()
    expected: str = ""
    reusable: str = ""
    shared: bool = False

    def to_plain(self) -> dict[str, Any]:
        """Return what execnet can carry; :meth:`from_plain` is the way back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> WorkerSpec:
        """Rebuild a spec from :meth:`to_plain`'s data."""
        sandbox = plain["sandbox"]
        passed = tuple((name, value) for name, value in sandbox["passed"])
        slots = {
            slot: tuple(Device(**{**one, "files": tuple(one["files"])}) for one in devices)
            for slot, devices in plain["slots"].items()
        }
        return cls(
            **{
                **plain,
                "check": Check(plain["check"]["kind"], tuple(plain["check"]["words"])),
                "limits": Limits(**plain["limits"]),
                "builds": BuildPolicy(**plain["builds"]),
                "extra_requirements": tuple(plain["extra_requirements"]),
                "slots": slots,
                "ours": tuple(plain["ours"]),
                "limited": tuple(plain["limited"]),
                "cpus": tuple(plain["cpus"]),
                "sandbox": Sandbox(**{**sandbox, "passed": passed}),
            }
        )
